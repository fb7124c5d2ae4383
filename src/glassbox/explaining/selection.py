"""Which test images are explained, by rule and seed, before any map is seen."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch

from glassbox.config.explain import Explain, check_images
from glassbox.core.errors import UserError
from glassbox.core.seeds import derive
from glassbox.data.store import Split
from glassbox.evaluation.classification import ConfusedPair, confused_pairs, confusion


@dataclass(frozen=True)
class Pick:
    """One image to explain."""

    row: int  # its position in the test split
    group: str  # "chosen", "correct", "mistake" or "pair"
    note: str  # why it was picked, for people
    targets: tuple[int, ...]  # the classes to explain
    pair: tuple[int, int] | None = None  # the confusable classes that a "pair" is about, in the order of the classes
    drawn: bool = True  # whether it is shown in pictures, and not in numbers alone


@dataclass(frozen=True)
class Cases:
    """The test split, its predictions, and the images to explain."""

    images: torch.Tensor  # (N, H, W, 3) uint8
    labels: np.ndarray  # (N,) true classes
    probabilities: np.ndarray  # (N, K)
    classes: tuple[str, ...]  # names
    picks: list[Pick]
    masks: np.ndarray | None = None  # (N, H, W) bool, where the evidence for the label is; None where that is unknown

    @property
    def predicted(self) -> np.ndarray:
        """(N,) classes."""
        return self.probabilities.argmax(axis=1)


def picture_of(row: int) -> str:
    """File name of a figure about this test image. The reason for which the image was picked is not part of it, for
    another revision of the study may have another one: DVC compares figures of the same name.

    >>> picture_of(96)
    'image-00096.png'
    """
    return f"image-{row:05d}.png"


def cases(test: Split, probabilities: np.ndarray, classes: tuple[str, ...], settings: Explain, seed: int) -> Cases:
    """The images of the test split that the section `explain` selects; see `pick`."""
    labels = test.labels.numpy()
    predicted = probabilities.argmax(axis=1)
    pairs = confused_pairs(confusion(labels, predicted, len(classes)), probabilities, labels)[: settings.pairs]
    counts = settings.model_dump(include={"images", "correct_per_class", "mistakes", "images_per_pair"})
    picks = pick(labels, predicted, probabilities, pairs, classes, **counts, seed=seed)
    masks = None if test.masks is None else test.masks.numpy().astype(bool)
    return Cases(test.images, labels, probabilities, classes, some_drawn(picks, settings.figures), masks)


def some_drawn(picks: list[Pick], most: int | None) -> list[Pick]:
    """The picks, at most `most` of them drawn: first those chosen by the user, then one of each kind in turn:
    recognised images of a class, mistakes, images of a pair."""
    turns, of_kind = [], Counter()
    for place, pick in enumerate(picks):
        kind = (pick.group, pick.targets if pick.group == "correct" else pick.pair)
        turns.append((of_kind[kind], place))
        of_kind[kind] += pick.group != "chosen"  # the user's choice always has the first turn
    drawn = {place for _, place in sorted(turns)[:most]}
    return [replace(pick, drawn=place in drawn) for place, pick in enumerate(picks)]


def pick(
    labels: np.ndarray,
    predicted: np.ndarray,
    probabilities: np.ndarray,
    pairs: list[ConfusedPair],
    classes: tuple[str, ...],
    *,
    images: tuple[int, ...] = (),
    correct_per_class: int,
    mistakes: int,
    images_per_pair: int,
    seed: int,
) -> list[Pick]:
    """Chosen images, correct images of every class, mistakes, and images of confused pairs; no image twice.

    Correct ones and mistakes are drawn at random. Of a pair, images whose two most probable classes are the pair come
    first, then others of the two classes, again at random. The predicted class is explained; for a mistake the true
    one as well, for a pair both. A rule that finds fewer images than asked for takes those there are. `labels` and
    `predicted` are (N,), `probabilities` (N, K), `pairs` those to show, `images` the rows that the user chose.

    Raises:
        UserError: there is no such image.
    """
    check_images(images, len(labels))
    picks: list[Pick] = []
    taken: set[int] = set(images)

    def draw(mask: np.ndarray, n: int, *stream: str | int) -> list[int]:
        order = np.random.default_rng(derive(seed, "explain", "pick", *stream)).permutation(np.flatnonzero(mask))
        drawn = [int(row) for row in order if int(row) not in taken][:n]
        taken.update(drawn)
        return drawn

    def add(group: str, rows: Iterable[int]) -> None:
        for row in rows:
            truth, guess = int(labels[row]), int(predicted[row])
            note = (
                f"{classes[truth]}, recognised" if truth == guess else f"{classes[truth]}, taken for {classes[guess]}"
            )
            picks.append(Pick(row, group, note, tuple(dict.fromkeys((guess, truth)))))

    add("chosen", images)
    for label in range(len(classes)):
        add("correct", draw((labels == label) & (predicted == label), correct_per_class, "correct", label))
    add("mistake", draw(labels != predicted, mistakes, "mistakes"))
    top_two = np.sort(np.argsort(-probabilities, axis=1, kind="stable")[:, :2], axis=1)
    for pair in pairs:
        belongs = np.isin(labels, (pair.a, pair.b))
        torn = belongs & (top_two == (pair.a, pair.b)).all(axis=1)
        rows = draw(torn, images_per_pair, "torn", pair.a, pair.b)
        rows += draw(belongs, images_per_pair - len(rows), "pair", pair.a, pair.b)
        for row in rows:
            # The predicted class first; an image of the pair may have been taken for a third class.
            targets = tuple(dict.fromkeys((int(predicted[row]), pair.a, pair.b)))
            picks.append(Pick(row, "pair", f"{classes[pair.a]} or {classes[pair.b]}?", targets, (pair.a, pair.b)))
    if not picks:
        raise UserError(
            f"explain asks for {correct_per_class} correct images a class, {mistakes} mistakes and {len(pairs)} pairs, "
            f"and among the {int((labels != predicted).sum())} mistakes and {int((labels == predicted).sum())} correct "
            "test images there is none such: raise explain.correct_per_class, explain.mistakes or explain.pairs"
        )
    return picks
