"""Training steps of networks of many kinds in float32 and in bfloat16, and which of the two "auto" takes, by the
multiply-adds for each result (`training.precision`). The bar is that it takes 25 % longer than the other at most."""

from dataclasses import replace

import torch
from torch.nn.functional import cross_entropy

from benchmarks import common, harness
from benchmarks.harness import Bar
from glassbox import models
from glassbox.models.preprocessing import Preprocessing
from glassbox.training import precision

VIT, SMALL_VIT = {"patch_size": 4, "depth": 6}, {"patch_size": 4, "embed_dim": 96, "depth": 4, "num_heads": 4}
# `model.name`, side of the images, `model.arguments`, images a step.
NETWORKS = [
    ("cnn", 32, common.NETWORK, 128),
    ("torchvision/resnet18", 32, {"stem": "cifar"}, 64),
    ("timm/resnet10t", 64, {}, 32),
    ("torchvision/resnet50", 64, {}, 16),
    ("timm/tf_efficientnet_lite0", 96, {}, 32),
    ("timm/mobilenetv3_small_050", 96, {}, 32),
    ("timm/convnext_atto", 64, {}, 32),
    ("torchvision/convnext_tiny", 64, {}, 16),
    ("timm/vit_tiny_patch16_224", 32, SMALL_VIT, 32),
    ("timm/vit_tiny_patch16_224", 32, VIT, 64),
    ("timm/swin_tiny_patch4_window7_224", 64, {"window_size": 4}, 16),
    ("timm/regnetx_002", 64, {}, 32),
    ("timm/densenet121", 64, {}, 16),
    ("timm/poolformer_s12", 64, {}, 16),
]


def main() -> None:
    rows, automatic = [], replace(common.place(), dtype=torch.bfloat16, automatic=True)
    for name, side, arguments, batch in NETWORKS:
        how = Preprocessing((0.5,) * 3, (0.2,) * 3)
        classifier = models.build(name, arguments, how, side, common.CLASSES).to(automatic.device).train()
        x = torch.rand(batch, 3, side, side, device=automatic.device)
        y = torch.arange(batch, device=automatic.device) % common.CLASSES
        optimizer = torch.optim.Adam(classifier.parameters(), 1e-4, fused=True)

        def step(dtype: torch.dtype) -> None:
            with replace(automatic, dtype=dtype).autocast():
                logits = classifier(x)  # noqa: B023
            loss = cross_entropy(logits.float(), y)  # noqa: B023
            optimizer.zero_grad()  # noqa: B023
            loss.backward()
            optimizer.step()  # noqa: B023

        contenders = {
            "float32": harness.seconds(lambda: step(torch.float32)),
            "bfloat16": harness.seconds(lambda: step(torch.bfloat16)),
        }
        chosen = str(precision.suited(automatic, classifier, side).dtype).removeprefix("torch.")
        (other,) = contenders.keys() - {chosen}
        each = precision.products_per_result(classifier, side)
        title = f"{name}, {side} x {side}, {each:.0f} multiply-adds a result: {chosen}"
        rows.append(harness.compare(title, "s", contenders, [Bar(chosen, other, at_most=1.25)]))
    harness.record("training_precision", rows)
