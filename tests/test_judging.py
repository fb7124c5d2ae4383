"""A network of one's own, judged by the command, through the real scripts."""

import json
import re

import numpy as np
import pytest
import torch
from conftest import SHRINK, clone
from PIL import Image

from glassbox import cli, judging
from glassbox.core.errors import UserError

NETWORK = '''"""A network that answers by the mean colour: more red is an ant."""

import torch
from torchvision import transforms

preprocess = transforms.Compose(
    [transforms.Resize(30), transforms.CenterCrop(24), transforms.ToTensor(), transforms.Normalize(0.5, 0.25)]
)


def build(n_classes):
    layers = [torch.nn.Conv2d(3, n_classes, 5, padding=2), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    return torch.nn.Sequential(*layers)
'''
SHOWN = ["data.image_size=24", "data.shorter_side=30", "model.normalization=[0.5,0.25]"]
TINY = [change for change in SHRINK if change.startswith(("explain.", "score."))]
LITTLE = ["explain.explainers=[occlusion,grad_cam]", "explain.occlusion.window=8", "explain.occlusion.stride=8"]
STAGES = {
    "evaluate": ("prepare", "tune", "train", "evaluate"),
    "explain": ("explain",),
    "": ("score", "audit", "repair", "report"),
}


@pytest.fixture
def said() -> list[str]:
    """What was printed until the end of each call of DVC."""
    return []


@pytest.fixture
def project(tmp_path, run_stages, monkeypatch, capfd, said):
    """A clone with a network, its weights, and images of ants and bees; the stages run in this process."""
    project = clone(tmp_path / "glassbox")
    (project / "networks/mine.py").write_text(NETWORK)
    weights = {"0.weight": torch.zeros(3, 3, 5, 5), "0.bias": torch.zeros(3)}
    weights["0.weight"][0, 0], weights["0.weight"][2, 1] = 1, 1
    weights["0.bias"][1] = -99
    torch.save({"state_dict": weights, "classes": ["Ant", "cow", "bee"]}, project / "data/weights/mine.pth")
    rng = np.random.default_rng(0)
    for name, channel in (("ant", 0), ("bee", 1)):
        (project / "data/raw/insects" / name).mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(40, 130, (*rng.integers(30, 60, 2), 3), dtype=np.uint8)
            pixels[:, :, channel] += 60
            Image.fromarray(pixels).save(project / f"data/raw/insects/{name}/{number}.png")
    monkeypatch.chdir(project)

    def reproduce(*stage: str) -> None:
        said.append(capfd.readouterr().out)
        said.append(run_stages(project, *STAGES["".join(stage)]))

    monkeypatch.setattr(cli, "_reproduce", reproduce)
    monkeypatch.setattr(cli, "check", lambda: None)  # asks for MLflow's server
    return project


def judge(*changes: str, **options: object) -> None:
    cli.judge(
        *TINY, *LITTLE, *changes, model="python:mine:build", weights="data/weights/mine.pth",
        images="data/raw/insects", name="insects", masks="", classes="", **options,
    )  # fmt: skip


def test_a_wrong_preprocessing_is_told_before_anything_is_explained(project):
    wrong = [*SHOWN[:2], "model.normalization=[0.1,0.9]"]
    with pytest.raises(UserError, match=r"^The preprocessing is not that of the network's owner: .* Nothing was expl"):
        judge(*wrong)
    assert (project / "reports/evaluate/metrics.json").exists()
    assert not (project / "reports/explain").exists()


def test_a_network_of_three_outputs_is_judged_on_two_classes_in_another_order(project, said, capfd):
    judge(*SHOWN)
    text = "".join([*said, capfd.readouterr().out])
    metrics = json.loads((project / "reports/evaluate/metrics.json").read_text())
    assert metrics["preprocessing"]["agrees"]
    assert metrics["accuracy"] == 1
    assert "class_order" not in metrics
    card = json.loads((project / "models/model.json").read_text())
    assert (card["classes"], card["outputs"]) == (["ant", "bee", "cow"], [0, 2, 1])
    times = re.search(r"about (.+) to explain, then reports/first.html; after it about (.+) to score \d+ images", text)
    assert all(re.fullmatch(r"[0-9.]+ (s|min)", time) for time in times.groups())
    page = (project / "reports/first.html").read_text()
    assert "On 20 test images the network gives the same logits as after preprocess of mine" in page
    assert "The network has 3 outputs, of which the data have 2 classes" in page
    assert page.count("<figure") >= 3
    assert re.search(r"explain, score and report took .+; foretold were .+", text)
    assert "Study insects: 32 test images, 2 classes" in text
    assert "nothing was trained" in (project / "reports/report/model_card.md").read_text()


def test_an_order_of_outputs_that_is_wrong_is_told_and_can_be_explained_anyway(project, monkeypatch):
    torch.save(torch.load("data/weights/mine.pth")["state_dict"], "data/weights/mine.pth")
    names = ["model.classes=[bee, cow, ant]", *SHOWN, "score.images=1"]
    with pytest.raises(
        UserError, match=r"^The outputs seem to stand for the classes in another order: with output 0 for"
    ):
        judge(*names)

    def reached(params: object) -> None:
        raise InterruptedError

    monkeypatch.setattr(judging, "foretold", reached)
    with pytest.raises(InterruptedError):
        judge(*names, anyway=True)


def test_the_preprocessing_of_known_weights_becomes_the_studys(tmp_path):
    of_timm = set(judging.changes(model="timm/test_resnet", weights="own.pth", images="my images", classes="a.txt"))
    assert {'data.path="my images"', 'model.classes="a.txt"', "data.image_size=160", "model.input_size=null"} < of_timm
    (tmp_path / "own.onnx").touch()
    answers_only = [*judging.changes(model="onnx", weights=str(tmp_path / "own.onnx"), images="x")]
    assert answers_only[-1] == 'explain.explainers=["lime", "kernel_shap", "partition_shap", "occlusion", "rise"]'
    unknown = [*judging.changes(model="torchvision/resnet18", weights="own.pth", images="x")]
    assert unknown == ['model.name="torchvision/resnet18"', 'model.weights="own.pth"', 'data.path="x"']
    with pytest.raises(UserError, match=r"model.name is 'timm/resnet19' \(did you mean timm/"):
        list(judging.changes(model="timm/resnet19", weights="own.pth", images="x"))
    with pytest.raises(
        UserError, match=r"^model.name is 'resnet18', but must be cnn, fast_cnn, exported, onnx, torchvision/NAME"
    ):
        list(judging.changes(model="resnet18", weights="own.pth", images="x"))
