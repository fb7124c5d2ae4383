"""`glassbox judge --demo`: a verdict on a bundled network, on one page. It needs no repository and no network.

The images are of the source `planted`, made anew with seeds of their own: the network was trained on others
(`python -m docs.demo_model`), and the mask of each image is the true location of its evidence.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from glassbox import api, models, results
from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.core.seeds import derive
from glassbox.data.base import Images
from glassbox.data.sources.planted import plant
from glassbox.data.store import Split
from glassbox.models import Card, Classifier
from glassbox.report.pictures import png_uri
from glassbox.report.words import render
from glassbox.results import Judgement
from glassbox.scoring import planted_gate
from glassbox.scoring.planted_gate import Check

PAGE = "glassbox-demo.html"
MODEL = Path(__file__).with_name("demo_model")
SIZE, CELL, BACKGROUND = 32, 3, "noise"  # of the images, see `planted.plant`
SEED = 1
JUDGED, BACKDROP = 60, 40  # images, and others with which explainers fill hidden regions
EXPLAINERS = ("lime", "kernel_shap", "integrated_gradients", "grad_cam", "occlusion")


def planted(n: int, part: str) -> Images:
    """Images that belong to no study; `part` chooses their seed."""
    return plant(n, SIZE, CELL, "linear", BACKGROUND, derive(SEED, "demo", part))


def gate(classifier: Classifier, images: Images) -> list[Check]:
    """Whether the network uses the glyphs and them alone; see `planted_gate`."""
    changed = {name: torch.from_numpy(pixels) for name, pixels in images.changed.items()}
    tensors = (torch.from_numpy(values) for values in (images.pixels, images.labels, images.masks))
    return planted_gate.check(classifier, Split(*tensors, torch.arange(len(images)), None, changed), batch_size=128)


def judge(classifier: Classifier, images: Images) -> Judgement:
    """The judgement of the explainers."""
    return api.judge(
        classifier=classifier,
        images=images.pixels,
        labels=images.labels,
        masks=images.masks.astype(bool),
        background=planted(BACKDROP, "background").pixels,
        explainers=EXPLAINERS,
        seed=SEED,
    )


def page(card: Card, images: Images, checks: list[Check], judgement: Judgement) -> str:
    """The judgement on one HTML page that needs no network, with one image of each class."""
    rows = [int(np.flatnonzero(images.labels == label)[0]) for label in range(len(images.classes))]
    shown = [explanation.rows(rows) for explanation in judgement.explanations.values()]
    figure = results.draw(shown, absolute=False, masks=images.masks[rows].astype(bool))
    return render(
        "demo.html",
        card=card,
        images=len(images),
        explainers=len(EXPLAINERS),
        checks=checks,
        judgement=judgement,
        tables={"means": judgement.means(), "outcomes": judgement.outcomes()},
        figure=png_uri(figure._repr_png_()),
    )


def check_place(path: Path) -> None:
    """Check that the page can be written, before the work.

    Raises:
        UserError: it cannot.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}): run the command in a folder that can be written to"
        ) from None


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread of the CPU in the block: so small a network gains nothing from more, which on a busy machine wait for
    each other many times longer. The bytes are then the same with any number of cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)


def run() -> Path:
    """Judge the bundled network, print the verdict, and write the page to the current folder.

    Returns:
        The page.

    Raises:
        UserError: the page cannot be written.
    """
    start, path = time.monotonic(), Path(PAGE).absolute()
    check_place(path)
    classifier, card = models.load(MODEL)
    images = planted(JUDGED, "test")
    print(
        f"a bundled network of {card.parameters['total']:,} parameters, {JUDGED} images of planted glyphs, "
        f"{len(EXPLAINERS)} explainers: about 40 s",
        flush=True,
    )
    with one_thread():
        judgement = judge(classifier, images)
        checks = gate(classifier, images)
    files.write_text(path, page(card, images, checks, judgement))
    print("\n".join([*judgement.verdicts, f"after {time.monotonic() - start:.0f} s", f"Page    {path}"]), flush=True)
    return path
