"""LIME of four images, one class each, 1,000 samples: the library lime on a plain model, batch_size=100; ours, which
leaves masks, surrogate and weights to it."""

import contextlib
import io

import numpy as np
import torch

from benchmarks import common, harness
from benchmarks.harness import Bar
from glassbox.config.explain import Superpixels
from glassbox.config.types import Precision
from glassbox.data.batches import to_float
from glassbox.execution import compute
from glassbox.explainers.base import Request
from glassbox.explainers.lime import Lime
from glassbox.explainers.superpixels import segment

IMAGES, SAMPLES, BATCH = 4, 1000, 128
SUPERPIXELS = Superpixels(segments=50, compactness=10.0, sigma=1.0)


def main() -> None:
    from lime.lime_image import LimeImageExplainer

    device = common.place().device
    classifier = common.cnn(device)
    plain = common.usual(classifier)
    images = common.some_images(IMAGES).images
    segments = [segment(image.numpy(), SUPERPIXELS) for image in images]
    targets, seeds = torch.arange(IMAGES), tuple(range(IMAGES))

    @torch.inference_mode()
    def predict(batch: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 255
        return plain(x.to(device)).softmax(dim=1).cpu().numpy()

    def library() -> np.ndarray:
        maps = []
        for image, regions, target, seed in zip(images.numpy(), segments, targets.tolist(), seeds, strict=True):
            with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
                explanation = LimeImageExplainer(random_state=seed).explain_instance(
                    image, predict, labels=(target,), top_labels=None, num_samples=SAMPLES, batch_size=100,
                    segmentation_fn=lambda image: segment(image, SUPERPIXELS), random_seed=seed,
                )  # fmt: skip
            weights = dict(explanation.local_exp[target])
            maps.append(np.array([weights[region] for region in range(regions.max() + 1)])[regions])
        return np.stack(maps)

    def ours(precision: Precision) -> np.ndarray:
        return Lime(SAMPLES, SUPERPIXELS, BATCH, precision)(classifier, Request(images, targets, seeds)).maps

    x = to_float(images.repeat(SAMPLES, 1, 1, 1).to(device))

    def bare(precision: Precision) -> float:
        with torch.inference_mode(), compute.autocast(device, compute.number(precision, device)):
            return sum(classifier(part).sum().item() for part in x.split(BATCH))

    assert np.abs(ours("float32") - library()).max() < 1e-6  # the same masks give the same coefficients
    contenders = {
        "lime": library, "glassbox": lambda: ours("auto"), "bare forward": lambda: bare("auto"),
        "glassbox float32": lambda: ours("float32"), "bare forward float32": lambda: bare("float32"),
    }  # fmt: skip
    found = " to ".join(str(n) for n in sorted({regions.max() + 1 for regions in segments})[:: IMAGES - 1])
    row = harness.compare(
        f"LIME, {IMAGES} images, {SAMPLES} samples, {found} superpixels", "s",
        {label: harness.seconds(work) for label, work in contenders.items()},
        [Bar("lime", "glassbox", at_least=2.5), Bar("glassbox", "bare forward", at_most=1.2),
         Bar("lime", "glassbox float32"), Bar("glassbox float32", "bare forward float32")],
        pairs=9,
    )  # fmt: skip
    harness.record("lime", [row])
