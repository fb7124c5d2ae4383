"""Figures of the search for shortcuts."""

from pathlib import Path

import numpy as np
import torch

from glassbox.audit import search
from glassbox.audit.candidates import Candidate, Region
from glassbox.audit.report import Audit
from glassbox.audit.strategies import relevance_shares
from glassbox.core.seeds import derive
from glassbox.data.store import Split
from glassbox.figures.maps import frame, outline, show_image
from glassbox.figures.style import COLUMN, GREEN, figure, heading, short
from glassbox.models import Classifier, probabilities

MOST = 5  # findings that have a figure
SHOWN = 3  # images of the class, and of others


def findings(
    folder: str | Path, audit: Audit, classifier: Classifier, held_out: Split, *, batch_size: int, seed: int
) -> None:
    """finding-1.png and so on, for the first confirmed candidates; see `finding`."""
    for place in np.flatnonzero(audit.table["confirmed"].to_numpy(bool))[:MOST]:
        one, row = audit.candidates[place], audit.table.iloc[place]
        title = f"Finding {place + 1}: {row['class']}, {one.words}"
        rng = np.random.default_rng(derive(seed, "audit", "figure", int(place)))
        images = examples(one, held_out.images.numpy(), held_out.labels.numpy(), rng)
        p = [
            probabilities(classifier, torch.from_numpy(np.ascontiguousarray(some)), batch_size)[:, one.label].numpy()
            for some in images
        ]
        finding(Path(folder) / f"finding-{place + 1}.png", title, one, images, p, relevance(audit, one))


def relevance(audit: Audit, one: Candidate) -> list[np.ndarray]:
    """Mean share of relevance (H, W) in images of the class and in others, by the explainer that shows a region."""
    if not isinstance(one, Region) or not audit.maps:
        return []
    name = one.source.split(",")[0]
    shares = relevance_shares(audit.maps[name])
    return [shares[of].mean(axis=0) for of in (audit.labels == one.label, audit.labels != one.label)]


def examples(one: Candidate, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Images of the class, the same without the candidate, images of other classes, and the same with it."""
    own, others = (rows[:SHOWN] for rows in search.carriers(one, images, labels))
    without = one.changed(images[own], images[rng.choice(others, len(own))])
    given = one.changed(images[others], images[rng.choice(own, len(others))])
    return [images[own], without, images[others], given]


def finding(
    path: str | Path,
    title: str,
    one: Candidate,
    images: list[np.ndarray],
    p: list[np.ndarray],
    relevance: list[np.ndarray],
) -> None:
    """A candidate: the mean relevance in its class and in others, and images as they are and changed, with the
    probability of its class.

    Args:
        path, title: of the figure.
        one: the candidate; a region is outlined.
        images: of `examples`.
        p: probabilities of the class for them.
        relevance: two maps (H, W), or none.
    """
    names = ("of the class", "the same without it", "of other classes", "the same with it")
    first = 1 if relevance else 0
    with figure(path, COLUMN, 3.0) as drawing:
        axes = drawing.subplots(2, first + 2 * SHOWN, squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        limit = max((values.max() for values in relevance), default=1.0)
        for row, (values, of) in enumerate(zip(relevance, ("of the class", "of others"), strict=False)):
            frame(axes[row, 0])
            axes[row, 0].imshow(values, cmap="Greys", vmin=0, vmax=limit, interpolation="nearest")
            _outlined(axes[row, 0], one)
            axes[row, 0].set_title(f"mean relevance\n{of}", fontsize=7)
        for block, (some, probability, name) in enumerate(zip(images, p, names, strict=True)):
            for place, image in enumerate(some):
                axis = axes[block % 2, first + SHOWN * (block // 2) + place]
                show_image(axis, image)
                _outlined(axis, one)
                label = f"{name}\n" if place == 0 else "\n"
                axis.set_title(f"{label}p = {probability[place]:.2f}", fontsize=7, loc="left")
        heading(drawing, short(title, most=100))


def _outlined(axis: object, one: Candidate) -> None:
    if isinstance(one, Region):
        outline(axis, one.mask, GREEN)
