"""The function of docs/networks.md that makes a classifier of Hugging Face."""

import re
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from conftest import ROOT, TinyNetwork, model

from glassbox import models
from glassbox.data.store import Description

SIZES = {"train": 8, "validation": 4, "test": 4}
DATA = Description("mine", ("a", "b", "c"), 16, SIZES, (0.5,) * 3, (0.3,) * 3, False, "")


class HuggingFace(TinyNetwork):
    """Answers as classifiers of transformers do."""

    def forward(self, pixel_values: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=super().forward(pixel_values))


@pytest.fixture
def written(tmp_path, monkeypatch):
    """The page's module in a folder networks/, beside a stand-in for the library."""
    page = (ROOT / "docs/networks.md").read_text(encoding="utf-8")
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "import AutoConfig" in block]
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks/hugging_face.py").write_text(code)
    stand_in, asked = ModuleType("transformers"), []

    def configuration(folder: str, **options: int) -> int:
        asked.append(folder)
        return options["num_labels"]

    stand_in.AutoConfig = SimpleNamespace(from_pretrained=configuration)
    stand_in.AutoModelForImageClassification = SimpleNamespace(from_config=HuggingFace)
    monkeypatch.setitem(sys.modules, "transformers", stand_in)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "networks")
    yield asked
    sys.modules.pop("hugging_face", None)


def test_a_classifier_of_hugging_face_is_taken_with_the_weights_of_its_own_file(written, tmp_path):
    owned = TinyNetwork()
    with torch.no_grad():
        owned.head.weight.mul_(2)
    torch.save(owned.state_dict(), tmp_path / "own.pth")
    asked = model("python:hugging_face:build", {"folder": "vit"}, weights="own.pth", normalization="half")
    models.check(asked, [], 16, ["grad_cam"])
    classifier = models.fresh(asked, DATA, 0, torch.device("cpu")).eval()
    assert set(written) == {"vit"}
    assert not classifier.began_fresh
    x = torch.rand(5, 3, 16, 16)
    expected = models.Classifier(owned, (0.5,) * 3, (0.5,) * 3)(x)
    torch.testing.assert_close(classifier(x), expected, atol=1e-5, rtol=0)
    models.save(tmp_path / "saved", classifier, models.describe(asked, classifier, DATA, []))
    assert torch.equal(models.load(tmp_path / "saved")[0](x), classifier(x))
