"""Explainers of our own against the libraries that people use: the same maps, on networks with all kinds of layers."""

import numpy as np
import pytest
import torch
from conftest import SMALL_CNN
from torch.nn import functional

from glassbox import models
from glassbox.config import explain
from glassbox.data.batches import to_float
from glassbox.explainers.base import Request
from glassbox.explainers.grad_cam import GradCam
from glassbox.explainers.gradient_shap import GradientShap
from glassbox.explainers.integrated_gradients import IntegratedGradients
from glassbox.models.preprocessing import Preprocessing

CNN = SMALL_CNN | {
    "conv1_filters": 6, "activation_func1": "leaky_relu", "leaky_relu_alpha_1": 0.2, "dropout_1": 0.3,
    "activation_func2": "relu", "leaky_relu_alpha_2": None, "dense_units_1": 16, "activation_func_dense": "leaky_relu",
    "leaky_relu_alpha_3": 0.1, "dense_dropout_1": 0.3,
}  # fmt: skip
NETWORKS = {"cnn": CNN, "torchvision/resnet18": {"stem": "cifar"}}
COLOURS = Preprocessing((0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
SIDE, CLASSES, SEED = 16, 4, 3


@pytest.fixture(params=NETWORKS)
def classifier(request) -> models.Classifier:
    torch.manual_seed(0)
    made = models.build(request.param, NETWORKS[request.param], COLOURS, SIDE, CLASSES)
    made.train()
    with torch.no_grad():  # running statistics that are not 0 and 1
        for _ in range(3):
            made(torch.rand(16, 3, SIDE, SIDE))
    return made.eval()


@pytest.fixture
def request_() -> Request:
    images = torch.randint(0, 256, (3, SIDE, SIDE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return Request(images, torch.tensor([0, 1, 3]), tuple(range(SEED, SEED + 3)))


def agree(ours: np.ndarray, theirs: np.ndarray) -> None:
    """But for rounding, which also decides on which side of a kink, of ReLU or of a maximum, a gradient is taken."""
    assert ours.shape == theirs.shape
    assert np.linalg.norm(ours - theirs) < 0.01 * np.linalg.norm(theirs)


@pytest.mark.parametrize("batch_size", [2, 1000])
def test_integrated_gradients_is_captums(classifier, request_, batch_size):
    from captum.attr import IntegratedGradients as Captum

    settings = explain.IntegratedGradients(steps=10, baseline="mean")
    made = IntegratedGradients(settings, (0.5, 0.4, 0.3), batch_size)(classifier, request_)
    x = to_float(request_.images)
    baseline = torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1).expand_as(x)
    theirs = Captum(classifier).attribute(x, baseline, request_.targets, n_steps=10, method="gausslegendre")
    agree(made.maps, theirs.sum(dim=1).detach().numpy())


def test_grad_cam_is_captums(classifier, request_):
    from captum.attr import LayerGradCam

    made = GradCam(explain.GradCam(relu=False), 2)(classifier, request_)
    theirs = LayerGradCam(classifier, classifier.grad_cam_layer(SIDE))
    coarse = theirs.attribute(to_float(request_.images), request_.targets)
    agree(made.maps, functional.interpolate(coarse, (SIDE, SIDE), mode="bilinear")[:, 0].detach().numpy())


def test_gradient_shap_is_shaps(classifier, request_):
    import shap

    generator = torch.Generator().manual_seed(2)
    background = torch.randint(0, 256, (9, SIDE, SIDE, 3), dtype=torch.uint8, generator=generator)
    made = GradientShap(explain.GradientShap(samples=12, background=9), background, 5)(classifier, request_)
    explainer = shap.GradientExplainer(classifier, to_float(background))
    for row, target in enumerate(request_.targets.tolist()):
        values = explainer.shap_values(to_float(request_.images[row : row + 1]), nsamples=12, rseed=request_.seeds[row])
        agree(made.maps[row], values[0, ..., target].sum(axis=0))
