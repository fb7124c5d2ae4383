"""docs/network-table.md: networks of many families, each taken through the whole pipeline.

    python -m docs.network_table            # about 12 minutes on 2 cores
    python -m docs.network_table vit swin   # those whose names contain one of these words; the page is not written

A network is trained from fresh weights for two epochs on 60 images of digits, then explained, scored and reported. That
shows that every stage takes it, and nothing about its accuracy. No layer is named by hand.
"""

import contextlib
import importlib
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from docs.runs import table
from glassbox import models
from glassbox.config import parameters
from glassbox.core import files

PAGE = Path("docs/network-table.md")
ROOT = Path.cwd()
STAGES = ("prepare", "tune", "train", "evaluate", "explain", "score", "audit", "repair", "report")
# Family, `model.name`, side of the input, and arguments that make it small.
NETWORKS = [
    ("plain CNN", "cnn", None, None),
    ("own module", "python:small:build", None, {"width": 8}),
    ("RepVGG", "timm/repvgg_a0", 64, {}),
    ("ResNet", "torchvision/resnet18", 32, {"stem": "cifar"}),
    ("ResNet", "timm/resnet10t", 64, {"drop_rate": 0.1}),
    ("ResNeXt", "timm/resnext26ts", 64, {}),
    ("DenseNet", "timm/densenet121", 64, {}),
    ("Inception", "timm/inception_v3", 96, {}),
    ("RegNet", "timm/regnetx_002", 64, {}),
    ("MobileNet", "timm/mobilenetv3_small_050", 64, {}),
    ("EfficientNet", "timm/tf_efficientnet_lite0", 64, {}),
    ("EfficientNet", "torchvision/efficientnet_b0", 64, {}),
    ("ConvNeXt", "timm/convnext_atto", 64, {}),
    ("ConvNeXt", "torchvision/convnext_tiny", 64, {}),
    ("ViT", "timm/vit_tiny_patch16_224", 32, {"patch_size": 4, "depth": 4}),
    ("ViT", "torchvision/vit_b_16", 32, {}),
    ("DeiT", "timm/deit_tiny_patch16_224", 32, {"patch_size": 4, "depth": 4}),
    ("DeiT, distilled", "timm/deit_tiny_distilled_patch16_224", 32, {"patch_size": 4, "depth": 4}),
    ("Swin", "timm/swin_tiny_patch4_window7_224", 64, {"window_size": 4, "depths": [1, 1, 2, 1], "embed_dim": 48}),
    ("Swin", "torchvision/swin_t", 64, {}),
    ("MaxViT", "timm/maxvit_rmlp_pico_rw_256", 64, {}),
    ("DINOv2", "timm/vit_small_patch14_dinov2", 56, {"depth": 3}),
    ("DINOv2, registers", "timm/vit_small_patch14_reg4_dinov2", 56, {"depth": 3}),
    ("BEiT", "timm/beit_base_patch16_224", 64, {"depth": 2}),
    ("CaiT", "timm/cait_xxs24_224", 64, {"depth": 3}),
    ("XCiT", "timm/xcit_nano_12_p16_224", 64, {}),
    ("PiT", "timm/pit_ti_224", 64, {}),
    ("TNT", "timm/tnt_s_patch16_224", 32, {"depth": 3}),
    ("MLP-Mixer", "timm/mixer_s16_224", 64, {}),
    ("PoolFormer", "timm/poolformer_s12", 64, {}),
    ("CoAtNet", "timm/coatnet_nano_rw_224", 64, {}),
]
SCORED_LITTLE = [
    "explain.faithfulness.steps=2",
    "score.steps=2",
    "score.matched_evaluations=50",
    "score.correlation.draws=10",
    "score.road.shares=[0.2,0.5,0.8]",
    "score.robustness.images=1",
    "score.robustness.attack_steps=1",
    "score.randomization.images=1",
]
SMALL = [
    *SCORED_LITTLE,
    "data.limit=100",
    "tune.n_trials=0",
    "tune.space=null",
    "train.epochs=2",
    "train.optimizer=adam",
    "train.learning_rate=0.0005",
    "train.momentum=null",
    "train.rho=null",
    "train.batch_size=16",
    "explain.explainers=[grad_cam,integrated_gradients,occlusion]",
    "explain.correct_per_class=0",
    "explain.images=[0,1]",
    "explain.mistakes=1",
    "explain.pairs=0",
    "explain.integrated_gradients.steps=4",
    "explain.occlusion.window=16",
    "explain.occlusion.stride=8",
    "score.images=6",
]
# A network with the arguments of cnn in digits.yaml, with values in place of `tuned`.
CNN = {
    "conv1_filters": 8, "conv1_kernel_size": 3, "activation_func1": "relu", "l2_reg_1": 0.0, "pool_size_1": 2,
    "dropout_1": 0.0, "conv2_filters": 16, "conv2_kernel_size": 3, "activation_func2": "relu", "l2_reg_2": 0.0,
    "pool_size_2": 2, "dense_units_1": 32, "dense_l2_reg_1": 0.0, "activation_func_dense": "relu",
    "dense_dropout_1": 0.0, "batch_norm_momentum": 0.9,
}  # fmt: skip


