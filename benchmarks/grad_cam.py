"""Grad-CAM of 128 images: captum on a plain model, image by image as its examples have it; ours."""

import numpy as np
import torch
from captum.attr import LayerAttribution, LayerGradCam

from benchmarks import common, harness
from benchmarks.harness import Bar
from glassbox.config.explain import GradCam as Settings
from glassbox.data.batches import to_float
from glassbox.explainers.base import Request
from glassbox.explainers.grad_cam import GradCam

IMAGES, BATCH, LAYER = 128, 128, 7  # the second convolution's activation


def main() -> None:
    device = common.place().device
    classifier = common.cnn(device)
    plain = common.usual(classifier)
    images = common.some_images(IMAGES).images
    targets = torch.arange(IMAGES) % common.CLASSES
    x = (images.permute(0, 3, 1, 2).float() / 255).contiguous().to(device)
    explain = GradCam(Settings(relu=True), BATCH)

    def captum() -> np.ndarray:
        explainer = LayerGradCam(plain, plain[LAYER])
        maps = []
        for i in range(IMAGES):
            coarse = explainer.attribute(x[i : i + 1], target=int(targets[i]), relu_attributions=True)
            maps.append(LayerAttribution.interpolate(coarse, (common.SIDE, common.SIDE), "bilinear"))
        return torch.cat(maps)[:, 0].detach().cpu().numpy()

    def glassbox() -> np.ndarray:
        return explain(classifier, Request(images, targets, tuple(range(IMAGES)))).maps

    @torch.inference_mode()
    def bare() -> float:
        return classifier(to_float(images.to(device))).sum().item()

    theirs, ours = captum(), glassbox()
    common.check_same(theirs, ours)
    contenders = {"captum": captum, "glassbox": glassbox, "bare forward": bare}
    row = harness.compare(
        f"Grad-CAM, {IMAGES} images", "s",
        {label: harness.seconds(work) for label, work in contenders.items()},
        [Bar("captum", "glassbox", at_least=4), Bar("glassbox", "bare forward")],
    )  # fmt: skip
    harness.record("grad_cam", [row])
