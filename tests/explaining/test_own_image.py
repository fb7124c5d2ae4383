import re

import finished_study
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import model
from finished_study import CLASSES
from PIL import Image

from glassbox import models
from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.data import decode, store
from glassbox.data.base import Images
from glassbox.explainers.catalog import BLACK_BOX, EXPLAINERS
from glassbox.explaining import familiarity, own_image
from glassbox.figures import own_image as figure_of
from glassbox.figures.style import COLUMN, DPI
from glassbox.models.preprocessing import Preprocessing
from glassbox.report import photo as pages


@pytest.fixture
def study(tmp_path, params):
    """Prepared data of 16 pixels, a classifier, and parameters of little work."""
    return tmp_path, finished_study.write(tmp_path, params)


@pytest.fixture
def picture(tmp_path):
    """A photograph that lies on its side, as its EXIF tag says, and is not square."""
    pixels = np.random.default_rng(0).integers(0, 60, (40, 60, 3), dtype=np.uint8)
    pixels[:, :30, 0] += 180
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a photo.png", exif=exif)
    return tmp_path / "a photo.png"


def explain(study, path, **options):
    place, params = study
    return own_image.explain(path, params, place / "data", place / "model", place / "reports", **options)


def test_every_explainer_says_why_for_the_two_likeliest_classes(study, picture, tmp_path):
    explained = explain(study, picture)
    assert [result.name for result in explained.results] == list(EXPLAINERS)
    assert all(result.attribution.maps.shape == (2, 16, 16) for result in explained.results)
    assert explained.image.shape == (16, 16, 3)
    red = explained.image[..., 0].astype(int)
    assert red[:7].min() > red[9:].max()  # upright: red above
    classifier, _ = models.load(tmp_path / "model", temperature=0.5)
    p = models.probabilities(classifier, torch.from_numpy(explained.image.copy())[None], 1).numpy()[0]
    assert explained.probabilities == pytest.approx(p)
    assert list(explained.targets) == np.argsort(-p)[:2].tolist()
    first, second = (f"{CLASSES[k]} ({100 * p[k]:.1f} %)" for k in explained.targets)
    assert explained.told() == f"a photo.png: {first}, then {second}"
    again = explain(study, picture)
    for one, other in zip(explained.results, again.results, strict=True):
        assert np.array_equal(one.attribution.maps, other.attribution.maps), one.name


def test_figure_and_maps_are_written_and_pictures_of_one_name_kept_apart(study, picture, tmp_path):
    explained = explain(study, picture)
    figure = figure_of.write(explained, b"one", 5, tmp_path / "photos")
    other = figure_of.write(explained, b"two", 5, tmp_path / "photos")
    assert figure.name == f"a photo-{files.digest(b'one')[:6]}.png"
    written = {path.name for path in (tmp_path / "photos").iterdir()}
    assert written == {figure.name, other.name, f"{figure.stem}.npz", f"{other.stem}.npz"}
    with Image.open(figure) as drawn:
        assert drawn.width == round(COLUMN * DPI)
    with np.load(figure.with_suffix(".npz")) as arrays:
        assert set(arrays) == {"image", "classes", *EXPLAINERS}
        assert arrays["classes"].tolist() == [CLASSES[k] for k in explained.targets]


