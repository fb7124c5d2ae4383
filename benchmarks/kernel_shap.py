"""KernelSHAP of every class (B) against a bare forward pass of as many images (A), ResNet-18 at 32 x 32 pixels.

On CUDA the whole of what the ResNet-50 paper describes: 64 images, 10 classes, 2,048 coalitions, 100 background images;
on the CPU one image, 128 coalitions and 4 background images.
"""

import time

import torch

from benchmarks import harness
from benchmarks.compiling import RESNET
from benchmarks.training import CLASSES, MEAN, STD, some_images
from glassbox import compute, config, models
from glassbox.data.batches import to_float
from glassbox.explainers import Request
from glassbox.explainers.kernel_shap import KernelShap
from glassbox.names import TOLERANCE


def main() -> None:
    place = compute.resolve(config.read("params.yaml").compute)
    cuda = place.device.type == "cuda"
    images, coalitions, background, batch = (64, 2048, 100, 4096) if cuda else (1, 128, 4, 128)
    torch.manual_seed(0)
    model = models.build("resnet18", RESNET | {"stem": "cifar"}, 32, CLASSES, MEAN, STD).to(place.device).eval()
    split = some_images(images + background)
    settings = config.KernelShap(coalitions=coalitions, tolerance=None, background=background, classes=CLASSES)
    superpixels = config.Superpixels(segments=50, compactness=10.0, sigma=1.0)
    explain = KernelShap(settings, superpixels, split.images[images:], batch)
    rows = [row for row in range(images) for _ in range(CLASSES)]
    targets = torch.arange(CLASSES).repeat(images)
    request = Request(split.images[rows], targets, tuple(rows))
    made = explain(model, request)  # warms up
    assert made.details["additivity_error"].max() <= TOLERANCE
    evaluations = int(made.evaluations[::CLASSES].sum())
    x = to_float(split.images[torch.arange(batch) % len(split)].to(place.device))

    def forward() -> float:
        start = time.perf_counter()
        with torch.inference_mode():
            for done in range(0, evaluations, batch):
                last = model(x[: min(batch, evaluations - done)])
        last.sum().item()  # waits for the device
        return time.perf_counter() - start

    def shap() -> float:
        start = time.perf_counter()
        explain(model, request)
        return time.perf_counter() - start

    title = f"KernelSHAP, {images} images x {CLASSES} classes, {coalitions} coalitions, {background} background images"
    harness.record(
        "kernel_shap",
        [harness.compare(title, ("bare forward", forward), ("KernelSHAP", shap), "s", pairs=2 if cuda else 5)],
    )


if __name__ == "__main__":
    main()
