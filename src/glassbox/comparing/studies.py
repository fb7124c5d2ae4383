"""Two studies compared: parameters, records, maps, and their classifiers' results on the same test images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from glassbox import models
from glassbox.comparing import classifiers
from glassbox.comparing.classifiers import Answers, Versus
from glassbox.config import parameters, yaml_file
from glassbox.config.parameters import Params
from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.core.progress import Bar
from glassbox.core.seeds import derive
from glassbox.core.text import listed
from glassbox.data import store
from glassbox.data.preparation import test_digest
from glassbox.evaluation import predictions
from glassbox.execution import compute
from glassbox.explainers import factory
from glassbox.explainers.base import Attribution, Request
from glassbox.explainers.running import Bookkeeping, attribute
from glassbox.explaining import map_tables
from glassbox.models.saving import CARD
from glassbox.provenance import record
from glassbox.search import hyperparameters
from glassbox.statistics import bootstrap

PARAMETER, RECORDED, RESULT = "parameter", "recorded", "result"  # kinds of differences, see `Side`
WITHOUT_EFFECT = ("study.name", "tune.", "explain.", "score.")  # parameters that do not affect the classifier
LIBRARY = "library "  # before its name
SHOWN = 3  # parameters, and libraries, that a sentence names

DIGITS = 12  # of a SHA-256 that is shown
FLIPPED = 6  # images that A alone, and B alone, recognises: so many of each are shown
SAMPLED = bootstrap.FEWEST  # random images on which the maps of both are compared: enough for intervals


@dataclass(frozen=True)
class Side:
    """One of the two studies."""

    name: str  # as the user calls it
    folder: Path  # with params.yaml, reports/ and models/
    params: Params
    card: dict[str, Any]  # description of its data
    classes: tuple[str, ...]  # of the network's outputs, those of the data first
    answers: Answers
    calibration: dict[str, Any]  # content of calibration.json, see `evaluation.calibration.Scaling`
    used: dict[str, Any]  # value of every parameter, also of those that the search chose; None for an unused one
    searched: dict[str, str]  # trial of each parameter that the search chose
    recorded: dict[str, Any]  # data, code, libraries and machine, as its record has them
    trained: dict[str, Any]  # size of the network and temperature


@dataclass(frozen=True)
class Flip:
    """A test image that only one of the two recognises."""

    row: int
    truth: str  # its class
    guesses: tuple[tuple[str, float], tuple[str, float]]  # class and probability according to A, and to B
    image: np.ndarray  # (H, W, 3) uint8
    maps: dict[str, tuple[np.ndarray | None, np.ndarray | None]]  # by explainer, see `Sides`; None: not to be shown


@dataclass(frozen=True)
class Sides:
    """Both studies, compared.

    Attributes:
        differences: a row for everything that differs: its `kind` (see above), `name`, `a`, `b`, None if one has no
            such entry; and `source_a`, `source_b`, the trial of a value that the search chose, or "".
        found: comparison of their classifiers.
        only_a, only_b: the first images that only A, and only B, recognises, with A's maps of A's class, and B's of
            B's, (H, W) each.
        agreement: a row for each explainer and image of the sample: `explainer`, `image`, `rank_correlation`,
            `top_overlap`, `overlap_by_chance`; both explain the true class.
    """

    a: Side
    b: Side
    differences: pd.DataFrame
    found: Versus
    only_a: list[Flip]
    only_b: list[Flip]
    agreement: pd.DataFrame


def read(name: str, folder: str | Path) -> Side:
    """Read a finished study; `name` and `folder` are those of `Side`.

    Raises:
        UserError: a file is missing or damaged.
    """
    folder = Path(folder)
    record.check_recorded(folder)
    card = files.read_json(folder / "reports/prepare/card.json")
    if "test_digest" not in card:
        raise UserError(f"{name} was made by an older version, which did not write down its test images: run it again")
    scaling = folder / "reports/evaluate/calibration.json"
    if not scaling.exists():
        raise UserError(f"{name} was made by an older version, whose probabilities are others: run it again")
    calibration = files.read_json(scaling)
    model = files.read_json(folder / "models" / CARD)
    table, classes = files.read_csv(folder / "reports/evaluate/predictions.csv"), tuple(model["classes"])
    labels = pd.Categorical(table["true_class"].astype(str), categories=classes).codes.astype(np.int64)
    p = predictions.read(folder / "reports/evaluate/predictions.csv", card["sizes"]["test"], classes)
    params = parameters.read(folder / "params.yaml")
    records = folder / record.FOLDER
    digests = {"data": model["data_digest"][:DIGITS], "code": record.recorded_code(records)[:DIGITS]}
    libraries = {f"{LIBRARY}{library}": version for library, version in record.libraries(records).items()}
    chosen = {choice["key"]: choice for choice in model["choices"]}
    not_searched = (hyperparameters.GIVEN, hyperparameters.UNUSED)
    return Side(
        name=name,
        folder=folder,
        params=params,
        card=card,
        classes=classes,
        answers=Answers(labels, p),
        calibration=calibration,
        used=yaml_file.flatten(params) | {key: choice["value"] for key, choice in chosen.items()},
        searched={key: choice["source"] for key, choice in chosen.items() if choice["source"] not in not_searched},
        recorded=digests | record.read(records)["machine"] | libraries,
        trained={
            "trainable parameters of the network": model["parameters"]["trainable"],
            "temperature": calibration["temperature"],
        },
    )


def same_images(a: Side, b: Side) -> None:
    """Refuse two studies that cannot be compared.

    Raises:
        UserError: they have other test images.
    """
    if a.classes != b.classes and a.card["classes"] == b.card["classes"]:
        raise UserError(
            f"A={a.name} and B={b.name} have the same classes of images, but the networks have different outputs "
            f"({len(a.classes)} and {len(b.classes)}): only those with the same outputs can be compared"
        )
    for key, what in (("classes", "classes"), ("image_size", "sizes of image"), ("test_digest", "test images")):
        if a.card[key] != b.card[key]:
            shown = {side.name: f" ({side.card[key]})" if key == "image_size" else "" for side in (a, b)}
            raise UserError(
                f"A={a.name}{shown[a.name]} and B={b.name}{shown[b.name]} have different {what}: only studies with the "
                "same test images can be compared"
            )


def compare(a: Side, b: Side, data: str | Path) -> Sides:
    """Compare two studies: their parameters, their classifiers on the same test images, and both classifiers' maps, by
    the explainers that both name, with the settings of A.

    Args:
        a, b: results of `read`, with models/ in their folders.
        data: folder of prepared data with these test images.

    Raises:
        UserError: the test images are others, or a classifier cannot be read.
    """
    test = store.read(data, "test")
    if test_digest(test.images.numpy(), test.labels.numpy()) != a.card["test_digest"]:
        raise UserError(f"{data} does not hold the test images of A={a.name}: prepare them with 'dvc repro prepare'")
    seed, classes = a.params.study.seed, a.classes
    found = classifiers.versus(a.answers, b.answers, a.params.evaluate.calibration_bins, derive(seed, "compare"))
    only_a, only_b = (rows[:FLIPPED].tolist() for rows in (found.only_a, found.only_b))
    flipped = [*only_a, *only_b]
    rng = np.random.default_rng(derive(seed, "compare", "sample"))
    sample = sorted(rng.permutation(len(test))[:SAMPLED].tolist())
    by_a, by_b = _explained(a, b, data, test.images, flipped, sample)

    def flip(place: int) -> Flip:
        row = flipped[place]
        return Flip(
            row=row,
            truth=classes[a.answers.labels[row]],
            guesses=tuple(
                (classes[side.answers.predicted[row]], float(side.answers.probabilities[row].max())) for side in (a, b)
            ),
            image=test.images[row].numpy(),
            maps={name: (_shown(by_a[name], place), _shown(by_b[name], place)) for name in by_a},
        )

    flips = [flip(place) for place in range(len(flipped))]
    tables = [
        classifiers.agreement(by_a[name].maps[len(flips) :], by_b[name].maps[len(flips) :]).assign(explainer=name)
        for name in by_a
    ]
    agreement = pd.concat(table.assign(image=sample) for table in tables)
    cut = len(only_a)
    return Sides(a, b, differences(a, b), found, flips[:cut], flips[cut:], agreement)


def _explained(
    a: Side, b: Side, data: str | Path, images: torch.Tensor, flipped: list[int], sample: list[int]
) -> list[dict[str, Attribution]]:
    """Maps of A, then of B, by explainer: of the predicted class of the rows `flipped`, then of the true class of the
    rows `sample` of test images (N, H, W, 3)."""
    names = tuple(name for name in a.params.explain.explainers if name in b.params.explain.explainers)
    if not names:
        raise UserError(f"A={a.name} and B={b.name} name no explainer (explain.explainers) that both have")
    seed, rows = a.params.study.seed, [*flipped, *sample]
    place = compute.resolve(a.params.compute)
    settings = a.params.explain.model_copy(update={"explainers": names})
    train, mean = store.read(data, "train").images, store.describe(data).mean
    seeds = tuple(derive(seed, "compare", "image", row) for row in rows)
    by_side = []
    with Bar(total=2 * len(names) * len(rows), desc="explaining by both", unit="map") as bar:
        for side in (a, b):
            classifier, _ = models.load(side.folder / "models", place.device, side.calibration["temperature"])
            targets = np.concatenate([side.answers.predicted[flipped], side.answers.labels[sample]])
            request = Request(images[rows], torch.from_numpy(targets), seeds)
            setup = factory.setup(
                classifier=classifier,
                settings=settings,
                train=train,
                mean=mean,
                batch_size=place.batch_size,
                seed=seed,
            )
            books = Bookkeeping(progress=bar.update)
            explainers = factory.make(setup)
            by_side.append(
                {name: attribute(explainer, classifier, request, books) for name, explainer in explainers.items()}
            )
    return by_side


def _shown(attribution: Attribution, place: int) -> np.ndarray | None:
    return attribution.maps[place] if map_tables.may_be_shown(attribution, place) else None


def differences(a: Side, b: Side) -> pd.DataFrame:
    """Everything that differs between two studies; see `Sides`."""
    kinds = ((PARAMETER, a.used, b.used), (RECORDED, a.recorded, b.recorded), (RESULT, a.trained, b.trained))
    rows = [
        (kind, name, of_a.get(name), of_b.get(name), a.searched.get(name, ""), b.searched.get(name, ""))
        for kind, of_a, of_b in kinds
        for name in of_a | of_b
        if of_a.get(name) != of_b.get(name)
    ]
    return pd.DataFrame(rows, columns=["kind", "name", "a", "b", "source_a", "source_b"], dtype=object)


def causes(sides: Sides) -> str:
    """Possible causes of a difference between the two classifiers, in a sentence: parameters that affect them, data,
    code, machine, libraries."""
    a, b = sides.a.name, sides.b.name
    table = sides.differences
    names = [name for name in table.loc[table["kind"] == PARAMETER, "name"] if not name.startswith(WITHOUT_EFFECT)]
    recorded = table.loc[table["kind"] == RECORDED, "name"].tolist()
    libraries = [name for name in recorded if name.startswith(LIBRARY)]
    parts = [
        *(names if len(names) <= SHOWN else [f"{len(names)} parameters"]),
        *(name for name in recorded if name not in libraries),
        *(libraries if len(libraries) <= SHOWN else [f"{len(libraries)} libraries"]),
    ]
    if not parts:
        return f"{a} and {b} differ in no parameter of the classifier, nor in data, code, machine or libraries."
    if len(names) + len(recorded) == 1:
        return f"{a} and {b} differ in {parts[0]}, and by their records in nothing else that affects the classifier."
    return (
        f"{a} and {b} differ in {listed(parts)}: a difference between the classifiers cannot be attributed to one of "
        "these alone."
    )