@contextlib.contextmanager
def project() -> Iterator[Path]:
    """A temporary folder with what stages need, in which the process works."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("dvc.yaml", "requirements.lock", "networks"):
            (Path(folder) / name).symlink_to(ROOT / name)
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(ROOT)


def taken_through(name: str, side: int | None, arguments: dict | None) -> dict[str, object]:
    """Run all stages on a network.

    Returns:
        Its parameters, the layer that Grad-CAM took, the number of maps, and the seconds.
    """
    start = time.perf_counter()
    given = CNN if arguments is None else arguments
    changes = [f"model.name={name}", f"model.input_size={json.dumps(side)}", f"model.arguments={json.dumps(given)}"]
    with project() as folder:
        text = parameters.edit(ROOT / "studies/digits.yaml", [*SMALL, *changes])
        (folder / "params.yaml").write_text(text, encoding="utf-8")
        with contextlib.redirect_stdout(io.StringIO()):
            for stage in STAGES:
                importlib.import_module(f"stages.{stage}").main()
        classifier, card = models.load(folder / "models")
        layer = classifier.grad_cam_layer(card.image_size)
        maps = pd.read_csv(folder / "reports/explain/index.csv")
        assert (folder / "reports/index.html").exists()
    named = next(module for module, found in classifier.network.named_modules() if found is layer)
    return {
        "parameters": card.parameters["total"],
        "layer": named,
        "maps": len(maps),
        "seconds": time.perf_counter() - start,
    }


def main(*words: str) -> None:
    os.environ["GLASSBOX_TRACKING"] = "off"
    rows = []
    for family, name, side, arguments in NETWORKS:
        if words and not any(word in name for word in words):
            continue
        found = taken_through(name, side, arguments)
        shown = ", ".join(f"{key} {value}" for key, value in (arguments or {}).items())
        size = f"{side} x {side}" if side else "32 x 32"
        numbers = [size, f"{found['parameters']:,}", str(found["maps"])]
        rows.append([family, f"`{name}`", shown, f"`{found['layer']}`", *numbers])
        print(f"{name}: {found['parameters']:,} parameters, {found['layer']}, {found['seconds']:.0f} s", flush=True)
    if words:
        return
    families = len({row[0].partition(",")[0] for row in rows})
    columns = ["family", "`model.name`", "arguments", "layer of Grad-CAM", "input", "parameters", "maps"]
    files.write_text(PAGE, HEAD.format(networks=len(rows), families=families) + table(columns, rows, text=4) + "\n")


HEAD = """# Networks that were taken through the whole pipeline

Made by `python -m docs.network_table`: {networks} networks of {families} families. Each was trained from fresh weights
for two epochs on digits, then explained by Grad-CAM, Integrated Gradients and occlusion, scored and reported. That
shows that every stage takes it, and nothing about its accuracy. No layer is named by hand: the table has the layer
that Grad-CAM found.

"""


if __name__ == "__main__":
    main(*sys.argv[1:])
