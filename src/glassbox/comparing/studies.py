"""Two studies side by side: in what they differ, their classifiers' results on the same test images, and their maps."""

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
from glassbox.models.classifier import CARD
from glassbox.provenance import record
from glassbox.search import hyperparameters
from glassbox.statistics import bootstrap

# Kinds of differences: a value of params.yaml, or of the search where params.yaml leaves it to the search; what the
# records of both studies say; and a result of training.
PARAMETER, RECORDED, RESULT = "parameter", "recorded", "result"
WITHOUT_EFFECT = ("study.name", "tune.", "explain.", "score.")  # on the classifier, but for what the search chooses
LIBRARY = "library "  # before its name
SHOWN = 3  # parameters, and libraries, that a sentence names

DIGITS = 12  # of a SHA-256 that is shown
FLIPPED = 6  # images that one alone recognises, of each, that are shown
SAMPLED = bootstrap.FEWEST  # images drawn at random, on which the maps of both are compared: enough for intervals


@dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        name: as the user calls it.
        folder: with params.yaml, reports/ and models/.
        params: of the study.
        card: of its data.
        answers: of its classifier about the test images.
        calibration: which probabilities these are; see `evaluation.calibration.Scaling`.
        used: value of every parameter by name; where params.yaml says "tuned" the one that the search chose, and None
            where the network or optimizer has no use for it.
        searched: names of those that the search chose, with its trial.
        recorded: what decides its results besides parameters, by name: data, code, libraries, machine.
        trained: size of the network and temperature, by name.
    """

    name: str
    folder: Path
    params: Params
    card: dict[str, Any]
    answers: Answers
    calibration: dict[str, Any]
    used: dict[str, Any]
    searched: dict[str, str]
    recorded: dict[str, Any]
    trained: dict[str, Any]


@dataclass(frozen=True)
class Flip:
    """A test image that one of the two alone recognises.

    Attributes:
        row: its number.
        truth: its class.
        guesses: class and probability according to A, and to B.
        image: (H, W, 3) uint8.
        maps: for each explainer A's map of A's class, and B's of B's, (H, W) each; None for one that must not be shown.
    """

    row: int
    truth: str
    guesses: tuple[tuple[str, float], tuple[str, float]]
    image: np.ndarray
    maps: dict[str, tuple[np.ndarray | None, np.ndarray | None]]


@dataclass(frozen=True)
class Sides:
    """Both, compared.

    Attributes:
        a, b: the two.
        differences: a row for everything that differs: its `kind` (see above), `name`, `a`, `b`; None where one has no
            such thing; and `source_a`, `source_b`, the trial of a value that the search chose, or "".
        found: of their answers.
        only_a, only_b: images that only A, and only B, recognises; the first of those.
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
    """A finished study.

    Args:
        name: as the user calls it.
        folder: with params.yaml, reports/ and models/.

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
    table = files.read_csv(folder / "reports/evaluate/predictions.csv")
    classes = tuple(card["classes"])
    labels = pd.Categorical(table["true_class"].astype(str), categories=classes).codes.astype(np.int64)
    p = predictions.read(folder / "reports/evaluate/predictions.csv", card["sizes"]["test"], classes)
    params, model = parameters.read(folder / "params.yaml"), files.read_json(folder / "models" / CARD)
    chosen = {choice["key"]: choice for choice in model["choices"]}
    given = (hyperparameters.GIVEN, hyperparameters.UNUSED)
    return Side(
        name=name,
        folder=folder,
        params=params,
        card=card,
        answers=Answers(labels, p),
        calibration=calibration,
        used=yaml_file.flatten(params) | {key: choice["value"] for key, choice in chosen.items()},
        searched={key: choice["source"] for key, choice in chosen.items() if choice["source"] not in given},
        recorded=_recorded(folder / record.FOLDER, model["data_digest"]),
        trained={
            "trainable parameters of the network": model["parameters"]["trainable"],
            "temperature": calibration["temperature"],
        },
    )


def _recorded(folder: Path, data_digest: str) -> dict[str, Any]:
    machine = record.read(folder)["machine"]
    libraries = {f"{LIBRARY}{name}": version for name, version in record.libraries(folder).items()}
    return {"data": data_digest[:DIGITS], "code": record.recorded_code(folder)[:DIGITS]} | machine | libraries


def same_images(a: Side, b: Side) -> None:
    """Refuse two studies of which nothing could be compared.

    Raises:
        UserError: they have other test images.
    """
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
        a, b: of `read`, with models/ in their folders.
        data: folder of prepared data that has these test images.

    Raises:
        UserError: the data are others, or a classifier cannot be read.
    """
    test, description = store.read(data, "test"), store.describe(data)
    if test_digest(test.images.numpy(), test.labels.numpy()) != a.card["test_digest"]:
        raise UserError(f"{data} does not hold the test images of A={a.name}: prepare them with 'dvc repro prepare'")
    seed = a.params.study.seed
    found = classifiers.versus(a.answers, b.answers, a.params.evaluate.calibration_bins, derive(seed, "compare"))
    flips = [found.only_a[:FLIPPED].tolist(), found.only_b[:FLIPPED].tolist()]
    rng = np.random.default_rng(derive(seed, "compare", "sample"))
    sample = sorted(rng.permutation(len(test))[:SAMPLED].tolist())
    rows = [*flips[0], *flips[1]]
    place = compute.resolve(a.params.compute)
    train = store.read(data, "train").images
    made_by: list[dict[str, Attribution]] = []  # A, then B
    chosen = tuple(name for name in a.params.explain.explainers if name in b.params.explain.explainers)
    if not chosen:
        raise UserError(f"A={a.name} and B={b.name} name no explainer (explain.explainers) that both have")
    settings = a.params.explain.model_copy(update={"explainers": chosen})
    steps = 2 * len(chosen) * (len(rows) + len(sample))
    with Bar(total=steps, desc="explaining by both", unit="map") as bar:
        for side in (a, b):
            classifier, _ = models.load(side.folder / "models", place.device, side.calibration["temperature"])
            targets = [*side.answers.predicted[rows].tolist(), *side.answers.labels[sample].tolist()]
            seeds = tuple(derive(seed, "compare", "image", row) for row in (*rows, *sample))
            request = Request(test.images[[*rows, *sample]], torch.tensor(targets), seeds)
            setup = factory.setup(
                classifier=classifier,
                settings=settings,
                train=train,
                mean=description.mean,
                batch_size=place.batch_size,
                seed=seed,
            )
            books = Bookkeeping(progress=bar.update)
            explainers = factory.make(setup)
            made_by.append(
                {name: attribute(explainer, classifier, request, books) for name, explainer in explainers.items()}
            )

    def shown(attribution: Attribution, number: int) -> np.ndarray | None:
        return attribution.maps[number] if map_tables.may_be_shown(attribution, number) else None

    def flip(number: int) -> Flip:
        row = rows[number]
        guesses = tuple(
            (a.card["classes"][side.answers.predicted[row]], float(side.answers.probabilities[row].max()))
            for side in (a, b)
        )
        both = {name: tuple(shown(one[name], number) for one in made_by) for name in chosen}
        truth = a.card["classes"][a.answers.labels[row]]
        return Flip(row, truth, guesses, test.images[row].numpy(), both)

    all_flips = [flip(number) for number in range(len(rows))]
    tables = [
        classifiers.agreement(*(one[name].maps[len(rows) :] for one in made_by)).assign(explainer=name, image=sample)
        for name in chosen
    ]
    cut = len(flips[0])
    return Sides(a, b, differences(a, b), found, all_flips[:cut], all_flips[cut:], pd.concat(tables))


