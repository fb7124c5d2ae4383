"""Deletion and insertion AUC of 16 images, 32 steps each: one step at a time on a plain model, as in the code that came
with RISE; Quantus's PixelFlipping in batches of 64, which is deletion alone, where it is installed; ours.

Quantus is not among the project's packages (0.6 wants older ones): `pip install --no-deps quantus==0.6.0
opencv-python-headless` is enough.
"""

import contextlib
import importlib.util
import io
from typing import Any

import numpy as np
import torch

from benchmarks import common, harness
from benchmarks.harness import Bar
from glassbox.config.types import Precision
from glassbox.data.batches import to_float
from glassbox.execution import compute
from glassbox.explainers.base import Request
from glassbox.models import device_of
from glassbox.xai_metrics import faithfulness

IMAGES, STEPS, BATCH, SIGMA = 16, 32, 128, 4.0
BLACK = (0.0, 0.0, 0.0)


def main() -> None:
    device = common.place().device
    classifier = common.cnn(device)
    plain = common.usual(classifier)
    images = common.some_images(IMAGES).images
    targets = torch.arange(IMAGES) % common.CLASSES
    maps = np.random.default_rng(0).standard_normal((IMAGES, common.SIDE, common.SIDE)).astype(np.float32)
    x = (images.permute(0, 3, 1, 2).float() / 255).contiguous()
    portions = np.round(np.linspace(0, common.SIDE**2, STEPS + 1)).astype(int)

    @torch.inference_mode()
    def one_by_one(deletion: bool) -> np.ndarray:
        areas = []
        for image, values, target in zip(x.to(device), maps, targets.tolist(), strict=True):
            order, other = np.argsort(-values.ravel(), kind="stable"), torch.zeros_like(image)
            if not deletion:
                blurred = faithfulness.blur(image[None].cpu(), SIGMA)[0].to(device)
                image, other = blurred, image
            now, curve, done = image.clone(), [], 0
            for portion in portions:
                now.view(3, -1)[:, order[done:portion]] = other.reshape(3, -1)[:, order[done:portion]]
                curve.append(plain(now[None]).softmax(dim=1)[0, target].item())
                done = portion
            areas.append(np.trapezoid(curve, dx=1 / STEPS))
        return np.array(areas)

    def ours(deletion: bool, precision: Precision, steps: int = STEPS) -> np.ndarray:
        how = {"steps": steps, "batch_size": BATCH, "precision": precision}
        request = Request(images, targets, tuple(range(len(maps))))
        if deletion:
            return faithfulness.deletion_auc(classifier, request, maps, colour=BLACK, **how)
        return faithfulness.insertion_auc(classifier, request, maps, blur_sigma=SIGMA, **how)

    def bare(precision: Precision) -> float:
        rows = to_float(images).to(device).repeat(2 * (STEPS + 1), 1, 1, 1)
        with torch.inference_mode(), compute.autocast(device, compute.number(precision, device)):
            return sum(classifier(part).sum().item() for part in rows.split(BATCH))

    for deletion in (True, False):
        assert np.abs(one_by_one(deletion) - ours(deletion, "float32")).max() < 1e-5
    contenders = {
        "one step at a time": lambda: (one_by_one(True), one_by_one(False)),
        "glassbox": lambda: (ours(True, "auto"), ours(False, "auto")),
        "bare forward": lambda: bare("auto"),
        "glassbox float32": lambda: (ours(True, "float32"), ours(False, "float32")),
    }  # fmt: skip
    rows = [
        harness.compare(
            f"deletion and insertion, {IMAGES} images, {STEPS} steps", "s",
            {label: harness.seconds(work) for label, work in contenders.items()},
            [Bar("one step at a time", "glassbox", at_least=5), Bar("glassbox", "bare forward"),
             Bar("one step at a time", "glassbox float32")],
        )
    ]  # fmt: skip
    if importlib.util.find_spec("quantus") is None:
        print("    deletion: left out, Quantus is not installed")
    else:
        rows += of_quantus(plain, x.numpy(), targets.numpy(), maps, ours)
    harness.record("deletion_insertion", rows)


def of_quantus(plain: torch.nn.Module, x: np.ndarray, targets: np.ndarray, maps: np.ndarray, ours: Any) -> list[Any]:
    """Deletion alone, for portions of a 32nd of the pixels, which Quantus checks to divide their number, but then takes
    for portions of all colours, so that it needs three times the steps; and for equally many steps, with the smallest
    such number that is near, though each then ends amid a pixel."""
    import quantus

    def theirs(portion: int) -> np.ndarray:
        metric = quantus.PixelFlipping(
            features_in_step=portion, perturb_baseline=0.0, disable_warnings=True, return_aggregate=False,
            normalise=False, abs=False, display_progressbar=False,
        )  # fmt: skip
        with contextlib.redirect_stdout(io.StringIO()):
            curves = metric(
                plain, x_batch=x, y_batch=targets, a_batch=maps[:, None], batch_size=64, softmax=True,
                device=str(device_of(plain)),
            )  # fmt: skip
        return np.asarray(curves)  # without the first point

    first = torch.nn.functional.softmax(plain(torch.from_numpy(x)), dim=1).detach().numpy()[np.arange(len(x)), targets]
    rows = []
    for portion, steps, bar in ((common.SIDE**2 // STEPS, STEPS, 4), (128, 24, None)):
        areas = faithfulness.areas(np.concatenate([first[:, None], theirs(portion)], axis=1))
        assert np.abs(areas - ours(True, "float32", steps)).max() < 5e-3  # from other points of the same curves
        contenders = {
            "Quantus": lambda portion=portion: theirs(portion),
            "glassbox": lambda steps=steps: ours(True, "auto", steps),
            "glassbox float32": lambda steps=steps: ours(True, "float32", steps),
        }
        rows.append(
            harness.compare(
                f"deletion, {len(x)} images, {steps} steps, of Quantus {3 * common.SIDE**2 // portion}", "s",
                {label: harness.seconds(work) for label, work in contenders.items()},
                [Bar("Quantus", "glassbox", at_least=bar), Bar("Quantus", "glassbox float32")],
            )
        )  # fmt: skip
    return rows
