"""Scores of many images from a finished study, for the simulation of `benchmarks/claims.py`.

    python -m benchmarks.pool FOLDER NAME IMAGES

FOLDER is that of a study whose stage *evaluate* is done. Measured are, on IMAGES of its test images and by the first
setting of every metric, its explainers, the controls, the explainers on an untrained network, five explainers of noise
(which know nothing of the model, as the random controls do, with random numbers of their own) and Integrated Gradients
with transposed maps. Written is benchmarks/results/claims/NAME.csv.gz.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from glassbox import models
from glassbox.config import parameters
from glassbox.config.explain import Superpixels
from glassbox.core import files
from glassbox.core.seeds import derive
from glassbox.data import store
from glassbox.evaluation.predictions import read as read_predictions
from glassbox.execution import compute
from glassbox.explainers import factory
from glassbox.explainers.base import Attribution, Budget, Explainer, Request
from glassbox.explainers.catalog import CONTROLLED, EXPLAINER, UNTRAINED
from glassbox.explainers.controls import Control, Draw, all_controls, noise, region_noise, smooth_noise
from glassbox.models import Classifier
from glassbox.scoring import measurement, preparation, score_tables

RESULTS = Path(__file__).parent / "results/claims"
NOISE, TRANSPOSED = "noise", "transposed"  # kinds of subjects, beside those of a study
SOME = 30  # images on which robustness and randomization are measured
NOISES = ("noise_1", "noise_2", "smooth_1", "smooth_2", "regions_1")


class Noise(Control):
    """A random control whose maps are drawn again each time that it is called: nothing of them depends on the model.

    Args:
        name: one of `NOISES`.
        draw: makes a map.
    """

    def __init__(self, name: str, draw: Draw) -> None:
        super().__init__(draw)
        self.name, self.calls = name, 0

    def __call__(self, classifier: Classifier, request: Request) -> Attribution:
        self.calls += 1
        seeds = tuple(derive(seed, self.name, self.calls) for seed in request.seeds)
        return super().__call__(classifier, replace(request, seeds=seeds))


class Transposed:
    """An explainer whose maps are turned over: rows become columns."""

    def __init__(self, explainer: Explainer) -> None:
        self.explainer, self.looks_at, self.together = explainer, explainer.looks_at, explainer.together

    def budget(self, side: int) -> Budget:
        return self.explainer.budget(side)

    def __call__(self, classifier: Classifier, request: Request) -> Attribution:
        made = self.explainer(classifier, request)
        return replace(made, maps=np.ascontiguousarray(made.maps.transpose(0, 2, 1)))


def noises(superpixels: Superpixels, side: int) -> dict[str, Noise]:
    """Five explainers that know nothing."""
    draws = {"noise": noise, "smooth": smooth_noise(side / 10), "regions": region_noise(superpixels)}
    return {name: Noise(name, draws[name.rpartition("_")[0]]) for name in NOISES}


def pool(folder: Path, images: int) -> pd.DataFrame:
    """Values of all subjects, as in values.csv."""
    params = parameters.read(folder / "params.yaml")
    s, seed = params.score, params.study.seed
    robustness = s.robustness.model_copy(
        update={"images": SOME, "draws": 1, "noise": s.robustness.noise[:1], "brightness": s.robustness.brightness[:1],
                "shift": s.robustness.shift[:1], "attack": s.robustness.attack[:1], "attack_steps": 3}
    )  # fmt: skip
    randomization = s.randomization.model_copy(update={"images": SOME, "steps": 1, "bins": s.randomization.bins[:1]})
    correlation = s.correlation.model_copy(update={"shares": s.correlation.shares[:1]})
    s = s.model_copy(
        update={"images": images, "robustness": robustness, "randomization": randomization, "correlation": correlation,
                "deletion": s.deletion[:1], "insertion": s.insertion[:1], "margins": s.margins[:1], "steps": 16}
    )  # fmt: skip
    place = compute.resolve(params.compute)
    data = folder / "data/prepared"
    description = store.describe(data)
    temperature = files.read_json(folder / "reports/evaluate/calibration.json")["temperature"]
    classifier, card = models.load(folder / "models", place.device, temperature)
    test, train = store.read(data, "test"), store.read(data, "train")
    p = read_predictions(folder / "reports/evaluate/predictions.csv", len(test), card.classes)
    setup = factory.setup(
        classifier=classifier, settings=params.explain, train=train.images, mean=description.mean,
        batch_size=place.batch_size, seed=seed,
    )  # fmt: skip
    ground = preparation.prepare(setup, s, card=card, test=test, predicted=p.argmax(axis=1))
    side = ground.request.images.shape[1]
    own = factory.make(setup)
    controls = all_controls(params.explain.superpixels, side)
    blind = noises(params.explain.superpixels, side)
    scored = []

    def add(kind: str, subjects: dict[str, Explainer], whole: bool) -> None:
        for name, explainer in subjects.items():
            scored.append(measurement.measure_subject(ground, kind, name, explainer, whole=whole))
            print(f"{kind} {name}", flush=True)

    add(EXPLAINER, own, whole=True)
    add(CONTROLLED, controls, whole=True)
    add(NOISE, blind, whole=True)
    add(UNTRAINED, own | blind, whole=False)
    if "integrated_gradients" in own:
        add(TRANSPOSED, {"integrated_gradients": Transposed(own["integrated_gradients"])}, whole=False)
    return score_tables.table(scored, ground, card.classes)


def main() -> None:
    folder, name, images = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    torch.manual_seed(0)
    values = pool(folder, images).drop(columns=["explained_class", "forward_passes", "backward_passes"])
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.csv.gz"
    values.round(5).to_csv(path, index=False, compression={"method": "gzip", "mtime": 0})
    print(f"written: {path.name}, {len(values)} rows")


if __name__ == "__main__":
    main()
