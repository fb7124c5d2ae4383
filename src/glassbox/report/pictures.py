"""Images and maps as pictures: small data URIs, of which a page can hold hundreds, and PNG files."""

import base64
import io
from collections.abc import Iterator

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from glassbox.explainers.captions import sound
from glassbox.explainers.catalog import CONTROL
from glassbox.figures.maps import blend, normalise
from glassbox.figures.style import GREEN
from glassbox.report.study import Study
from glassbox.tracking.mlflow_view import IMAGES, SCORECARD, image_key

EXACT = 64  # side in pixels up to which pictures are compressed without loss
LARGEST = 160  # side of a picture on the page
QUALITY = 60  # for WebP; at 75, 64 images of noise and their maps would take more than 14 MiB


def browsable(study: Study) -> list[tuple[str, int, bytes]]:
    """What MLflow shows step by step: every image that is drawn, and its maps of the predicted class that may be shown,
    each as key, row in the test split, and content of a PNG file. Masks are outlined. At step 0, the scorecard."""
    index, maps, images, masks = study.index, study.arrays["maps"], study.arrays["images"], study.arrays.get("masks")
    shown = []
    for row in index[index["drawn"] & (index["explained_class"] == index["predicted_class"])].to_dict("records"):
        key, pixels = f"{IMAGES}/image", images[row["map"] % len(images)]
        if row["explainer"] != CONTROL:
            error = row.get("additivity_error")
            if pd.notna(error) and not sound({"additivity_error": error}):
                continue
            key, pixels = image_key(row["explainer"]), drawn(pixels, maps[row["map"]])
        picture = enlarged(pixels)
        if masks is not None:
            draw_outline(picture, masks[row["map"] % len(images)])
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        shown.append((key, row["image"], stream.getvalue()))
    if study.scorecard is not None:
        shown.append((SCORECARD, 0, (study.folder / "score/scorecard.png").read_bytes()))
    return shown


def png_uri(content: bytes) -> str:
    """A PNG file's content as a data URI."""
    return "data:image/png;base64," + base64.b64encode(content).decode()


def uri(pixels: np.ndarray, largest: int = LARGEST) -> str:
    """A picture (H, W, 3) uint8 as a data URI, reduced to a side of `largest` pixels if it is larger."""
    image = Image.fromarray(pixels)
    if max(image.size) > largest:
        image.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    exact = max(image.size) <= EXACT
    image.save(stream, "WEBP", lossless=exact, quality=QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()


def map_uri(image: np.ndarray, values: np.ndarray, largest: float | None = None, side: int = LARGEST) -> str:
    """A signed map over its image, as a data URI of at most `side` pixels; see `drawn`."""
    return uri(drawn(image, values, largest), side)


def enlarged(pixels: np.ndarray, least: int = 192) -> Image.Image:
    """A picture (H, W, 3) uint8 enlarged by a whole factor until its shorter side has `least` pixels or more."""
    image, times = Image.fromarray(pixels), -(-least // min(pixels.shape[:2]))
    return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)


def drawn(image: np.ndarray, values: np.ndarray, largest: float | None = None) -> np.ndarray:
    """A signed map (H, W) in red and blue over its image (H, W, 3) uint8, as such a picture. The absolute value
    `largest` has the full colour; None takes the map's own largest."""
    scaled = normalise(values) if largest is None else np.clip(values / (largest or 1.0), -1, 1)
    return (255 * blend(image, scaled)).round().astype(np.uint8)


def edges(mask: np.ndarray) -> Iterator[tuple[int, int, int, int]]:
    """The lines between the marked and the other pixels of a mask (H, W) bool, each as its left or upper end x, y and
    its length to the right and downwards, in pixels: one of the two is 0."""
    for x, y, length in _runs((mask[:, 1:] != mask[:, :-1]).T):
        yield x, y, 0, length
    for y, x, length in _runs(mask[1:] != mask[:-1]):
        yield x, y, length, 0


def _runs(differs: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """For each run of true values in a row of (M, L) bool: the row's number from 1 on, the start and the length."""
    steps = np.diff(differs.astype(np.int8), axis=1, prepend=0, append=0)
    (rows, starts), (_, ends) = np.nonzero(steps == 1), np.nonzero(steps == -1)
    yield from zip((rows + 1).tolist(), starts.tolist(), (ends - starts).tolist(), strict=True)


def svg_path(mask: np.ndarray) -> str:
    """The outline of a mask (H, W) bool as a path of SVG, in pixels; empty where nothing or everything is marked."""
    return "".join(f"M{x} {y}{f'h{right}' if right else f'v{down}'}" for x, y, right, down in edges(mask))


def draw_outline(picture: Image.Image, mask: np.ndarray) -> None:
    """Draw the outline of a mask (H, W) bool into a picture that is a whole number of times larger."""
    pen, times = ImageDraw.Draw(picture), picture.width // mask.shape[1]
    for x, y, right, down in edges(mask):
        pen.line([(times * x, times * y), (times * (x + right), times * (y + down))], fill=GREEN, width=2)
