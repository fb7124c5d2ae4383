import pytest
import torch
from conftest import SMALL_CNN, model

from glassbox import models
from glassbox.config.space import Option, labelled
from glassbox.core.errors import UserError
from glassbox.data.store import Description
from glassbox.models import building

SMALL = model("cnn", SMALL_CNN)
MEAN, STD = (0.2, 0.4, 0.6), (0.5, 0.5, 0.25)
DATA = Description("toy", ("a", "b", "c"), 8, {}, MEAN, STD, False, "d" * 64)


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


def test_a_file_of_class_names_must_be_there(tmp_path):
    (tmp_path / "own.pth").touch()
    given = model("cnn", SMALL_CNN, weights=str(tmp_path / "own.pth"), classes="none.txt")
    with pytest.raises(UserError, match=r"^model.classes names the file none.txt, which does not exist"):
        building.check(given, (), 8)


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