def test_the_page_has_the_maps_and_the_probabilities_without_regions(study, picture, tmp_path):
    explained = explain(study, picture)
    target = explained.targets[0]
    image = torch.from_numpy(explained.image.copy())
    classifier, _ = models.load(tmp_path / "model", temperature=0.5)
    hidden = image.clone()
    hidden[torch.from_numpy(explained.segments == 1)] = (torch.tensor(explained.mean) * 255).round().to(torch.uint8)
    p = models.probabilities(classifier, hidden[None], 1).numpy()[0]
    assert explained.without[1, target] == pytest.approx(p[target], abs=2e-3)  # the mean colour is not a whole number
    for result in explained.results:
        assert result.removal[0, 0] == pytest.approx(explained.probabilities[target], abs=1e-4)
    files.write_json(tmp_path / "ranking.json", {"metrics": {}, "fewest": 10})
    pages.write(explained, tmp_path / "ranking.json", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert text.count("data-values=") == 2 * len(EXPLAINERS)
    assert "Which map to look at first, by the study&#39;s test images: Not tested: 0 images are too few" in text
    assert not re.search(r"https?://|@import", text)
    assert pages.advice(tmp_path / "none.json") == ("", "")


def familiar(study, threshold: float) -> None:
    """What images are compared with: the study's own, with this threshold."""
    place, _ = study
    classifier, _ = models.load(place / "model")
    train = store.read(place / "data", "train").images
    features = familiarity.features_of(classifier, train, batch_size=18)
    known = familiarity.Reference(features, np.arange(len(train)), threshold, held_out=40)
    files.write_npz(place / "reports/explain/familiarity.npz", known.arrays())


def test_an_image_unlike_the_training_images_is_called_so_and_a_square_of_it_is_offered(study, picture):
    assert explain(study, picture).likeness is None  # the study has not measured it
    familiar(study, threshold=3.0)
    alike = explain(study, picture).likeness
    assert alike.nearest.shape == (6, 16, 16, 3)
    assert set(alike.classes) <= set(CLASSES)
    assert alike.told("a.png") == [
        f"It is like the training images: distance {alike.distance:.2f}; of 40 validation images 95 % are nearer than "
        "3.00."
    ]
    whole = decode.read_whole(picture)
    found = []
    for square in ((0, 0, 20), (20, 40, 20), (0, 10, 40)):
        familiar(study, threshold=3.0)
        found.append(explain(study, picture, square=square).likeness.distance)
    familiar(study, threshold=min(*found, alike.distance) - 1e-6)
    unlike = explain(study, picture)
    if unlike.likeness.square is not None:
        left, top, side = unlike.likeness.square
        assert explain(study, picture, square=(left, top, side)).likeness.is_alike
        assert f"make explain IMAGE=a photo.png CROP={left},{top},{side}" in unlike.told()
    assert "It is UNLIKE the training images" in unlike.told()
    familiar(study, threshold=0.0)
    assert explain(study, picture).likeness.square is None
    assert whole.size == (40, 60)
    for square in ((30, 0, 20), (0, 41, 20), (0, 0, 0)):
        with pytest.raises(UserError, match=r"CROP=.* does not lie in the image of 40 x 60 pixels"):
            explain(study, picture, square=square)


def test_the_confidence_is_compared_with_test_images_of_similar_confidence(study, picture):
    place, _ = study
    p = float(explain(study, picture).probabilities.max())
    near = {"confidence": p, "true_class": ["cat"] * 60 + ["dog"] * 40, "predicted_class": "cat"}
    far = {"confidence": [0.0] * 50, "true_class": "cat", "predicted_class": "dog"}
    table = pd.concat([pd.DataFrame(far), pd.DataFrame(near)], ignore_index=True)
    files.write_csv(place / "reports/evaluate/predictions.csv", table)
    assert explain(study, picture).confidence == (
        f"Of the 100 test images with the most similar confidence ({100 * p:.1f} to {100 * p:.1f} %), 60 % are "
        "recognised (95 % interval 50 to 69 %)."
    )
    files.write_csv(place / "reports/evaluate/predictions.csv", pd.concat([pd.DataFrame(far), pd.DataFrame(near)[:9]]))
    assert explain(study, picture).confidence == (
        "Only 9 of 59 test images have a confidence within 10 % of its own: how many of such answers are right is not "
        "known."
    )


def test_bad_input_is_one_sentence(study, tmp_path):
    with pytest.raises(UserError, match=r"IMAGE=.*none.jpg: there is no such file"):
        explain(study, tmp_path / "none.jpg")
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError, match=r"IMAGE=.*cut.png cannot be read as an image \(.*\)$"):
        explain(study, tmp_path / "cut.png")


