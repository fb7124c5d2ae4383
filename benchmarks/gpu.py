"""What a CUDA GPU is for: throughput of training, where a step's time goes, Shapley values with 100 background images,
and how many trials should share the GPU. `benchmarks/gpu.sh` runs this and the CNN paper's whole study.

    python -m benchmarks.gpu            all but the study; only where there is CUDA
    python -m benchmarks.gpu FILE       put the study's stages, timed in FILE (a line each: name seconds), beside it
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from benchmarks import common, harness
from benchmarks.harness import Bar
from benchmarks.kernel_shap import on_grid
from glassbox.config import parameters
from glassbox.config.explain import KernelShap
from glassbox.config.hyperparameters import together
from glassbox.config.parameters import Params
from glassbox.core.errors import UserError, run
from glassbox.data import preparation, store
from glassbox.data.batches import to_float
from glassbox.execution import compute
from glassbox.explainers import kernel_shap
from glassbox.explainers.base import Request
from glassbox.search import trainer, tuning
from glassbox.training import optimizers

BATCH, STUDY = 128, "studies/cifar10-cnn.yaml"


def rate_of(place: compute.Place, n: int) -> Callable[[], float]:
    """Images a second of an epoch of n images, as `fit` counts them."""
    split = common.some_images(n).to(place.device)
    epochs = common.training_epochs(common.cnn(place.device), split, place, common.AUGMENT, BATCH)

    def rate() -> float:
        place.settle()
        return next(epochs).images_per_second

    return rate


def throughput(place: compute.Place, n: int = 40_000) -> dict[str, Any]:
    """Training with augmentation, by ways to start its kernels and by kinds of numbers."""
    fast = replace(place, compiled=False, deterministic=False)
    places = {"as shipped": place, "not deterministic": fast, "compiled": replace(fast, compiled=True)}
    if place.device.type == "cuda":
        places["CUDA graphs"] = replace(fast, compiled=True, graphs=True)
        places["CUDA graphs, TF32"] = replace(places["CUDA graphs"], dtype=torch.float32, tf32=True)
        places["float32"] = replace(place, dtype=torch.float32, tf32=False)
    contenders = {label: rate_of(where, n) for label, where in places.items()}
    bars = [Bar(label, "as shipped") for label in places if label != "as shipped"]
    row = harness.compare("training of the CNN, batch 128", "images/s", contenders, bars)
    best = max(row["medians"].values())
    row["ratios"].append(harness.judged("best rate / 200,000 images/s", best / 200_000, at_least=1))
    return row


def profile(place: compute.Place, steps: int = 50) -> dict[str, Any]:
    """A training step's kernels: how many, and what share of the time the GPU is busy with them. The rest of the time
    it waits for Python to start the next."""
    model, split = common.cnn(place.device).train(), common.some_images(BATCH).to(place.device)
    optimizer = optimizers.make_optimizer(model, common.training())
    x, y = to_float(split.images), split.labels

    def step() -> None:
        with place.autocast():
            logits = model(x)
        optimizer.zero_grad()
        cross_entropy(logits.float(), y).backward()
        optimizer.step()

    def wait() -> None:
        if place.device.type == "cuda":
            torch.cuda.synchronize()

    for _ in range(10):
        step()
    wait()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    wait()
    seconds = (time.perf_counter() - start) / steps
    with torch.profiler.profile() as profiler:  # of all that is there; being watched takes time, so not for `seconds`
        for _ in range(steps):
            step()
        wait()
    kernels = [e for e in profiler.events() if e.device_type == torch.autograd.DeviceType.CUDA]
    busy = sum(e.time_range.elapsed_us() for e in kernels) / steps / 1e6
    top = sorted(profiler.key_averages(), key=lambda e: -e.self_device_time_total)[:8]
    row = {
        "name": "profile of a training step", "seconds": seconds, "kernels": len(kernels) / steps,
        "busy": busy / seconds,
        "longest": {e.key[:80]: e.self_device_time_total / steps / 1e6 for e in top},
    }  # fmt: skip
    busy_percent = 100 * row["busy"]
    print(f"a step: {1e6 * seconds:.0f} us, {row['kernels']:.0f} kernels, GPU busy {busy_percent:.0f} %", flush=True)
    return row


def shap(place: compute.Place, coalitions: int = 1000, background: int = 100) -> dict[str, Any]:
    """Shapley values of one image, ten classes."""
    classifier, images = common.cnn(place.device), common.some_images(background + 1).images
    settings = KernelShap(
        coalitions=coalitions, tolerance=None, background=background, draw_background=False, classes=common.CLASSES
    )
    request = Request(images[:1].expand(common.CLASSES, -1, -1, -1), torch.arange(common.CLASSES), (0,) * 10)
    contenders = {
        precision: harness.seconds(
            partial(kernel_shap.KernelShap(settings, None, images[1:], size, precision), classifier, request)
        )
        for precision, size in (("auto", 4096), ("float32", 4096))
    }
    name = f"Shapley values of an image, {coalitions:,} coalitions, {background} background images"
    with on_grid():
        row = harness.compare(name, "s", contenders, [Bar("float32", "auto")])
    row["ratios"].append(harness.judged("seconds", row["medians"]["auto"], at_most=1))
    return row


def search(place: compute.Place, params: Params, workers: tuple[int, ...] = (1, 2, 4)) -> dict[str, Any]:
    """The same trials, one after the other and several at a time on the GPU. Workers start anew each time."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared = preparation.prepare(params.data, params.study.seed)
        store.write(folder / "data", prepared.images, prepared.index, params.data.source)
        known = together(params.model, params.train, params.augment)

        def trials(n: int) -> None:
            settings = params.tune.model_copy(update={"workers": n})
            data = store.describe(folder / "data")
            of_trials = trainer.Trainer(settings, known, 0, data, place)
            made = tuning.Search(of_trials, tempfile.mkdtemp(dir=folder))
            assert made.at_once == n or place.device.type == "cpu"
            for _ in made.run(partial(store.read, folder / "data")):
                pass

        contenders = {f"{n} at a time": harness.seconds(partial(trials, n)) for n in workers}
        bars = [Bar(f"{workers[0]} at a time", label) for label in list(contenders)[1:]]
        name = f"a search of {params.tune.n_trials} trials of {params.tune.epochs} epochs"
        return harness.compare(name, "s", contenders, bars, pairs=2, warm_up=False)


def study(file: Path) -> dict[str, Any]:
    """The whole study's stages, as gpu.sh has timed them."""
    stages = {name: float(seconds) for name, seconds in map(str.split, file.read_text(encoding="utf-8").splitlines())}
    row = {"name": "the CNN paper's whole study", "unit": "s", "medians": stages}
    minutes = sum(seconds for name, seconds in stages.items() if name not in ("score", "report")) / 60
    print(f"{row['name']}: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in stages.items()), flush=True)
    return row | {"ratios": [harness.judged("minutes, prepare to explain", minutes, at_most=5)]}


def main() -> None:
    place = common.place()
    if place.device.type != "cuda":
        raise UserError("benchmarks/gpu.py measures a CUDA GPU, and this machine has none")
    if sys.argv[1:]:
        harness.record("gpu_study", [study(Path(sys.argv[1]))])
        return
    params = parameters.read(STUDY)
    brief = params.model_copy(update={"tune": params.tune.model_copy(update={"n_trials": 8, "epochs": 3})})
    harness.record("gpu", [throughput(place), profile(place), shap(place), search(place, brief)])


if __name__ == "__main__":
    run(main)
