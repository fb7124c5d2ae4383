"""A trained network of one's own is judged as it is: the parameters of that study, and what is checked before anything
is explained. The command line calls it."""

import json
from collections.abc import Iterator

from glassbox.config.parameters import Params
from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.data import store
from glassbox.evaluation import predictions
from glassbox.evaluation.findings import findings
from glassbox.evaluation.preprocessing_check import as_changes, parameters_for
from glassbox.execution import compute
from glassbox.explainers import factory
from glassbox.explainers.catalog import BLACK_BOX
from glassbox.explaining import familiarity, selection
from glassbox.models import load, made_for
from glassbox.models.networks import source_of
from glassbox.scoring import forecast

STUDY = "own-model"
DATA, MODEL, METRICS = "data/prepared", "models", "reports/evaluate/metrics.json"


def changes(
    *, model: str, weights: str, images: str, masks: str = "", classes: str = "", name: str = ""
) -> Iterator[str]:
    """The parameters of a study, as "KEY=VALUE". Size, crop and colours are those that the weights were trained with,
    where their registry has them; else those of the study's file. A network without gradients is explained by all that
    need none.

    Args:
        model, weights, images, masks, classes: values of model.name, model.weights, data.path, data.masks and
            model.classes.
        name: of the study.

    Raises:
        UserError: there is no such network.
    """
    given = {
        "model.name": model,
        "model.weights": weights,
        "data.path": images,
        "data.masks": masks,
        "model.classes": classes,
        "study.name": name,
    }
    yield from (f"{key}={json.dumps(value)}" for key, value in given.items() if value)
    if not source_of(model).has_gradients:
        yield f"explain.explainers={json.dumps(BLACK_BOX)}"
    known = made_for(model, weights)
    if known is not None and known.input_size is not None:
        yield from as_changes(parameters_for(known))


def check_results() -> None:
    """Check what *evaluate* has found.

    Raises:
        UserError: the outputs or the preprocessing are not those that the owner of the network knows.
    """
    if faults := [found.note for found in findings(files.read_json(METRICS)) if found.is_fault]:
        raise UserError(
            f"{' '.join(faults)} Nothing was explained. Correct the parameters, or explain it as it is with --anyway"
        )


def foretold(params: Params) -> forecast.Forecast:
    """How long *explain* and *score* will take on this machine, from the results of *evaluate*; see `forecast`."""
    place = compute.resolve(params.compute)
    classifier, card = load(MODEL, place.device, predictions.temperature("reports/evaluate/calibration.json"))
    description, test = store.describe(DATA), store.read(DATA, "test")
    probabilities = predictions.read("reports/evaluate/predictions.csv", len(test), card.classes)
    seed, train = params.study.seed, store.read(DATA, "train").images
    passes = familiarity.passes(len(train), len(store.read(DATA, "validation")))
    setup = factory.setup(
        classifier=classifier,
        settings=params.explain,
        train=train,
        mean=description.mean,
        batch_size=place.batch_size,
        seed=seed,
    )
    cases = selection.cases(test, probabilities, card.classes, params.explain, seed)
    predicted = probabilities.argmax(axis=1)
    return forecast.foretell(setup, params.score, card=card, test=test, predicted=predicted, cases=cases, passes=passes)