def differences(a: Side, b: Side) -> pd.DataFrame:
    """All in which two studies differ; see `Sides`."""
    kinds = ((PARAMETER, a.used, b.used), (RECORDED, a.recorded, b.recorded), (RESULT, a.trained, b.trained))
    rows = [
        (kind, name, one.get(name), other.get(name), a.searched.get(name, ""), b.searched.get(name, ""))
        for kind, one, other in kinds
        for name in one | other
        if one.get(name) != other.get(name)
    ]
    return pd.DataFrame(rows, columns=["kind", "name", "a", "b", "source_a", "source_b"], dtype=object)


def causes(sides: Sides) -> str:
    """What may have caused a difference between the two classifiers, in a sentence: parameters with an effect on them,
    data, code, machine, libraries."""
    a, b = sides.a.name, sides.b.name
    names = {kind: part["name"].tolist() for kind, part in sides.differences.groupby("kind")}
    parameters = [name for name in names.get(PARAMETER, []) if not name.startswith(WITHOUT_EFFECT)]
    recorded = names.get(RECORDED, [])
    libraries = [name for name in recorded if name.startswith(LIBRARY)]
    parts = parameters if len(parameters) <= SHOWN else [f"{len(parameters)} parameters"]
    parts = parts + [name for name in recorded if name not in libraries]
    parts += libraries if len(libraries) <= SHOWN else [f"{len(libraries)} libraries"]
    if not parts:
        return f"{a} and {b} differ in no parameter of the classifier, nor in data, code, machine or libraries."
    if len(parameters) + len(recorded) == 1:
        return f"{a} and {b} differ in {parts[0]}, and by their records in nothing else that affects the classifier."
    return (
        f"{a} and {b} differ in {listed(parts)}: a difference between the classifiers cannot be attributed to one of "
        "these alone."
    )
