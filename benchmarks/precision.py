"""What reduced precision does to a map, against what another seed does to it: LIME, Shapley values, and deletion and
insertion of LIME's maps, in float32 and in the precision that "auto" chooses, on a network trained here on digits.

A distance between maps is the median over images of |a - b| / |a|, one between areas under curves the mean |a - b|.
The bar is that the change of precision moves the map less than the change of seed.
"""

import tempfile
from functools import partial

import numpy as np
import torch

from benchmarks import common, harness
from glassbox import models
from glassbox.config import parameters
from glassbox.config.parameters import Params
from glassbox.config.types import Precision
from glassbox.data import preparation, store
from glassbox.execution import compute
from glassbox.explainers.base import Request
from glassbox.explainers.kernel_shap import KernelShap
from glassbox.explainers.lime import Lime
from glassbox.models.preprocessing import Preprocessing
from glassbox.training import loop, optimizers, recipe
from glassbox.xai_metrics.faithfulness import deletion_auc, insertion_auc

IMAGES, EPOCHS, BATCH, STEPS = 12, 10, 128, 32


def trained(params: Params, place: compute.Place) -> tuple[models.Classifier, store.Split, store.Split, tuple]:
    """The network on the shipped study's data."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = preparation.prepare(params.data, params.study.seed)
        data = store.write(folder, prepared.images, prepared.index, params.data.source)
        train, validation, test = (store.read(folder, split) for split in ("train", "validation", "test"))
    torch.manual_seed(0)
    made = models.build("cnn", common.NETWORK, Preprocessing(data.mean, data.std), data.image_size, len(data.classes))
    made.to(place.device)
    optimizer = optimizers.make_optimizer(made, common.training())
    plain = recipe.Recipe(epochs=EPOCHS, batch_size=BATCH, augment=params.augment, seed=0, patience=EPOCHS)
    epochs = loop.fit(made, train.to(place.device), validation.to(place.device), optimizer, plain, place=place)
    best = max(epoch.validation_accuracy for epoch in epochs)
    print(f"precision: trained to {100 * best:.1f} % on {params.data.source}", flush=True)
    return made, train, test, data.mean


def of_maps(a: np.ndarray, b: np.ndarray) -> float:
    lengths = [np.linalg.norm(maps.reshape(len(maps), -1), axis=1) for maps in (a - b, a)]
    return float(np.median(lengths[0] / lengths[1]))


def of_areas(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).mean())


def main() -> None:
    params, place = parameters.read("studies/digits.yaml"), common.place()
    classifier, train, test, mean = trained(params, place)
    images, regions = test.images[:IMAGES], params.explain.superpixels
    targets = models.predict(classifier, images, BATCH).argmax(dim=1)
    background = train.images[: params.explain.kernel_shap.background]

    def lime(samples: int, seed: int, precision: Precision) -> np.ndarray:
        request = Request(images, targets, tuple(seed * IMAGES + row for row in range(IMAGES)))
        return Lime(samples, regions, BATCH, precision)(classifier, request).maps

    def shap(coalitions: int, seed: int, precision: Precision) -> np.ndarray:
        settings = params.explain.kernel_shap.model_copy(update={"coalitions": coalitions, "tolerance": None})
        request = Request(images, targets, tuple(seed * IMAGES + row for row in range(IMAGES)))
        return KernelShap(settings, regions, background, BATCH, precision)(classifier, request).maps

    def area(kind: str, seed: int, precision: Precision) -> np.ndarray:
        how = {"steps": STEPS, "batch_size": BATCH, "precision": precision}
        about = (classifier, Request(images, targets, tuple(range(IMAGES))), maps[seed])
        if kind == "deletion":
            return deletion_auc(*about, colour=mean, **how)
        return insertion_auc(*about, blur_sigma=params.explain.faithfulness.blur_sigma, **how)

    subjects = {f"LIME, {n:,} samples": (partial(lime, n), of_maps) for n in (params.explain.lime.samples, 1000)}
    subjects |= {
        f"Shapley values, {n:,} coalitions": (partial(shap, n), of_maps)
        for n in (params.explain.kernel_shap.coalitions, 2048)
    }
    maps = [lime(1000, seed, "float32") for seed in range(2)]
    subjects |= {f"{kind} AUC of LIME's maps": (partial(area, kind), of_areas) for kind in ("deletion", "insertion")}
    rows = []
    for name, (make, distance) in subjects.items():
        exact = make(0, "float32")
        between = {"seeds": distance(exact, make(1, "float32")), "precisions": distance(exact, make(0, "auto"))}
        told = f"{name}: between seeds {between['seeds']:.2g}, between precisions {between['precisions']:.2g}"
        print(told, flush=True)
        bar = harness.judged("precisions / seeds", between["precisions"] / between["seeds"], at_most=1)
        rows.append({"name": name, "unit": "distance", "medians": between, "ratios": [bar]})
    harness.record("precision", rows)
