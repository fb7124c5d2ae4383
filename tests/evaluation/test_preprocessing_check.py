import re
import sys
from functools import partial

import numpy as np
import pytest
import torch
import yaml
from conftest import model
from image_files import section
from PIL import Image

from glassbox import models
from glassbox.data.base import Asked, Images
from glassbox.data.sources import image_folder
from glassbox.data.store import Description, Split
from glassbox.evaluation import preprocessing_check
from glassbox.models.networks import own_function

CPU = torch.device("cpu")
SIDE = 64  # of the networks' input; the owner's own is larger, and takes longer


@pytest.fixture
def photos(tmp_path):
    """Photographs of two classes and of several sizes."""
    rng = np.random.default_rng(0)
    for number in range(6):
        height, width = rng.integers(70, 200, 2)
        image = torch.nn.functional.interpolate(torch.rand(1, 3, 9, 9), (int(height), int(width)), mode="bicubic")
        pixels = (image[0].clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
        folder = tmp_path / "photos" / ("ant", "bee")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "photos"


def prepared(folder, **changes) -> tuple[Images, Split, Description]:
    data = section(folder, **changes)
    images = image_folder.source(Asked(data, 0))
    split = Split(
        torch.from_numpy(images.pixels), torch.from_numpy(images.labels), None, torch.arange(len(images)), images.names
    )
    statistics = (0.2, 0.4, 0.6), (0.5, 0.5, 0.25)
    return data, split, Description("", images.classes, data.image_size, {"test": 6}, *statistics, False, "d" * 64)


def checked(given, folder, choices=(), **changes) -> preprocessing_check.Check | None:
    data, test, description = prepared(folder, **changes)
    classifier = models.fresh(given, description, 0, CPU, trained=False).eval()
    card = models.describe(given, classifier, description, [*choices])
    return preprocessing_check.check(classifier, card, data, test, 4)


def saved(name: str, file, **changes):
    """The section `model` of a network that its owner trained: its weights are in a file."""
    torch.manual_seed(0)
    network = models.fresh(model(name), prepared(file.parent / "photos", image_size=SIDE)[2], 0, CPU).network
    torch.save({"state_dict": network.state_dict(), "classes": ["ant", "bee"]}, file)
    return model(name, weights=str(file), **changes)


def settings(note: str) -> dict[str, dict[str, object]]:
    """The parameters that a note names, by section."""
    found: dict[str, dict[str, object]] = {"data": {}, "model": {}}
    for section_name, key, value in re.findall(r"\b(data|model)\.(\w+)=(\S+?)\.?(?=\s|$)", note):
        found[section_name][key] = yaml.safe_load(value)
    return found


@pytest.mark.parametrize(
    ("name", "file", "whose"),
    [
        ("timm/test_efficientnet", "own.pth", "timm's transform of test_efficientnet"),
        ("torchvision/squeezenet1_1", "squeezenet1_1-b8a52dc0.pth", "torchvision's transform of SqueezeNet1_1_Weights"),
    ],
)
def test_the_parameters_that_a_note_names_give_the_owners_logits(photos, tmp_path, name, file, whose):
    given = saved(name, tmp_path / file)
    first = checked(given, photos, image_size=SIDE)
    assert (first.agrees, first.images) == (False, 6)
    assert first.largest_difference > 1e-3
    assert first.note.startswith("The preprocessing is not that of the network's owner: on 6 test images its logits")
    assert whose in first.note
    changes = settings(first.note)
    assert set(changes["data"]) == {"image_size", "shorter_side", "interpolation"} - (
        {"interpolation"} if "timm" in name else set()
    )
    again = checked(given.model_copy(update=changes["model"]), photos, **changes["data"])
    assert again.agrees
    assert again.largest_difference <= 1e-5
    assert again.note.startswith("On 6 test images the network gives the same logits as after")
    assert (again.other_predictions, again.accuracy) == (0, again.accuracy_of_owner)


def test_ones_own_module_says_how_its_images_are_prepared(photos, tmp_path, monkeypatch):
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks/mine_with_preprocess.py").write_text(
        "import torch\nfrom torchvision import transforms\n"
        "def build(n_classes):\n    torch.manual_seed(1)\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 24 * 24, n_classes))\n"
        "preprocess = transforms.Compose([transforms.Resize((24, 24)), transforms.ToTensor(),\n"
        "    transforms.Normalize(0.5, 0.5)])\n"
    )
    monkeypatch.setattr(own_function, "FOLDERS", (tmp_path / "networks",))
    monkeypatch.setattr(sys, "path", [*sys.path])
    torch.manual_seed(1)
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 24 * 24, 2))
    torch.save(linear.state_dict(), tmp_path / "own.pth")
    given = partial(model, "python:mine_with_preprocess:build", weights=str(tmp_path / "own.pth"))
    same = {"image_size": 24, "resize": "stretch", "interpolation": "bilinear"}
    right = checked(given(normalization="half"), photos, **same)
    assert (
        right.note
        == ("On 6 test images the network gives the same logits as after preprocess of mine_with_preprocess.")
        or right.largest_difference <= 1e-5
    )
    wrong = checked(given(normalization="imagenet"), photos, **same)
    assert (right.agrees, wrong.agrees) == (True, False)
    assert "The parameters for that" not in wrong.note  # a function does not say what it does


def test_what_cannot_be_compared_is_said(photos, tmp_path):
    given = saved("torchvision/squeezenet1_1", tmp_path / "own.pth", normalization="half")
    unknown = checked(given, photos, image_size=SIDE)
    assert unknown.agrees is None
    assert unknown.note == (
        f"The preprocessing that {tmp_path}/own.pth was trained with is not known, so the study's own (mean (0.5, 0.5, "
        "0.5) and std (0.5, 0.5, 0.5)) could not be compared with it."
    )
    assert checked(given, photos, [{"key": "train.epochs", "value": 3}], image_size=SIDE) is None  # trained here
    data, test, description = prepared(photos, image_size=SIDE)
    given = saved("timm/test_efficientnet", tmp_path / "timm.pth")
    classifier = models.fresh(given, description, 0, CPU, trained=False).eval()
    card = models.describe(given, classifier, description, [])
    moved = data.model_copy(update={"path": str(tmp_path / "elsewhere")})
    assert preprocessing_check.check(classifier, card, moved, test, 4).note == (
        "The images are not in files here: nothing could be compared with timm's transform of test_efficientnet."
    )
