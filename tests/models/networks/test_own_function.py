import pytest
import torch
from conftest import ROOT, model

from glassbox import models
from glassbox.core.errors import UserError
from glassbox.data.store import Description
from glassbox.models.preprocessing import Preprocessing

MODULE = """
from torch import nn

calls = []


def build(n_classes, width=4, *, depth=1):
    calls.append((n_classes, width, depth))
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, n_classes))


def nothing(n_classes):
    pass


def wide(n_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, n_classes + 1))


def two(n_classes):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, n_classes)

        def forward(self, x):
            return self.layer(x.mean(dim=(2, 3))), x

    return Two()


def fails(n_classes):
    raise ValueError("a fault\\nof two lines")


def weightless(n_classes):
    return nn.Flatten()


NUMBER = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with a module of networks, in which the study runs; the module is forgotten afterwards."""
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks/owned.py").write_text(MODULE)
    (tmp_path / "networks/broken.py").write_text("import no_such_library\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "networks")
    yield lambda function, **arguments: models.build(f"python:owned:{function}", arguments, Preprocessing(), 16, 5)
    import sys

    sys.modules.pop("owned", None)


def test_it_is_called_with_the_number_of_classes_and_the_arguments(own):
    net = own("build", width=7, depth=2)
    import owned

    assert owned.calls == [(5, 7, 2)]
    assert net(torch.rand(2, 3, 16, 16)).shape == (2, 5)
    assert net.heads == ("3",)
    assert net.grad_cam_layer(16) is net.network[0]
    own("build")
    assert owned.calls[1:] == [(5, 4, 1)]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("owned:other", r"^model.name is 'python:owned:other', but the module owned has no function other$"),
        ("owned:NUMBER", r"^model.name is 'python:owned:NUMBER', but the module owned has no function NUMBER$"),
        ("absent:build", r"^model.name is 'python:absent:build', but absent cannot be imported from the folder "
                         r"networks \(No module named 'absent'\)$"),
        ("broken:build", r"^model.name .* but broken cannot be imported .* \(No module named 'no_such_library'\)$"),
        ("owned:nothing", r"^python:owned:nothing \(model.name\) returns NoneType, but must return a torch.nn.Module$"),
        ("owned:wide", r"wide \(model.name\) gives \(1, 6\) for one image, but must give logits of shape \(1, 5\)$"),
        ("owned:two", r"two \(model.name\) gives tuple for one image, but must give logits of shape \(1, 5\)$"),
        ("owned:fails", r"fails \(model.name\) cannot be made for images of 16 x 16 pixels with model.arguments = \{\} "
                        r"\(a fault of two lines\): change model.arguments or model.input_size$"),
        ("owned:weightless", r"weightless \(model.name\) has no weights to train"),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_is_one_sentence(own, name, sentence):
    with pytest.raises(UserError, match=sentence) as refused:
        models.build(f"python:{name}", {}, Preprocessing(), 16, 5)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("unknown", ["widht", "n_classes"])
def test_an_argument_that_it_does_not_take_is_refused_with_those_that_it_takes(own, unknown):
    with pytest.raises(UserError) as refused:
        own("build", **{unknown: 3})
    taken = [name for name in ("n_classes", "width", "depth") if name != unknown]
    assert str(refused.value) == (
        f"model.arguments.{unknown} is not taken by python:owned:build, which takes {', '.join(taken)}"
    )


def test_weights_are_those_of_a_file(own, tmp_path):
    data = Description("toy", ("a", "b", "c"), 16, {}, (0.2, 0.4, 0.6), (0.5, 0.5, 0.25), False, "d" * 64)
    network = model("python:owned:build", {"width": 6})
    first = models.fresh(network, data, 1, torch.device("cpu"))
    models.save(tmp_path / "m", first, models.describe(network, first, data, []))
    again = model("python:owned:build", {"width": 6}, weights=str(tmp_path / "m/model.safetensors"))
    second = models.fresh(again, data, 2, torch.device("cpu"))
    loaded, _ = models.load(tmp_path / "m")
    for other in (second, loaded):
        assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in first.state_dict().items())
    with pytest.raises(
        UserError, match=r"model.weights is 'DEFAULT', but must be null or a file .* owned:build has no"
    ):
        models.check(model("python:owned:build", weights="DEFAULT"), [], 16)


def test_the_example_of_the_repository_trains_and_is_explained(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert models.check(model("python:small:build", {"width": 4}), [], 16, ("grad_cam",)) == []
    net = models.build("python:small:build", {"width": 4, "dropout": 0.5}, Preprocessing(), 16, 3)
    net.train_head_only(True)
    assert {name for name, p in net.named_parameters() if p.requires_grad} == {"network.10.weight", "network.10.bias"}
    net(torch.rand(2, 3, 16, 16)).sum().backward()
