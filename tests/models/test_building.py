import copy
import json
import pickle

import pytest
import torch
from conftest import SMALL_CNN, model

from glassbox import models
from glassbox.config.space import Option, labelled
from glassbox.core.errors import UserError
from glassbox.data.store import Description
from glassbox.models import building
from glassbox.models.preprocessing import Preprocessing

SMALL = model("cnn", SMALL_CNN)
MEAN, STD = (0.2, 0.4, 0.6), (0.5, 0.5, 0.25)
DATA = Description("toy", ("a", "b", "c"), 8, {}, MEAN, STD, False, "d" * 64)


def card(classifier) -> models.Card:
    choices = [{"key": "model.arguments.conv1_filters", "value": 4, "source": "params.yaml"}]
    return models.describe(SMALL, classifier, DATA, choices)


def test_fresh_weights_come_from_the_seed_alone():
    def weights(seed: int) -> torch.Tensor:
        fresh = models.fresh(SMALL, DATA, seed, torch.device("cpu"))
        assert fresh.mean.flatten().tolist() == pytest.approx(MEAN)
        return fresh.network.output.weight.detach()

    first = weights(1)
    torch.rand(3)
    assert torch.equal(weights(1), first)
    assert not torch.equal(weights(2), first)
    assert first.shape[0] == 3


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


def test_weights_are_made_where_they_will_be():
    # "meta" makes none: a tensor that was made elsewhere and had to be moved there would have to hold values.
    devices: set[str] = set()

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                devices.add(result.device.type)
            return result

    with Watch():
        fresh = models.fresh(SMALL, DATA, 0, torch.device("meta"))
    assert {tensor.device.type for tensor in fresh.state_dict().values()} == {"meta"}
    assert devices == {"meta"}


def test_what_is_searched_is_checked_with_the_first_values(monkeypatch):
    """An argument or a name that stands to be found is tried with the first of its choices, or the lower end."""
    space = labelled({
        "model.arguments.conv1_filters": {"": Option(low=5, high=9)},
        "model.arguments.pool_size_1": {"": Option(choices=(8, 2))},
    })  # fmt: skip
    searched = model("cnn", SMALL_CNN | {"conv1_filters": "tuned"})
    made = []
    monkeypatch.setattr(building, "build", lambda *given: made.append(given[1]))
    assert models.check(searched, space, 8) == []
    assert made == [SMALL_CNN | {"conv1_filters": 5}]
    monkeypatch.undo()
    with pytest.raises(UserError, match="pool_size_1 = 8 and pool_size_2 = 2 leave nothing of an image of 8 pixels"):
        models.check(model("cnn", SMALL_CNN | {"conv1_filters": "tuned", "pool_size_1": "tuned"}), space, 8)
    # One that is searched only under a condition may have no value: it is left out.
    absent = model("cnn", SMALL_CNN | {"conv1_filters": "tuned", "leaky_relu_alpha_1": "tuned"})
    assert models.check(absent, space, 8) == []


def test_weights_that_say_nothing_of_themselves_give_no_normalisation(tmp_path):
    network = model("python:small:build", weights=str(tmp_path / "w.pth"), normalization="weights")
    with pytest.raises(
        UserError, match=r"model.normalization is weights, but of .*w.pth .* nothing is known: take data"
    ):
        models.preprocessing(network, DATA)


@pytest.mark.parametrize("size", [None, 64])
def test_what_weights_say_of_themselves_is_the_normalisation(size):
    network = model("torchvision/vgg16", weights="IMAGENET1K_FEATURES", normalization="weights", input_size=size)
    how = models.preprocessing(network, DATA)
    assert how.mean == pytest.approx((0.48235, 0.45882, 0.40784), abs=1e-5)  # of Caffe, in which they were trained
    assert how.std == (1 / 255,) * 3
    assert (how.input_size, how.interpolation, how.crop) == (size or 224, "bilinear", 224 / 256)


def test_the_preprocessing_of_weights_is_saved_with_the_model(tmp_path):
    how = Preprocessing((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 8, "bicubic", 0.8)
    made = models.build("cnn", SMALL_CNN, how, 20, 3)
    models.save(tmp_path, made, models.describe(SMALL, made, DATA, []))
    loaded, _ = models.load(tmp_path)
    assert loaded.preprocessing == how
    x = torch.rand(2, 3, 20, 20)
    with models.evaluating(made):
        assert torch.equal(loaded(x), made(x))
