"""GradientSHAP of one class, 50 samples: shap's GradientExplainer on a plain model, with ranked_outputs=1 and by its
default, which explains all classes; ours."""

import numpy as np
import torch

from benchmarks import common, harness
from benchmarks.harness import Bar
from glassbox.config.explain import GradientShap as Settings
from glassbox.data.batches import to_float
from glassbox.explainers.base import Request
from glassbox.explainers.gradient_shap import GradientShap
from glassbox.models import frozen

SAMPLES, BACKGROUND, BATCH, IMAGES = 50, 50, 128, 4


def main() -> None:
    import shap

    device = common.place().device
    classifier = common.cnn(device)
    plain = common.usual(classifier)
    images = common.some_images(IMAGES + BACKGROUND).images
    x = (images.permute(0, 3, 1, 2).float() / 255).contiguous().to(device)
    explainer = shap.GradientExplainer(plain, x[IMAGES:])
    with torch.inference_mode():
        targets = plain(x[:IMAGES]).argmax(dim=1).cpu()
    settings = Settings(samples=SAMPLES, background=BACKGROUND)
    explain = GradientShap(settings, images[IMAGES:], BATCH)

    def ranked() -> np.ndarray:
        made = [
            explainer.shap_values(x[i : i + 1], nsamples=SAMPLES, ranked_outputs=1, rseed=i)[0] for i in range(IMAGES)
        ]
        return np.concatenate(made)[..., 0].sum(axis=1)

    def default() -> np.ndarray:
        made = [explainer.shap_values(x[i : i + 1], nsamples=SAMPLES, rseed=i) for i in range(IMAGES)]
        return np.stack([values[0, ..., target] for values, target in zip(made, targets, strict=True)]).sum(axis=1)

    def glassbox() -> np.ndarray:
        return explain(classifier, Request(images[:IMAGES], targets, tuple(range(IMAGES)))).maps

    def bare() -> float:
        with frozen(classifier):
            for _ in range(IMAGES):
                part = to_float(images[:SAMPLES].to(device)).requires_grad_(True)
                logits = classifier(part)
                torch.autograd.grad(logits.sum(), part)
        return logits.sum().item()  # waits for the device

    ours = glassbox()
    for theirs in (ranked(), default()):
        common.check_same(theirs, ours)
    contenders = {"shap": ranked, "shap, default": default, "glassbox": glassbox, "bare gradients": bare}
    row = harness.compare(
        f"GradientSHAP, {IMAGES} images, one class, {SAMPLES} samples", "s",
        {label: harness.seconds(work) for label, work in contenders.items()},
        [Bar("shap", "glassbox", at_least=1.3), Bar("shap, default", "glassbox", at_least=10),
         Bar("glassbox", "bare gradients")],
    )  # fmt: skip
    harness.record("gradient_shap", [row])
