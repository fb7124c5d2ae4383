"""docs/judged-networks.md: trained networks of several sources, judged as they are.

    python -m docs.judged_networks             # about 15 minutes on 2 cores
    python -m docs.judged_networks timm onnx   # those whose names contain one of these words; the page is not written

Each network stands for one that its owner trained: its weights are drawn from a seed and saved in a file. The owner's
logits are those of the network itself, after the owner's preprocessing, for the files of the test images. glassbox gets
the file of the network, the folder of images and what `glassbox judge` finds out, and takes it through all stages. The
two logits must agree to 1e-5. Explanations are made with very small settings: the table is about the way of a network
through glassbox, and says nothing about its explanations.
"""

import contextlib
import importlib
import io
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision
from PIL import Image
from sklearn.datasets import load_sample_images
from timm.data import create_transform, resolve_data_config
from torch import nn
from torchvision import transforms

from docs.network_table import ROOT, SCORED_LITTLE, STAGES, project
from docs.runs import table
from glassbox import judging, models
from glassbox.config import parameters
from glassbox.core import files
from glassbox.data import store
from glassbox.models.feature_maps import last_layer

PAGE = Path("docs/judged-networks.md")
CLASSES = ("temple", "flower")  # in the order of the outputs, which is not that of the alphabet
PER_CLASS = 32  # images, of which 80 % are test images
TOLERANCE = 1e-5
OWN = transforms.Compose(
    [
        transforms.Resize(73),
        transforms.CenterCrop(64),
        transforms.ToTensor(),
        transforms.Normalize([0.5] * 3, [0.25] * 3),
    ]
)
OF_OWN = ["data.image_size=64", "data.shorter_side=73", "data.interpolation=bilinear", "model.normalization=[0.5,0.25]"]
SMALL = [
    *SCORED_LITTLE,
    "explain.explainers=[occlusion]",
    "explain.occlusion.window=56",
    "explain.occlusion.stride=56",
    "explain.mistakes=0",
    "explain.analyses.random_draws=2",
    "score.images=2",
]


@dataclass(frozen=True)
class Owned:
    """A network as its owner has it."""

    network: nn.Module
    transform: Callable[[Image.Image], torch.Tensor]
    file: str  # in data/weights/
    changes: tuple[str, ...] = ()  # what the owner must say, because no registry does


def of_timm(name: str) -> Owned:
    how = resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    transform = create_transform(**how, is_training=False)
    network = spread_out(timm.create_model(name, num_classes=len(CLASSES)), transform)
    torch.save({"state_dict": network.state_dict(), "class_names": [*CLASSES]}, "data/weights/own.pth")
    return Owned(network, transform, "own.pth")


def of_torchvision(name: str) -> Owned:
    weights = torchvision.models.get_model_weights(name).DEFAULT
    transform, file = weights.transforms(), weights.url.rpartition("/")[2]  # by whose name the transform is known
    network = spread_out(torchvision.models.get_model(name, weights=None, num_classes=len(CLASSES)), transform)
    torch.save(network.state_dict(), f"data/weights/{file}")
    return Owned(network, transform, file, (f"model.classes=[{', '.join(CLASSES)}]",))


def of_module(name: str) -> Owned:
    width = int(name.rpartition("-")[2])
    network = spread_out(small(width), OWN)
    files.write_tensors("data/weights/own.safetensors", network.state_dict())
    files.write_json("data/weights/own.json", {"id2label": {str(n): label for n, label in enumerate(CLASSES)}})
    return Owned(network, OWN, "own.safetensors", (*OF_OWN, f"model.arguments={{width: {width}}}"))


def of_export(name: str) -> Owned:
    network = spread_out(timm.create_model(name, num_classes=len(CLASSES)), OWN).eval()
    many = {0: torch.export.Dim("n")}
    program = torch.export.export(network, (torch.zeros(2, 3, 64, 64),), dynamic_shapes=(many,))
    torch.export.save(program, "data/weights/own.pt2")
    files.write_json("data/weights/own.json", {"classes": [*CLASSES]})
    return Owned(network, OWN, "own.pt2", tuple(OF_OWN))


def of_onnx(name: str) -> Owned:
    network = spread_out(timm.create_model(name, num_classes=len(CLASSES)), OWN).eval()
    many = {0: torch.export.Dim("n")}
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(
            network, (torch.zeros(2, 3, 64, 64),), "data/weights/own.onnx", dynamic_shapes=(many,), external_data=False
        )
    files.write_json("data/weights/own.json", {"classes": [*CLASSES]})
    return Owned(network, OWN, "own.onnx", tuple(OF_OWN))


def spread_out(network: nn.Module, transform: Callable[[Image.Image], torch.Tensor]) -> nn.Module:
    """The network with a last layer whose logits differ by about 0.1 between photographs, and are 0 on average: those
    of fresh weights may differ so little that they would agree whatever happened to the images."""
    some = [Path("photographs") / name / f"{number}.png" for name in CLASSES for number in range(8)]
    logits = answers(network, transform, some)
    head = network.get_submodule(last_layer(network, len(CLASSES)))
    with torch.no_grad():
        head.bias.sub_(logits.mean(dim=0))
        for tensor in (head.weight, head.bias):
            tensor.mul_(0.1 / logits.std(dim=0).mean())
    return network


def answers(network: nn.Module, transform: Callable[[Image.Image], torch.Tensor], paths: list[Path]) -> torch.Tensor:
    """Logits (N, K) of the network itself, in float32, for files."""
    with torch.inference_mode(), models.evaluating(network):
        x = torch.stack([transform(Image.open(path).convert("RGB")) for path in paths])
        return torch.cat([network(part) for part in x.split(32)])


