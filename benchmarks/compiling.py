"""Training steps with and without torch.compile: what `compute.compile` is for.

All train side by side, an epoch of a few batches in turn; the first epoch of each, which compiles, is not counted but
printed. On CUDA also CUDA graphs, TF32 against float32, algorithms that are not deterministic, and ResNet-50 at
224 x 224 pixels, which takes a CPU too long.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from benchmarks import harness
from benchmarks.common import AUGMENT, MEAN, NETWORK, STD, some_images, training, training_epochs
from benchmarks.harness import Bar
from glassbox import models
from glassbox.config import parameters
from glassbox.execution import compute
from glassbox.models.preprocessing import Preprocessing

STEPS = 4
SUBJECTS: dict[str, dict[str, Any]] = {
    "CNN of the paper, 32 x 32": {"name": "cnn", "arguments": NETWORK, "size": None, "batch": 128},
    "ResNet-18, 32 x 32": {
        "name": "torchvision/resnet18", "arguments": {"stem": "cifar"}, "size": None, "batch": 128,
    },
    "ResNet-50, 224 x 224": {"name": "torchvision/resnet50", "arguments": {}, "size": 224, "batch": 32},
}  # fmt: skip


def epochs(subject: dict[str, Any], place: compute.Place) -> Iterator[float]:
    """Images a second, epoch by epoch."""
    torch.manual_seed(0)
    model = models.build(subject["name"], subject["arguments"], Preprocessing(MEAN, STD, subject["size"]), 32, 10)
    model.to(place.device)
    batch = subject["batch"]
    split = some_images(batch * STEPS).to(place.device)
    made = training_epochs(model, split, place, AUGMENT, batch, training("sgd", 0.01, momentum=0.9))
    return (epoch.images_per_second for epoch in made)


def measured(title: str, subject: dict[str, Any], places: dict[str, compute.Place]) -> dict[str, Any]:
    """Compare places on one network, the others with the first."""
    contenders: dict[str, Callable[[], float]] = {}
    for label, place in places.items():
        place.settle()
        start, rates = time.perf_counter(), epochs(subject, place)
        next(rates)
        print(f"{title}, {label}: the first epoch took {time.perf_counter() - start:.1f} s", flush=True)

        def rate(place: compute.Place = place, rates: Iterator[float] = rates) -> float:
            place.settle()
            return next(rates)

        contenders[label] = rate
    first, *others = places
    return harness.compare(title, "images/s", contenders, [Bar(label, first) for label in others], warm_up=False)


def main() -> None:
    place = compute.resolve(parameters.read("params.yaml").compute)
    rows = []
    for title, subject in SUBJECTS.items():
        if place.device.type == "cpu" and subject["size"]:
            print(f"{title}: left out on the CPU")
            continue
        plain = replace(place, compiled=False)
        places = {"as it is": plain, "compiled": replace(place, compiled=True)}
        if place.device.type == "cuda":
            places |= {
                "CUDA graphs": replace(place, compiled=True, graphs=True),
                "not deterministic": replace(plain, deterministic=False),
                "float32": replace(plain, dtype=torch.float32, tf32=False),
                "TF32": replace(plain, dtype=torch.float32, tf32=True),
            }
        rows.append(measured(title, subject, places))
    harness.record("compiling", rows)


if __name__ == "__main__":
    main()
