"""What every source of networks answers, tried on sources of toys."""

import inspect

import pytest
import torch
from torch import nn

from glassbox.core.errors import UserError
from glassbox.models.networks import SOURCES, bare, source_of
from glassbox.models.networks.base import Source, built, taken_by


class Toy(nn.Module):
    def __init__(self, n_classes: int, width: int = 2, **others: int) -> None:
        super().__init__()
        if others:
            raise TypeError(f"Toy.__init__() got an unexpected keyword argument {next(iter(others))!r}")
        self.norm = nn.BatchNorm2d(3)
        self.first, self.second = nn.Linear(3, n_classes), nn.Linear(n_classes, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(self.norm(x).mean(dim=(2, 3))))


class Larger(Toy):
    def __init__(self, height: int = 1, **options: int) -> None:
        super().__init__(4, **options)


class Toys(Source):
    def check_name(self, name):
        pass

    def make(self, name, arguments, size, n_classes):
        return Toy(n_classes, **arguments)

    def signature(self, name, error):
        return taken_by(lambda: Toy(2), error)


@pytest.mark.parametrize(
    ("name", "source", "rest"),
    [
        ("cnn", "cnn", ""),
        ("torchvision/resnet18", "torchvision_registry", "resnet18"),
        ("timm/vit_tiny_patch16_224", "timm_registry", "vit_tiny_patch16_224"),
        ("python:small:build", "own_function", "small:build"),
        ("python:a.b.timm:torchvision", "own_function", "a.b.timm:torchvision"),
    ],
)
def test_the_source_of_a_name_is_its_prefix(name, source, rest):
    assert type(source_of(name)).__module__ == f"glassbox.models.networks.{source}"
    assert bare(name) == rest
    assert source in SOURCES.values()


def test_a_network_is_tried_out_on_an_image_and_stays_as_it_was_made():
    network = built(Toys(), "toy/any", "any", {}, 8, 4)
    assert network.training
    assert network.norm.num_batches_tracked == 0
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    assert Toys().heads(network, 4) == ("second",)  # the last layer with as many outputs
    assert Toys().heads(network, 3) == ()


def test_what_takes_an_argument_is_named_without_those_that_are_passed_on():
    error = TypeError("Toy.__init__() got an unexpected keyword argument 'x'")
    assert list(taken_by(Larger, error).parameters) == ["n_classes", "width"]  # of the class that refuses
    assert list(taken_by(Larger, TypeError("f() got an unexpected keyword argument 'x'")).parameters) == ["height"]
    with pytest.raises(
        UserError, match=r"^model.arguments.depth is not taken by toy/any, which takes n_classes, width$"
    ):
        built(Toys(), "toy/any", "any", {"width": 3, "depth": 1}, 8, 4)


def test_an_argument_inside_a_network_that_is_not_the_users_is_no_fault_of_the_users():
    class Faulty(Toys):
        def make(self, name, arguments, size, n_classes):
            return nn.Linear(in_features=3, out_features=n_classes, nonsense=1)

    with pytest.raises(UserError, match=r"^toy/any \(model.name\) cannot be made .* keyword argument 'nonsense'\): ch"):
        built(Faulty(), "toy/any", "any", {"width": 3}, 8, 4)


def test_a_source_without_weights_of_its_own_says_so():
    source = Source()
    assert source.made_for("any", "DEFAULT") is None
    assert source.stem(Toy(2), {}) is None
    assert not source.has_size("any")
    for ask in (source.check_weights, source.weights):
        with pytest.raises(
            UserError, match=r"^model.weights is 'DEFAULT', but must be null or a file .*: any has no oth"
        ):
            ask("any", "DEFAULT")


@pytest.mark.parametrize("module", SOURCES.values())
def test_every_source_answers_with_the_arguments_that_it_is_asked_with(module):
    prefix = next(prefix for prefix, name in SOURCES.items() if name == module)
    source = type(source_of(prefix))
    for name, method in inspect.getmembers(Source, inspect.isfunction):
        assert inspect.signature(getattr(source, name)).parameters.keys() == inspect.signature(method).parameters.keys()
