import copy
import json
import pickle

import pytest
import torch
from conftest import SMALL_CNN, model
from torch import nn

from glassbox import models
from glassbox.config.space import Option, labelled
from glassbox.core.errors import UserError
from glassbox.data.store import Description
from glassbox.models import classifier as classifiers
from glassbox.models.preprocessing import Preprocessing
from glassbox.provenance.resume import Parts

SMALL = model("cnn", SMALL_CNN)
MEAN, STD = (0.2, 0.4, 0.6), (0.5, 0.5, 0.25)
DATA = Description("toy", ("a", "b", "c"), 8, {}, MEAN, STD, False, "d" * 64)


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    return models.build("cnn", SMALL_CNN, Preprocessing(MEAN, STD), 8, 3)


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


class Spy(nn.Module):
    """Keeps what it is given."""

    def forward(self, x):
        self.seen = x
        return x.mean(dim=(2, 3))


def test_colours_are_normalised_inside():
    spy, x = Spy(), torch.rand(2, 3, 8, 8)
    classifier = models.Classifier(spy, MEAN, STD)
    classifier(x)
    assert torch.equal(spy.seen, (x - classifier.mean) / classifier.std)


def test_images_are_resized_on_the_way():
    columns = torch.tensor([0.0, 1.0]).expand(1, 3, 2, 2)
    spy = Spy()
    larger = models.Classifier(spy, input_size=4)
    larger(columns)
    # Pixel centres at 0.25 and 0.75 of the width: between them the value grows from 0 to 1, beyond them it stays.
    assert spy.seen.shape == (1, 3, 4, 4)
    assert spy.seen[0, 0, 0].tolist() == pytest.approx([0.0, 0.25, 0.75, 1.0])
    models.Classifier(spy, input_size=2, crop=0.5)(columns)  # the centre of that
    assert spy.seen.shape == (1, 3, 2, 2)
    assert spy.seen[0, 0, 0].tolist() == pytest.approx([0.25, 0.75])


def test_explanations_of_a_resized_image_have_the_images_own_size():
    classifier = models.Classifier(Spy(), (0.0,) * 3, (1.0,) * 3, input_size=8)
    x = torch.rand(1, 3, 4, 4, requires_grad=True)
    classifier(x)[0, 1].backward()
    # Each pixel of one channel has an equal share of its mean, where the interpolation does not favour it: sums agree.
    assert x.grad.shape == (1, 3, 4, 4)
    assert x.grad[0, 1].sum().item() == pytest.approx(1)
    assert not x.grad[0, 0].any()


def test_only_the_head_learns_while_the_rest_is_frozen(classifier):
    classifier.train_head_only(True)
    learning = {name for name, p in classifier.named_parameters() if p.requires_grad}
    assert learning == {"network.output.weight", "network.output.bias"}
    assert {name for name, part in classifier.named_modules() if part.training} == {"network.output"}
    classifier.train_head_only(False)
    assert all(p.requires_grad for p in classifier.parameters())
    assert all(part.training for part in classifier.modules())


class TwoHeads(nn.Module):
    """As DeiT's with distillation: the mean of two last layers."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.head_dist, self.rest = nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(3, 3)


def test_all_of_several_heads_learn():
    classifier = models.Classifier(TwoHeads())
    classifier.heads = ("head", "head_dist")
    classifier.train_head_only(True)
    assert {name for name, p in classifier.named_parameters() if p.requires_grad} == {
        f"network.{head}.{part}" for head in classifier.heads for part in ("weight", "bias")
    }


def test_a_channel_without_variation_does_not_divide_by_zero():
    constant = models.Classifier(nn.Identity(), (0.5, 0.5, 0.5), (0.0, 0.1, 0.1))
    assert torch.isfinite(constant(torch.full((1, 3, 2, 2), 0.5))).all()


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


def test_predict_is_the_same_for_any_batch_and_for_bytes(classifier):
    images = torch.randint(0, 256, (7, 8, 8, 3), dtype=torch.uint8)
    logits = models.predict(classifier, images, batch_size=3)
    assert logits.shape == (7, 3)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, models.predict(classifier, images, batch_size=7))
    torch.testing.assert_close(
        logits, models.predict(classifier, images.permute(0, 3, 1, 2).float() / 255, batch_size=2)
    )
    assert classifier.training


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


def test_predictions_go_on_after_the_last_whole_batch(classifier, tmp_path):
    images = torch.randint(0, 256, (10, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    whole = models.predict(classifier, images, batch_size=4)
    models.predict(classifier, images[:8], batch_size=4, keep=Parts("evaluate", "key", tmp_path))
    seen, again = [], Parts("evaluate", "key", tmp_path)
    handle = classifier.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    resumed = models.predict(classifier, images, batch_size=4, keep=again)
    handle.remove()
    assert seen == [2]
    assert torch.equal(resumed, whole)


def test_the_layer_of_grad_cam_is_found_in_any_network_or_named():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.Flatten(), nn.Linear(80, 2))
    assert models.Classifier(network).grad_cam_layer(8) is network[2]
    assert models.Classifier(network, grad_cam_layer="0").grad_cam_layer(8) is network[0]
    with pytest.raises(
        UserError, match=r"^Grad-CAM needs features of .* and Sequential on 2 x 2 pixels has none: take grad_cam"
    ):
        models.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 2))).grad_cam_layer(2)


def test_features_of_an_unknown_layout_are_refused_with_their_shape():
    net = models.Classifier(nn.Sequential(nn.Conv2d(3, 4, (3, 1)), nn.Flatten()), grad_cam_layer="0")
    with pytest.raises(
        UserError, match=r"an output of shape \(1, 4, 6, 8\), but needs \(N, C, h, h\), \(N, h, h, C\) or"
    ):
        net.feature_maps(net.grad_cam_layer(8)(torch.rand(1, 3, 8, 8)))


def test_what_is_searched_is_checked_with_the_first_values(monkeypatch):
    """An argument or a name that stands to be found is tried with the first of its choices, or the lower end."""
    space = labelled({
        "model.arguments.conv1_filters": {"": Option(low=5, high=9)},
        "model.arguments.pool_size_1": {"": Option(choices=(8, 2))},
    })  # fmt: skip
    searched = model("cnn", SMALL_CNN | {"conv1_filters": "tuned"})
    made = []
    monkeypatch.setattr(classifiers, "build", lambda *given: made.append(given[1]))
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