def small(width: int) -> nn.Module:
    """The network of networks/small.py."""
    sys.path.insert(0, str(ROOT / "networks"))
    return importlib.import_module("small").build(n_classes=len(CLASSES), width=width)


FEW = ("resnet10t", "mobilenetv3_small_050", "convnext_atto")
# Source, `model.name`, name for the maker, which makes the owner's network.
NETWORKS: list[tuple[str, str, str, Callable[[str], Owned]]] = [
    *(
        ("timm", f"timm/{name}", name, of_timm)
        for name in (
            "resnet18", "mobilenetv3_small_050", "tf_efficientnet_lite0", "regnetx_002", "convnext_atto",
            "vit_tiny_patch16_224", "deit_tiny_patch16_224", "poolformer_s12",
        )
    ),
    *(
        ("torchvision", f"torchvision/{name}", name, of_torchvision)
        for name in ("resnet18", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5", "efficientnet_b0")
    ),
    *(("module of one's own", "python:small:build", f"width-{width}", of_module) for width in (8, 16)),
    *(("torch.export", "exported", name, of_export) for name in FEW),
    *(("ONNX", "onnx", name, of_onnx) for name in FEW),
]  # fmt: skip


def photographs(folder: Path) -> None:
    """Parts of scikit-learn's two photographs, of many sizes, in a folder for each."""
    rng = np.random.default_rng(0)
    for name, photograph in zip(CLASSES, load_sample_images().images, strict=True):
        (folder / name).mkdir(parents=True)
        height, width, _ = photograph.shape
        for number in range(PER_CLASS):
            h, w = (int(side) for side in rng.integers(230, 400, 2))
            upper, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
            Image.fromarray(photograph[upper : upper + h, left : left + w]).save(folder / name / f"{number}.png")


def judged(name: str, maker: Callable[[str], Owned], which: str) -> dict[str, object]:
    """Take a network through all stages, and compare its logits with its owner's."""
    start = time.perf_counter()
    with project() as folder:
        Path("data/weights").mkdir(parents=True)
        photographs(folder / "photographs")
        torch.manual_seed(0)
        owned = maker(which)
        given = judging.changes(model=name, weights=f"data/weights/{owned.file}", images="photographs", name="judged")
        text = parameters.edit(ROOT / f"studies/{judging.STUDY}.yaml", [*given, *owned.changes, *SMALL])
        (folder / "params.yaml").write_text(text, encoding="utf-8")
        with contextlib.redirect_stdout(io.StringIO()):
            for stage in STAGES:
                importlib.import_module(f"stages.{stage}").main()
        classifier, card = models.load("models")
        test = store.read("data/prepared", "test")
        ours = models.predict(classifier, test.images, 32)
        theirs = answers(owned.network, owned.transform, [folder / "photographs" / file for file in test.names])
        theirs = theirs[:, np.argsort(CLASSES)]  # the data have their classes in the order of the alphabet
        check = files.read_json("reports/evaluate/metrics.json")["preprocessing"]
        assert Path("reports/index.html").exists()
        shutil.rmtree("data")
    return {
        "images": len(test),
        "difference": float((ours - theirs).abs().max()),
        "spread": float(theirs.std(dim=0).mean()),
        "check": {True: "agrees", False: "differs", None: "not known"}[check["agrees"]],
        "parameters": card.parameters["total"],
        "seconds": time.perf_counter() - start,
    }


def main(*words: str) -> None:
    os.environ["GLASSBOX_TRACKING"] = "off"
    rows, worst = [], 0.0
    for source, name, which, maker in NETWORKS:
        if words and not any(word in f"{name} {which}" for word in words):
            continue
        found = judged(name, maker, which)
        worst = max(worst, found["difference"])
        logits = [f"{found['spread']:.2g}", f"{found['difference']:.1e}"]
        known = f"{found['parameters']:,}" if found["parameters"] else ""  # an ONNX model's are not seen
        numbers = [known, str(found["images"]), *logits, found["check"]]
        rows.append([source, f"`{name}`", "" if name.endswith(which) else f"`{which}`", *numbers])
        print(
            f"{source}, {name} {which}: logits of deviation {found['spread']:.2g} agree within "
            f"{found['difference']:.2g}, {found['seconds']:.0f} s",
            flush=True,
        )
        if found["difference"] > TOLERANCE:
            raise SystemExit(f"{name} {which}: the logits differ by {found['difference']:.3g}")
    if words:
        return
    columns = [
        "source",
        "`model.name`",
        "network",
        "parameters",
        "test images",
        "deviation of logits",
        "largest difference",
        "check of *evaluate*",
    ]
    sources = len({row[0] for row in rows})
    text = HEAD.format(networks=len(rows), sources=sources, worst=f"{worst:.1e}")
    files.write_text(PAGE, text + table(columns, rows, text=3) + "\n")


HEAD = """# Networks that were judged

Made by `python -m docs.judged_networks`: {networks} networks from {sources} sources, judged as they are. Each stands
for one that its owner trained. Its weights are random, its last layer scaled so that logits differ by about 0.1 between
images. The owner's logits for the test images' files, after the owner's own preprocessing, and those of glassbox differ
by at most {worst}. The last column is what *evaluate* finds by itself:
it knows the preprocessing of torchvision's and timm's weights, and of a module of one's own with a function
`preprocess`. The outputs are in another order than the folders. All were found by name.

"""


if __name__ == "__main__":
    main(*sys.argv[1:])
