import copy
import json
import pickle

import pytest
import torch
from conftest import SMALL_CNN, model

from glassbox import models
from glassbox.core.errors import UserError
from glassbox.data.store import Description
from glassbox.models.preprocessing import Preprocessing

SMALL = model("cnn", SMALL_CNN)
MEAN, STD = (0.2, 0.4, 0.6), (0.5, 0.5, 0.25)
DATA = Description("toy", ("a", "b", "c"), 8, {}, MEAN, STD, False, "d" * 64)


def card(classifier) -> models.Card:
    choices = [{"key": "model.arguments.conv1_filters", "value": 4, "source": "params.yaml"}]
    return models.describe(SMALL, classifier, DATA, choices)


def test_the_card_says_what_the_classifier_does(classifier):
    written = card(classifier)
    assert (written.classes, written.image_size, written.data_digest) == (("a", "b", "c"), 8, "d" * 64)
    assert written.preprocessing == {
        "mean": list(MEAN), "std": list(STD), "input_size": None, "interpolation": "bilinear", "crop": 1.0,
    }  # fmt: skip
    assert written.parameters["total"] == sum(layer["parameters"] for layer in written.layers)


def test_saved_and_loaded_it_is_the_same(classifier, tmp_path):
    models.save(tmp_path, classifier, card(classifier))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.safetensors"]
    loaded, read = models.load(tmp_path)
    assert read == card(classifier)
    assert not loaded.training
    x = torch.rand(5, 3, 8, 8)
    with models.evaluating(classifier):
        assert torch.equal(loaded(x), classifier(x))
    weights = (tmp_path / "model.safetensors").read_bytes()
    models.save(tmp_path, classifier, card(classifier))
    assert (tmp_path / "model.safetensors").read_bytes() == weights


def test_loaded_with_a_temperature_its_logits_are_divided_by_it(classifier, tmp_path):
    models.save(tmp_path, classifier, card(classifier))
    (plain, _), (scaled, _) = models.load(tmp_path), models.load(tmp_path, temperature=2.5)
    x = torch.rand(5, 3, 8, 8)
    assert torch.equal(scaled(x), plain(x) / 2.5)
    sent = pickle.loads(pickle.dumps(scaled))  # noqa: S301
    for copied in (copy.deepcopy(scaled), sent):  # for randomised networks, for workers
        assert torch.equal(copied(x), scaled(x))
    with torch.autocast("cpu", torch.bfloat16):
        assert scaled(x).dtype == torch.float32  # no further rounding
    models.save(tmp_path / "again", scaled, card(scaled))
    assert (tmp_path / "again/model.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


@pytest.mark.parametrize("damage", ["cut", "gone", "pickle", "other", "json"])
def test_a_damaged_model_is_named(classifier, tmp_path, damage):
    models.save(tmp_path, classifier, card(classifier))
    weights, text = tmp_path / "model.safetensors", tmp_path / "model.json"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:200])
    elif damage == "gone":
        weights.unlink()
    elif damage == "pickle":  # which is not opened
        torch.save(classifier.state_dict(), weights)
    elif damage == "other":
        text.write_text(json.dumps(json.loads(text.read_text()) | {"classes": ["a", "b"]}))
    else:
        text.write_text("{")
    with pytest.raises(UserError, match=r"model\.(safetensors|json) (cannot be read|is not what was written)"):
        models.load(tmp_path)


def test_the_preprocessing_of_weights_is_saved_with_the_model(tmp_path):
    how = Preprocessing((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 8, "bicubic", 0.8)
    made = models.build("cnn", SMALL_CNN, how, 20, 3)
    models.save(tmp_path, made, models.describe(SMALL, made, DATA, []))
    loaded, _ = models.load(tmp_path)
    assert loaded.preprocessing == how
    x = torch.rand(2, 3, 20, 20)
    with models.evaluating(made):
        assert torch.equal(loaded(x), made(x))
