"""`make demo`: a page on this machine alone, onto which pictures are dropped: their class, every explainer's map, and
the probability without regions that are hidden, as the network answers it at that moment.

It answers on 127.0.0.1 only, and refuses requests that other sites send through a browser (another Host or Origin).
"""

import json
import tempfile
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import torch

from glassbox.config.parameters import Params
from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.data import decode
from glassbox.data.user_paths import shown
from glassbox.explaining import own_image
from glassbox.explaining.own_image import Photo
from glassbox.report import photo as pages
from glassbox.report.words import render
from glassbox.xai_metrics.intervention import probabilities_behind

HOST = "127.0.0.1"
LARGEST = 64 * 2**20  # bytes of a picture
LONGEST_ENDING = 10  # of a picture's name
KEPT = 20  # pictures whose regions can still be hidden


@dataclass(frozen=True)
class Seen:
    """A picture that was dropped: its file's name and content, and its explanation."""

    name: str
    content: bytes
    photo: Photo


class Live:
    """The finished study in this folder, which explains pictures one at a time."""

    def __init__(self, params: Params) -> None:
        self.study = own_image.Finished.read(params)
        self.seen: OrderedDict[str, Seen] = OrderedDict()
        self.lock = threading.Lock()

    def explain(self, name: str, content: bytes, crop: str = "") -> str:
        """Explain a picture; the name of its page.

        Raises:
            UserError: it cannot be read, or has no such square.
        """
        square, name = own_image.square_of(crop), Path(name).name
        with self.lock, tempfile.TemporaryDirectory() as folder:
            # The name is of a browser, and may be too long for a file here; its ending has to fit the picture's format.
            path = Path(folder) / f"picture{Path(name).suffix[:LONGEST_ENDING]}"
            path.write_bytes(content)
            try:
                photo = replace(self.study.explain(path, square), name=shown(name))
            except UserError as error:
                raise UserError(str(error).replace(f"IMAGE={path}", shown(name))) from None
            key = files.digest(content, crop)[:12]
            self.seen[key] = Seen(name, content, photo)
            while len(self.seen) > KEPT:
                self.seen.popitem(last=False)
        return key

    def page(self, key: str) -> str | None:
        """The page of a picture that was explained and is still kept."""
        seen = self.seen.get(key)
        return seen and pages.page(seen.photo, own_image.REPORTS / "score/ranking.json", key)

    def probability(self, key: str, name: str, hidden: list[int]) -> float:
        """Of a class, without some regions of a picture."""
        photo = self.seen[key].photo
        image = torch.from_numpy(photo.image.copy())
        with self.lock:
            mask = np.isin(photo.segments, hidden)[None]
            p = probabilities_behind(self.study.classifier, image, mask, photo.mean, batch_size=1)
        return float(p[0, photo.classes.index(name)])


def start_page() -> str:
    """The page that pictures are dropped onto."""
    return render("live.html", endings=",".join(sorted(decode.endings())))


def handler(live: Live) -> type[BaseHTTPRequestHandler]:
    """What answers requests."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if not self._is_ours():
                return
            if path == "/":
                self._answer(start_page())
            elif page := live.page(path.removeprefix("/pictures/")):
                self._answer(page)
            else:
                self._answer("There is no such page.", HTTPStatus.NOT_FOUND)

        def do_POST(self) -> None:
            if not self._is_ours():
                return
            size = int(self.headers.get("Content-Length") or 0)
            if size > LARGEST:
                self._refuse(f"the picture has {size:,} bytes: at most {LARGEST:,} are taken")
                return
            content = self.rfile.read(size)
            address = urlsplit(self.path)
            given = {name: values[0] for name, values in parse_qs(address.query).items()}
            try:
                if address.path == "/explain":
                    name = unquote(self.headers.get("X-File-Name", "picture.png"))
                    key = live.explain(name, content)
                    self._answer(json.dumps({"page": f"/pictures/{key}"}), kind="application/json")
                elif address.path.startswith("/crop/"):
                    one = live.seen[address.path.removeprefix("/crop/")]
                    key = live.explain(one.name, one.content, given["square"])
                    self.send_response(HTTPStatus.SEE_OTHER)
                    self.send_header("Location", f"/pictures/{key}")
                    self.end_headers()
                elif address.path.startswith("/probability/"):
                    asked = json.loads(content)
                    p = live.probability(address.path.removeprefix("/probability/"), asked["class"], asked["hidden"])
                    self._answer(json.dumps({"probability": p}), kind="application/json")
                else:
                    self._answer("There is no such page.", HTTPStatus.NOT_FOUND)
            except UserError as error:
                self._refuse(str(error))
            except (KeyError, ValueError, TypeError):
                self._refuse("the picture is no longer here, or the request is not one of this page's: drop it again")

        def _is_ours(self) -> bool:
            """Whether the request comes from this page; another one is refused."""
            here = {f"{name}:{self.server.server_address[1]}" for name in (HOST, "localhost")}
            origin = self.headers.get("Origin")
            if self.headers.get("Host") in here and (origin is None or urlsplit(origin).netloc in here):
                return True
            self._answer("Only this machine's own page is answered.", HTTPStatus.FORBIDDEN)
            return False

        def _refuse(self, reason: str) -> None:
            self._answer(json.dumps({"error": reason}), HTTPStatus.BAD_REQUEST, "application/json")

        def _answer(self, text: str, status: HTTPStatus = HTTPStatus.OK, kind: str = "text/html") -> None:
            content = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Nothing: the terminal shows the progress of explanations."""

    return Handler


def serve(params: Params, port: int) -> None:
    """Answer until Ctrl-C.

    Raises:
        UserError: the study in this folder is not finished, or the port is taken.
    """
    live = Live(params)
    try:
        server = ThreadingHTTPServer((HOST, port), handler(live))
    except OSError as error:
        raise UserError(f"DEMO_PORT={port} cannot be used ({error.strerror}): take another one") from None
    print(f"http://{HOST}:{server.server_address[1]}   (Ctrl-C ends it)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
