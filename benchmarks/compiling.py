"""Training steps with torch.compile (B) against without (A): what `compute.compile` is for.

Both train side by side, an epoch of a few batches in turn; the first epoch of each, which compiles, is not counted but
printed. On CUDA also TF32 (B) against float32 (A), and ResNet-50 at 224 x 224 pixels, which takes a CPU too long.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from benchmarks import harness
from benchmarks.common import AUGMENT, MEAN, NETWORK, STD, some_images
from glassbox import compute, config, models, training
from glassbox.data.store import Split

STEPS = 4
RESNET = {"weights": None, "dropout": 0.0, "batch_norm_momentum": 0.9}
SUBJECTS: dict[str, dict[str, Any]] = {
    "CNN of the paper, 32 x 32": {"name": "cnn", "hyperparameters": NETWORK, "size": None, "batch": 128},
    "ResNet-18, 32 x 32": {
        "name": "resnet18", "hyperparameters": RESNET | {"stem": "cifar"}, "size": None, "batch": 128,
    },
    "ResNet-50, 224 x 224": {
        "name": "resnet50", "hyperparameters": RESNET | {"stem": "imagenet"}, "size": 224, "batch": 32,
    },
}  # fmt: skip


def epochs(subject: dict[str, Any], place: compute.Place) -> Iterator[float]:
    """Images a second, epoch by epoch."""
    torch.manual_seed(0)
    model = models.build(subject["name"], subject["hyperparameters"], 32, 10, MEAN, STD, subject["size"])
    model.to(place.device)
    batch = subject["batch"]
    split = some_images(batch * STEPS).to(place.device)
    few = Split(split.images[:2], split.labels[:2], None, split.index[:2], None)
    optimizer = training.make_optimizer(model, training.OptimizerSettings("sgd", 0.01, 0.9))
    made = training.fit(
        model, split, few, optimizer, place=place, epochs=10**6, batch_size=batch, how=AUGMENT, patience=10**6, seed=0
    )
    return (epoch.images_per_second for epoch in made)


def measured(title: str, subject: dict[str, Any], a: tuple[str, compute.Place], b: tuple[str, compute.Place]) -> Any:
    """Compare two places on one network."""

    def prepared(label: str, place: compute.Place) -> tuple[str, Callable[[], float]]:
        place.settle()
        start, rates = time.perf_counter(), epochs(subject, place)
        next(rates)
        print(f"{title}, {label}: the first epoch took {time.perf_counter() - start:.1f} s", flush=True)

        def rate() -> float:
            place.settle()
            return next(rates)

        return label, rate

    return harness.compare(title, prepared(*a), prepared(*b), "images/s")


def main() -> None:
    place = compute.resolve(config.read("params.yaml").compute)
    rows = []
    for title, subject in SUBJECTS.items():
        if place.device.type == "cpu" and subject["size"]:
            print(f"{title}: left out on the CPU")
            continue
        compiled = ("compiled", replace(place, compiled=True))
        rows.append(measured(title, subject, ("as it is", replace(place, compiled=False)), compiled))
        if place.device.type == "cuda":
            exact = replace(place, dtype=torch.float32, tf32=False)
            rows.append(measured(title, subject, ("float32", exact), ("TF32", replace(exact, tf32=True))))
            fast = replace(place, deterministic=False)
            rows.append(measured(title, subject, ("deterministic", place), ("not deterministic", fast)))
    harness.record("compiling", rows)


if __name__ == "__main__":
    main()
