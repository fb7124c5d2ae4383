"""How seconds and memory grow: with the number of images, their size, superpixels, and explained images.

Each measurement is a process of its own, after one small pass that loads the libraries. Memory is what the process
holds beyond what it held before the work, at its highest ("anonymous" memory: not the pages of files, which the system
takes back when it wants them). Exponents are slopes of log(seconds), or of log(memory in all, with the libraries), on
log(value) over all points: 0 does not grow, 1 is proportional.

About 7 minutes on 2 cores, so only when named: python -m benchmarks scaling
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import common, harness
from glassbox import models
from glassbox.config import parameters
from glassbox.config.explain import Faithfulness, GradientShap, IntegratedGradients, KernelShap
from glassbox.core import files
from glassbox.data import preparation, store
from glassbox.data.sources import cifar10
from glassbox.evaluation.evaluate import evaluate as evaluated
from glassbox.explainers import factory, kernel_shap, lime
from glassbox.explainers.base import Request
from glassbox.explainers.running import Bookkeeping
from glassbox.explaining import explanations, map_tables, selection

IMAGES, SIZES, REGIONS, EXPLAINED = (1000, 5000, 20000, 50000), (32, 64, 128, 224), (16, 32, 64, 128, 256), (
    10, 30, 100, 300, 1000,
)  # fmt: skip
BATCH = 128
MIB = 2**20
Work = Callable[[], object]


def prepare(n: int, folder: Path) -> Work:
    """The whole stage on n training images and a fifth as many test images, in CIFAR-10's own files."""
    rng = np.random.default_rng(0)
    raw = folder / cifar10.FOLDER
    raw.mkdir()
    for name in cifar10.SHA1:
        records = rng.integers(0, 256, (n // 5, cifar10.RECORD), dtype=np.uint8)
        records[:, 0] = np.arange(len(records)) % 10
        (raw / name).write_bytes(records.tobytes())
        cifar10.SHA1[name] = hashlib.sha1(records.tobytes(), usedforsecurity=False).hexdigest()
    settings = parameters.read("studies/cifar10-cnn.yaml").data.model_copy(update={"path": str(folder), "limit": None})

    def work() -> None:
        prepared = preparation.prepare(settings, 0)
        data = store.write(folder / "prepared", prepared.images, prepared.index, "cifar10")
        preparation.data_card(data, prepared)

    return work


def written(folder: Path, n: int) -> store.Split:
    """n images in a file, as a stage finds them."""
    from safetensors.torch import save_file

    split = common.some_images(n)
    save_file({"images": split.images, "labels": split.labels, "index": split.index}, folder / "test.safetensors")
    del split
    return store.read(folder, "test")


def epoch(n: int, folder: Path) -> Work:
    """One epoch of training."""
    place = common.place()
    train = written(folder, n).to(place.device)
    epochs = common.training_epochs(common.cnn(place.device), train, place, common.AUGMENT, BATCH)
    return lambda: next(epochs)


def evaluate(n: int, folder: Path) -> Work:
    """The stage but for its pictures, on n test images."""
    test, classifier, few = written(folder, n), common.cnn(common.place().device), common.some_images(500)
    settings, names = parameters.read("params.yaml").evaluate, tuple(f"class {k}" for k in range(common.CLASSES))

    def work() -> None:
        logits = [models.predict(classifier, split.images, BATCH).numpy() for split in (few, test)]
        found = (logits[0], few.labels.numpy(), logits[1], test.labels.numpy(), test.index.numpy())
        made = evaluated(*found, names, settings, 0)
        files.write_json(folder / "metrics.json", made.metrics)
        for name, table in made.tables(names, settings.confused_pairs).items():
            files.write_csv(folder / f"{name}.csv", table)

    return work


def predict_size(side: int, _: Path) -> Work:
    """256 images of this size through the network."""
    images = torch.randint(0, 256, (256, side, side, 3), dtype=torch.uint8)
    made = common.cnn(common.place().device, side)
    return lambda: models.predict(made, images, 32, precision="auto")


def explain_size(side: int, _: Path) -> Work:
    """Shapley values of two images of this size, 64 regions, 256 coalitions."""
    images = torch.randint(0, 256, (2, side, side, 3), dtype=torch.uint8)
    return shap_of(common.cnn(common.place().device, side), images, 64, 256)


def shap_of(made: models.Classifier, images: torch.Tensor, regions: int, coalitions: int) -> Work:
    side = images.shape[1]
    kernel_shap.segment = lambda *_: grid(side, regions)
    settings = KernelShap(coalitions=coalitions, tolerance=None, background=1, draw_background=False, classes=0)
    explain = kernel_shap.KernelShap(settings, None, images[-1:], 32, "auto")
    request = Request(images, torch.zeros(len(images), dtype=torch.int64), tuple(range(len(images))))
    return lambda: explain(made, request)


def grid(side: int, regions: int) -> np.ndarray:
    """(side, side) labels: rectangles, as many as `regions`, a power of 2."""
    down = 2 ** (int(np.log2(regions)) // 2)
    rows, columns = (np.arange(side) * n // side for n in (down, regions // down))
    return rows[:, None] * (regions // down) + columns


def shap_regions(regions: int, _: Path) -> Work:
    """Shapley values of an image, 2,048 coalitions."""
    return shap_of(common.cnn(common.place().device), common.some_images(2).images, regions, 2048)


def lime_regions(regions: int, _: Path) -> Work:
    """LIME of an image, 1,000 samples."""
    lime.segment = lambda *_: grid(common.SIDE, regions)
    explain, images = lime.Lime(1000, None, BATCH, "auto"), common.some_images(1).images
    request = Request(images, torch.tensor([0]), (0,))
    classifier = common.cnn(common.place().device)
    return lambda: explain(classifier, request)


def explain(n: int, folder: Path) -> Work:
    """The stage but for its pictures, on n images, two classes each, with few samples."""
    test, classifier = written(folder, 1000), common.cnn(common.place().device)
    shipped = parameters.read("params.yaml").explain
    settings = shipped.model_copy(
        update={
            "explainers": ("integrated_gradients", "gradient_shap", "grad_cam", "kernel_shap"),
            "kernel_shap": KernelShap(coalitions=128, tolerance=None, background=1, draw_background=False, classes=3),
            "integrated_gradients": IntegratedGradients(steps=8, baseline="black"),
            "gradient_shap": GradientShap(samples=8, background=8),
            "faithfulness": Faithfulness(steps=8, blur_sigma=2.0),
        }
    )  # fmt: skip
    kernel_shap.segment = lambda *_: grid(common.SIDE, 16)
    p = models.probabilities(classifier, test.images, BATCH).numpy()
    names = tuple(f"class {k}" for k in range(common.CLASSES))
    picks = [selection.Pick(row, "correct", "", tuple(np.argsort(-p[row])[:2].tolist())) for row in range(n)]
    cases = selection.Cases(test.images, test.labels.numpy(), p, names, picks)

    def work() -> None:
        plan = explanations.plan(cases, settings, 0, folder)
        setup = factory.setup(
            classifier=classifier, settings=settings, train=test.images, mean=common.MEAN, batch_size=BATCH, seed=0
        )
        results = list(explanations.explain(setup, plan, Bookkeeping(folder=folder)))
        for name, table in map_tables.tables(cases, results, settings.superpixels, test).items():
            files.write_csv(folder / f"{name}.csv", table)
        files.write_npz(folder / "attributions.npz", map_tables.arrays(results, plan, folder))

    return work


AXES: dict[str, tuple[str, tuple[int, ...], Callable[[int, Path], Work]]] = {
    "prepare": ("images", IMAGES, prepare), "training epoch": ("images", IMAGES, epoch),
    "evaluate": ("images", IMAGES, evaluate), "explain": ("explained images", EXPLAINED, explain),
    "prediction of 256 images": ("pixels a side", SIZES, predict_size),
    "Shapley values, 256 coalitions": ("pixels a side", SIZES, explain_size),
    "Shapley values, 2,048 coalitions": ("superpixels", REGIONS, shap_regions),
    "LIME, 1,000 samples": ("superpixels", REGIONS, lime_regions),
}  # fmt: skip


def held(what: str = "RssAnon") -> int:
    """Bytes of memory that this process has now."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:"))


def measure(name: str, value: int) -> dict[str, float]:
    """In this process: seconds, MiB beyond what was held before, and MiB of all at the highest."""
    _, values, make = AXES[name]
    for n in (values[0], value):  # the first one loads libraries and is not counted
        with tempfile.TemporaryDirectory() as folder:
            work = make(n, Path(folder))
            highest, done = [before := held()], threading.Event()

            def watch(highest: list[int] = highest, done: threading.Event = done) -> None:
                while not done.wait(0.002):
                    highest.append(held())

            watcher = threading.Thread(target=watch)
            watcher.start()
            start = time.perf_counter()
            work()
            seconds = time.perf_counter() - start
            done.set()
            watcher.join()
    return {"seconds": seconds, "mib": (max(highest) - before) / MIB, "mib_in_all": max(highest) / MIB}


def exponent(values: tuple[int, ...], measured: list[float]) -> float:
    return float(np.polyfit(np.log(values), np.log(measured), 1)[0])


def main() -> None:
    rows = []
    for name, (axis, values, _) in AXES.items():
        found = []
        for value in values:
            command = [sys.executable, "-m", "benchmarks.scaling", name, str(value)]
            found.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        row = {"name": name, "axis": axis, "values": values, "points": found}
        row |= {f"{unit}_exponent": exponent(values, [p[unit] for p in found]) for unit in ("seconds", "mib_in_all")}
        told = ", ".join(f"{v:,}: {p['seconds']:.3g} s, {p['mib']:.0f} MiB" for v, p in zip(values, found, strict=True))
        print(f"{name} by {axis}: {told}", flush=True)
        print(
            f"    seconds ~ n^{row['seconds_exponent']:.2f}, memory in all ~ n^{row['mib_in_all_exponent']:.2f}",
            flush=True,
        )
        bars: list[Any] = []
        if name == "prepare":
            bars.append(harness.judged("seconds for 50,000", found[-1]["seconds"], at_most=10))
            bars.append(harness.judged("GiB for 50,000", found[-1]["mib_in_all"] / 1024, at_most=1))
        if name in ("evaluate", "explain"):
            per_image = (found[-1]["mib"] - found[0]["mib"]) * 1024 / (values[-1] - values[0])
            bars.append(harness.judged("KiB more for each image", per_image))
        rows.append(row | {"ratios": bars})
    harness.record("scaling", rows)


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
