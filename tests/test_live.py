"""The demo's page: requests, and pictures dropped in a real browser."""

import http.client
import json
import re
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import finished_study
import numpy as np
import pytest
import torch
from PIL import Image

from glassbox import live, models
from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.data import store
from glassbox.explaining import familiarity


@pytest.fixture
def server(tmp_path, params, monkeypatch) -> Iterator[ThreadingHTTPServer]:
    """The demo of a small study, which calls every picture unlike its training images."""
    monkeypatch.chdir(tmp_path)
    params = finished_study.write(tmp_path, params, "data/prepared", "models")
    classifier, _ = models.load("models")
    train = store.read("data/prepared", "train").images
    features = familiarity.features_of(classifier, train, batch_size=18)
    known = familiarity.Reference(features, np.arange(len(train)), threshold=-1.0, held_out=40)
    files.write_npz("reports/explain/familiarity.npz", known.arrays())
    study = live.Live(params)
    server = ThreadingHTTPServer((live.HOST, 0), live.handler(study))
    server.study = study
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a photo.png")
    return tmp_path / "a photo.png"


def request(server: ThreadingHTTPServer, method: str, path: str, body: bytes = b"", **headers) -> tuple[int, str]:
    """Status and content of the answer."""
    connection = http.client.HTTPConnection(*server.server_address)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    content = answer.status, answer.read().decode()
    connection.close()
    return content


def test_a_picture_is_explained_and_its_regions_are_hidden(server, picture):
    status, content = request(server, "POST", "/explain", picture.read_bytes(), X_File_Name="a%20photo.png")
    assert status == 200
    page = json.loads(content)["page"]
    status, text = request(server, "GET", page)
    assert status == 200
    assert "<h1>a photo.png</h1>" in text
    assert "It is UNLIKE the training images" in text
    key = page.removeprefix("/pictures/")
    assert f'data-live="/probability/{key}"' in text
    asked = json.dumps({"class": "dog", "hidden": [0, 2]}).encode()
    status, content = request(server, "POST", f"/probability/{key}", asked)
    assert status == 200

    classifier, _ = models.load("models", temperature=0.5)
    seen = server.study.seen[key].photo
    x = torch.from_numpy(seen.image.copy()).permute(2, 0, 1)[None] / 255
    hidden = torch.from_numpy(np.isin(seen.segments, [0, 2]))
    x[..., hidden] = torch.tensor(seen.mean).view(1, 3, 1)
    p = classifier(x).softmax(dim=1)[0, 1].item()
    assert json.loads(content)["probability"] == pytest.approx(p, abs=1e-5)

    status, _ = request(server, "POST", f"/crop/{key}?square=0,0,40")
    assert status == 303
    status, content = request(server, "POST", f"/crop/{key}?square=30,0,40")
    assert (status, json.loads(content)["error"]) == (
        400,
        "CROP=30,0,40 does not lie in the image of 60 x 40 pixels: it must be LEFT,TOP,SIDE",
    )


def test_what_is_no_picture_is_refused_in_a_sentence_and_the_next_is_explained(server, picture):
    status, content = request(server, "POST", "/explain", b"no picture", X_File_Name="../../x.png")
    assert status == 400
    assert re.fullmatch(r"x\.png cannot be read as an image \(.*\)", json.loads(content)["error"])
    for path, body in (("/probability/none", b"{}"), ("/crop/none?square=0,0,1", b""), ("/probability/none", b"[")):
        status, content = request(server, "POST", path, body)
        assert status == 400
        assert "drop it again" in json.loads(content)["error"]
    assert request(server, "GET", "/pictures/none")[0] == request(server, "POST", "/none")[0] == 404
    assert request(server, "POST", "/explain", picture.read_bytes())[0] == 200


def test_a_name_that_no_file_here_can_have_is_shown_and_does_no_harm(server, picture):
    name = f"{'x' * 400}.png"
    status, content = request(server, "POST", "/explain", picture.read_bytes(), X_File_Name=name)
    assert status == 200
    assert f"<h1>{name}</h1>" in request(server, "GET", json.loads(content)["page"])[1]


@pytest.mark.parametrize("headers", [{"Host": "example.org"}, {"Origin": "https://example.org"}])
def test_other_sites_are_refused(server, picture, headers):
    for method, path in (("GET", "/"), ("POST", "/explain")):
        assert request(server, method, path, picture.read_bytes(), **headers)[0] == 403


def test_only_so_many_pictures_are_kept(server, picture, monkeypatch):
    monkeypatch.setattr(live, "KEPT", 1)
    pages = []
    for square in ("0,0,40", "20,0,40"):
        key = json.loads(request(server, "POST", "/explain", picture.read_bytes())[1])["page"].rpartition("/")[2]
        request(server, "POST", f"/crop/{key}?square={square}")
        pages.append(f"/pictures/{key}")
    assert request(server, "GET", pages[0])[0] == 404


def test_too_large_a_picture_is_not_read(server, monkeypatch):
    monkeypatch.setattr(live, "LARGEST", 3)
    status, content = request(server, "POST", "/explain", b"1234")
    assert (status, json.loads(content)["error"]) == (400, "the picture has 4 bytes: at most 3 are taken")


def test_a_port_that_is_taken_is_named(server, params):
    port = server.server_address[1]
    with pytest.raises(UserError, match=rf"^DEMO_PORT={port} cannot be used \(Address already in use\): take another"):
        live.serve(params, port)


@pytest.mark.parametrize("width", [390, 1440, 1920])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_picture_is_dropped_switched_and_hidden_in_a_browser(browser, server, picture, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"http://{live.HOST}:{server.server_address[1]}/")
    assert Axe().run(page).response["violations"] == []
    page.set_input_files("#file", picture)
    page.wait_for_url("**/pictures/*", timeout=60_000)
    assert Axe().run(page).response["violations"] == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    said, canvas = page.locator("#probability"), page.locator("#canvas")
    page.wait_for_function("document.querySelector('#probability').textContent.startsWith('Nothing is hidden')")
    before = canvas.evaluate("canvas => canvas.toDataURL()")
    page.locator("#explainer").select_option("occlusion")
    assert canvas.evaluate("canvas => canvas.toDataURL()") != before
    box = canvas.bounding_box()
    for x in (0.1, 0.9):
        canvas.click(position={"x": x * box["width"], "y": 0.1 * box["height"]})
    page.wait_for_function("document.querySelector('#probability').textContent.startsWith('Without regions')")
    assert re.fullmatch(r"Without regions \d+, \d+ the probability of \w+ is \d+\.\d %\.", said.inner_text())
    assert errors == []
    context.close()
