"""Integrated Gradients of 16 images, 50 steps: captum on a plain model, image by image as in its examples; ours."""

import numpy as np
import torch
from captum.attr import IntegratedGradients as Captum

from benchmarks import common, harness
from benchmarks.harness import Bar
from glassbox.config.explain import IntegratedGradients as Settings
from glassbox.data.batches import to_float
from glassbox.explainers.base import Request
from glassbox.explainers.integrated_gradients import IntegratedGradients
from glassbox.models import frozen

IMAGES, STEPS, BATCH = 16, 50, 128


def main() -> None:
    device = common.place().device
    classifier = common.cnn(device)
    plain = common.usual(classifier)
    images = common.some_images(IMAGES).images
    targets = torch.arange(IMAGES) % common.CLASSES
    x = (images.permute(0, 3, 1, 2).float() / 255).contiguous().to(device)
    black = torch.zeros_like(x[:1])
    explain = IntegratedGradients(Settings(steps=STEPS, baseline="black"), common.MEAN, BATCH)

    def captum() -> np.ndarray:
        captum = Captum(plain)
        maps = [captum.attribute(x[i : i + 1], black, target=int(targets[i]), n_steps=STEPS) for i in range(IMAGES)]
        return torch.cat(maps).sum(dim=1).detach().cpu().numpy()

    def glassbox() -> np.ndarray:
        return explain(classifier, Request(images, targets, tuple(range(IMAGES)))).maps

    def bare() -> float:
        with frozen(classifier):
            for part in to_float(images.to(device)).repeat(STEPS, 1, 1, 1).split(BATCH):
                logits = classifier(part.requires_grad_(True))
                torch.autograd.grad(logits.sum(), part)
        return logits.sum().item()  # waits for the device

    theirs, ours = captum(), glassbox()
    common.check_same(theirs, ours)
    contenders = {"captum": captum, "glassbox": glassbox, "bare gradients": bare}
    row = harness.compare(
        f"Integrated Gradients, {IMAGES} images, {STEPS} steps", "s",
        {label: harness.seconds(work) for label, work in contenders.items()},
        [Bar("captum", "glassbox", at_least=1.8), Bar("glassbox", "bare gradients")],
        pairs=11,
    )  # fmt: skip
    harness.record("integrated_gradients", [row])
