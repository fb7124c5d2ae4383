"""Shapley values of 10 classes of an image, 64 superpixels, 2,048 coalitions: shap's KernelExplainer over the masking
function in numpy that shap's own example has (its notebook "Explain ImageNet classification with Kernel SHAP"), on a
plain model; ours.

shap's values come from other coalitions, and ours from pairs of them, so that they are not the same numbers: how near
each is to exact ones at equal evaluations is measured by the subject `shapley`. Checked here is that both are additive,
and that a coalition has the same value in both.
"""

from functools import partial
from unittest import mock

import numpy as np
import torch

from benchmarks import common, harness
from benchmarks.harness import Bar
from glassbox.config.explain import KernelShap
from glassbox.config.types import Precision
from glassbox.execution import compute
from glassbox.explainers import kernel_shap
from glassbox.explainers.base import Request
from glassbox.explainers.catalog import TOLERANCE
from glassbox.explainers.superpixels import Composition

SIDE, COALITIONS, BATCH = 8, 2048, 128  # of the grid of superpixels
SEGMENTS = np.kron(np.arange(SIDE**2).reshape(SIDE, SIDE), np.ones([common.SIDE // SIDE] * 2, int))
on_grid = partial(mock.patch.object, kernel_shap, "segment", lambda *_: SEGMENTS)  # inside, regions are this grid's


def mask_image(zs: np.ndarray, segmentation: np.ndarray, image: np.ndarray, background: np.ndarray) -> np.ndarray:
    """As in shap's notebook, but for a whole image in the background."""
    out = np.zeros((zs.shape[0], image.shape[0], image.shape[1], image.shape[2]), np.float32)
    for i in range(zs.shape[0]):
        out[i, :, :, :] = image
        for j in range(zs.shape[1]):
            if zs[i, j] == 0:
                out[i][segmentation == j, :] = background[segmentation == j]
    return out


def main() -> None:
    import shap

    device = common.place().device
    classifier = common.cnn(device)
    plain = common.usual(classifier)
    images = common.some_images(2).images
    image, other = (one.numpy().astype(np.float32) / 255 for one in images)
    players = SIDE**2

    @torch.inference_mode()
    def predict(batch: np.ndarray) -> np.ndarray:
        parts = torch.from_numpy(batch).permute(0, 3, 1, 2).split(BATCH)  # in one go it is slower
        return torch.cat([plain(part.to(device)).softmax(dim=1) for part in parts]).cpu().numpy()

    def library() -> np.ndarray:
        np.random.seed(0)  # noqa: NPY002 (which it draws from)
        game = lambda zs: predict(mask_image(zs, SEGMENTS, image, other))  # noqa: E731
        explainer = shap.KernelExplainer(game, np.zeros((1, players)))
        return explainer.shap_values(np.ones((1, players)), nsamples=COALITIONS, l1_reg=False, silent=True)[0]

    settings = KernelShap(
        coalitions=COALITIONS, tolerance=None, background=1, draw_background=False, classes=common.CLASSES
    )
    request = Request(images[:1].expand(common.CLASSES, -1, -1, -1), torch.arange(common.CLASSES), (0,) * 10)

    def ours(precision: Precision) -> np.ndarray:
        with on_grid():
            made = kernel_shap.KernelShap(settings, None, images[1:], BATCH, precision)(classifier, request)
        assert made.details["additivity_error"].max() < TOLERANCE
        return made.maps

    masks = torch.from_numpy(np.random.default_rng(0).random((COALITIONS, players)) < 0.5).to(device)

    @torch.inference_mode()
    def values(precision: Precision) -> np.ndarray:
        """The bare set function."""
        compose, found = Composition(SEGMENTS, images[0], images[1], device), []
        for part in masks.split(BATCH):
            x = compose(part)
            with compute.autocast(device, compute.number(precision, device)):
                logits = classifier(x)
            found.append(logits.double().softmax(dim=1))
        return torch.cat(found).cpu().numpy()

    theirs = predict(mask_image(masks.cpu().numpy(), SEGMENTS, image, other))
    assert np.abs(values("float32") - theirs).max() < 1e-5
    contenders = {
        "shap": library, "glassbox": lambda: ours("auto"), "bare set function": lambda: values("auto"),
        "glassbox float32": lambda: ours("float32"), "bare set function float32": lambda: values("float32"),
    }  # fmt: skip
    row = harness.compare(
        f"Shapley values, {players} superpixels, {COALITIONS} coalitions, {common.CLASSES} classes", "s",
        {label: harness.seconds(work) for label, work in contenders.items()},
        [Bar("shap", "glassbox", at_least=3), Bar("glassbox", "bare set function", at_most=1.3),
         Bar("shap", "glassbox float32"), Bar("glassbox float32", "bare set function float32")],
        pairs=7,
    )  # fmt: skip
    harness.record("kernel_shap", [row])