def test_a_panorama_that_would_be_too_long_is_one_sentence(study, tmp_path, monkeypatch):
    place, params = study
    Image.new("RGB", (40, 2)).save(tmp_path / "long.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    section = params.data.model_copy(update={"resize": "crop", "shorter_side": 20})
    with pytest.raises(UserError, match=r"^IMAGE=.*long.png is too large: resized to data.shorter_side it would have"):
        explain((place, params.model_copy(update={"data": section})), tmp_path / "long.png")


def test_a_name_that_its_figure_cannot_have_is_refused_before_the_work(study, picture, tmp_path, monkeypatch):
    monkeypatch.setattr(own_image.models, "load", None)  # nothing is loaded
    for length, ending in ((300, ".png"), (240, ".png"), (248, ".jpeg")):
        name = tmp_path / f"{'x' * (length - len(ending))}{ending}"
        if length < 255:
            picture = picture.rename(name)
        fault = r"there is no such file|its name is \d+ bytes too long for the"
        with pytest.raises(UserError, match=f"^IMAGE=.*: ({fault})"):
            explain(study, name)
    for given in ("~nobody-is-called-so/x.png", "~/no such file.png", "x\ny.png", "\udcff.png", "/dev/stdin/x", ""):
        with pytest.raises(UserError, match=r"^IMAGE=.*: there is no such file$") as said:
            explain(study, given)
        assert str(said.value).isprintable()
    longest = picture.rename(tmp_path / f"{'x' * (files.LONGEST - 11)}.png")
    assert own_image.find(longest) == longest


def test_a_classifier_of_other_data_is_refused(study, picture, tmp_path):
    about = files.read_json(tmp_path / "data/data.json")
    files.write_json(tmp_path / "data/data.json", about | {"digest": "e" * 64})
    with pytest.raises(UserError, match="was trained on other data than"):
        explain(study, picture)


@pytest.mark.parametrize("has_places", [True, False])
def test_a_network_without_features_of_places_is_explained_by_all_others_and_that_is_said(
    study, picture, small_transformer, tmp_path, monkeypatch, has_places
):
    place, params = study
    network, classifier = small_transformer
    if not has_places:
        (tmp_path / "networks").mkdir()
        (tmp_path / "networks/placeless.py").write_text(
            "from torch import nn\n\n\ndef build(n_classes):\n"
            "    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, n_classes))\n"
        )
        monkeypatch.syspath_prepend(tmp_path / "networks")
        network = model("python:placeless:build")
        classifier = models.build(network.name, {}, Preprocessing(), 32, 3)
    pixels = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    splits = np.array(["train"] * 18 + ["validation"] * 6 + ["test"] * 6)
    data = store.write(place / "data", Images(pixels, np.arange(30) % 3, CLASSES, splits), np.arange(30), "toy")
    models.save(place / "model", classifier, models.describe(network, classifier, data, []))
    explained = explain((place, params), picture)
    names = [result.name for result in explained.results]
    if has_places:  # the tokens of a transformer are such features
        assert names == list(EXPLAINERS)
        return
    assert names == [name for name in EXPLAINERS if name != "grad_cam"]
    assert explained.told().splitlines()[1:] == ["not by Grad-CAM: the network has no feature maps"]
    figure = figure_of.write(explained, picture.read_bytes(), 3, tmp_path / "photos")
    assert "grad_cam" not in np.load(figure.with_suffix(".npz"))


def test_a_network_that_only_answers_is_explained_by_those_that_need_no_more(study, picture, monkeypatch):
    monkeypatch.setattr(models.Classifier, "has_gradients", False)
    explained = explain(study, picture)
    assert [result.name for result in explained.results] == list(BLACK_BOX)
    assert "not by Grad-CAM: an ONNX model has no gradients" in explained.told().splitlines()
