import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from glassbox import models
from glassbox.data.batches import to_float
from glassbox.explainers.base import Request
from glassbox.explainers.grad_cam import GradCam
from glassbox.models import Classifier, probabilities
from glassbox.xai_metrics.attack import SURROGATES, Smooth, attack, by_features, by_gradient, by_regions
from glassbox.xai_metrics.sensitivity import change


@pytest.fixture(scope="module")
def classifier(small_cnn):
    return small_cnn(16)


@pytest.fixture(scope="module")
def images():
    return torch.randint(0, 256, (5, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_gradient_times_image_of_a_linear_model_is_the_weights_times_the_image(linear):
    x = torch.full((1, 3, 2, 2), 0.5, requires_grad=True)
    maps = by_gradient(linear(np.array([[1.0, -2.0], [0.0, 3.0]])), x, torch.tensor([1]))
    assert maps[0].tolist() == [[1.5, -3.0], [0.0, 4.5]]  # three channels of one half


def test_regions_are_valued_by_the_fall_of_the_log_probability(probability):
    weights = np.zeros((6, 6))
    weights[0, 0] = 0.8  # with a grid of 6 x 6 cells each pixel is one
    x = torch.zeros(1, 3, 6, 6)
    x[..., 0, 0] = 1
    falls = by_regions(probability(weights, floor=0.1), x, torch.tensor([1]))
    hidden = 0.1 + 0.8 / 36  # the mean colour of the image is one pixel in 36
    assert falls.shape == (1, 36)
    assert falls[0, 0].item() == pytest.approx(np.log(0.9) - np.log(hidden), abs=1e-5)
    assert falls[0, 1:].tolist() == pytest.approx([0] * 35, abs=1e-6)


class Overwritten(nn.Module):
    """The layer after that of Grad-CAM works in place."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(functional.hardswish(self.conv(x), inplace=True).mean(dim=(2, 3)))

    def grad_cam_layer(self) -> nn.Module:
        return self.conv


@pytest.mark.parametrize("in_place", [False, True])
def test_features_are_grad_cam(classifier, images, params, in_place):
    model = Classifier(Overwritten(), (0.5,) * 3, (0.2,) * 3) if in_place else classifier
    targets = torch.zeros(5, dtype=torch.long)
    features = by_features(model.eval(), to_float(images).requires_grad_(True), targets).detach()
    enlarged = functional.interpolate(features[:, None], size=(16, 16), mode="bilinear")[:, 0].numpy()
    maps = GradCam(params.explain.grad_cam, 8)(model, Request(images, targets, (0,) * 5)).maps
    assert maps.any()
    assert enlarged == pytest.approx(maps, abs=1e-6)


def test_features_of_a_transformer_are_grad_cam_of_its_tokens(small_transformer, params):
    _, model = small_transformer
    images = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    targets = torch.arange(3)
    features = by_features(model.eval(), to_float(images).requires_grad_(True), targets).detach()
    assert features.shape == (3, 4, 4)  # patches of 8 x 8 pixels
    enlarged = functional.interpolate(features[:, None], size=(32, 32), mode="bilinear")[:, 0].numpy()
    maps = GradCam(params.explain.grad_cam, 8)(model, Request(images, targets, (0,) * 3)).maps
    assert maps.any()
    assert enlarged == pytest.approx(maps, abs=1e-6)


def test_smooth_makes_any_relu_a_softplus():
    x = torch.tensor([-1.0, 0.0, 2.0])
    soft = functional.softplus(x, beta=10.0)
    with Smooth():
        for relu in (functional.relu, torch.relu, torch.Tensor.relu, nn.ReLU(), nn.ReLU(inplace=True)):
            assert torch.equal(relu(x.clone()), soft)
        assert torch.equal(nn.LeakyReLU(0.1)(x), 0.1 * x + 0.9 * soft)
        assert torch.equal(functional.leaky_relu(x, 0.1), 0.1 * x + 0.9 * soft)
    assert torch.relu(x).tolist() == [0, 0, 2]


@pytest.mark.parametrize("layer", [nn.Hardsigmoid(), nn.Hardswish(), nn.Hardsigmoid(inplace=True)])
def test_hard_activations_are_smooth_enough_for_a_second_derivative(layer):
    x = torch.tensor([-5.0, -1.0, 2.0, 5.0], dtype=torch.float64, requires_grad=True)
    plain = layer(x.detach().clone())
    with Smooth():
        soft = layer(x)
        (gradient,) = torch.autograd.grad(soft.sum(), x, create_graph=True)
        (curvature,) = torch.autograd.grad(gradient.sum(), x)
    assert soft.detach().numpy() == pytest.approx(plain.numpy(), abs=1e-5)  # away from the corners at -3 and 3
    # Of x * (x + 3) / 6 between the corners it is 1/3, of (x + 3) / 6 nothing.
    assert curvature[1:3].numpy() == pytest.approx(1 / 3 if isinstance(layer, nn.Hardswish) else 0, abs=1e-3)


@pytest.mark.parametrize("name", SURROGATES)
def test_an_attack_moves_the_map_further_than_noise_and_leaves_the_prediction(classifier, images, name):
    targets = probabilities(classifier, images, 8).argmax(dim=1)
    request = Request(images, targets, (1, 2, 3, 4, 5))
    classifier.train()
    how = {"radius": 0.05, "steps": 10, "batch_size": 16}
    attacked = attack(classifier, request, SURROGATES[name], **how)
    assert attacked.dtype == np.uint8
    assert 1 <= np.abs(attacked.astype(int) - images.numpy()).max() <= 13  # 0.05 of 255, rounded
    assert torch.equal(probabilities(classifier, torch.from_numpy(attacked), 8).argmax(dim=1), targets)
    assert classifier.training
    assert all(p.requires_grad and p.grad is None for p in classifier.parameters())
    assert not classifier.network.grad_cam_layer()._forward_hooks

    def maps(pixels: np.ndarray) -> np.ndarray:
        with models.evaluating(classifier):
            x = to_float(torch.from_numpy(pixels)).requires_grad_(True)
            return SURROGATES[name](classifier, x, targets).detach().numpy().reshape(5, -1, 1)

    before = maps(images.numpy())
    moved = images.numpy() + np.round(12 * np.random.default_rng(0).choice([-1, 1], images.shape))
    by_noise = change(before, maps(np.clip(moved, 0, 255).astype(np.uint8)))
    assert change(before, maps(attacked)).mean() > 1.3 * by_noise.mean()
    assert np.array_equal(attacked, attack(classifier, request, SURROGATES[name], **how))


def test_an_image_without_an_attack_that_keeps_the_prediction_stays_as_it_is(linear, images):
    request = Request(images, torch.zeros(5, dtype=torch.long), (1, 2, 3, 4, 5))  # all are of class 1, whatever changes
    attacked = attack(linear(np.ones((16, 16))), request, by_gradient, radius=0.05, steps=3, batch_size=4)
    assert np.array_equal(attacked, images.numpy())
