from dataclasses import replace

import numpy as np
import pytest
import torch
from lime import lime_image

from glassbox.explainers.base import Request
from glassbox.explainers.lime import Lime
from glassbox.models import predict

from .conftest import QUADRANTS, WORTH


@pytest.fixture
def speckled(game):
    """The game with quadrants that are half white, half black: hidden, they take their mean, grey."""
    classifier, request = game
    images = request.images.clone()
    images[:, ::2] = 0
    return classifier, replace(request, images=images)


@pytest.mark.parametrize(("precision", "rounding"), [("float32", 1e-6), ("bfloat16", 4e-4)])
def test_answers_that_vary_by_rounding_only_have_no_r2(game, params, monkeypatch, precision, rounding):
    # lime's own score is 1 for answers that are all the same, else that of a regression on rounding.
    classifier, request = game  # a white quadrant's mean is white: hidden, it looks as before
    forward, noise = classifier.network.forward, torch.Generator().manual_seed(0)
    monkeypatch.setattr(
        classifier.network, "forward", lambda x: forward(x) + rounding * torch.randn(len(x), 2, generator=noise)
    )
    made = Lime(100, params.explain.superpixels, 32, precision)(classifier, request)
    assert np.isnan(made.details["local_r2"]).all()
    assert (made.maps == 0).all()


def test_weights_of_a_linear_classifier(game, params):
    # Make the upper half of each quadrant worth everything and white, the lower half black and worth nothing: hidden,
    # the quadrant is grey and loses half of its worth. Ridge regression shrinks by 1 / (1 + alpha / (sum of weights
    # * variance)): with alpha = 1 and 1,000 samples by less than a few per cent.
    classifier, request = game
    upper = np.kron(np.ones((2, 2)), np.repeat([[1.0], [0.0]], 2, axis=0) * np.ones((1, 4)))
    classifier.network.weights.data = torch.tensor((WORTH / 8)[QUADRANTS] * upper)
    images = torch.from_numpy((upper * 255).astype(np.uint8))[None, ..., None].expand(1, 8, 8, 3).contiguous()
    made = Lime(1000, params.explain.superpixels, 64)(classifier, Request(images, request.targets, (3,)))
    assert made.maps[0] == pytest.approx(WORTH[QUADRANTS] / 2, rel=0.05, abs=0.002)
    assert made.details["local_r2"][0] > 0.99
    assert made.forward_passes.tolist() == [1000]


def test_the_coefficients_are_the_librarys_own(speckled, params):
    classifier, request = speckled
    both = Request(request.images.expand(2, -1, -1, -1), torch.tensor([1, 0]), (11, 11))
    made = Lime(90, params.explain.superpixels, 40)(classifier, both)
    stock = lime_image.LimeImageExplainer(random_state=11)
    explanation = stock.explain_instance(
        request.images[0].numpy(),
        lambda batch: predict(classifier, torch.from_numpy(batch), 40).double().softmax(dim=1).numpy(),
        labels=(1, 0), top_labels=None, num_samples=90, batch_size=40, segmentation_fn=lambda _: QUADRANTS,
        random_seed=11,
    )  # fmt: skip
    for row, label in enumerate((1, 0)):
        weights = dict(explanation.local_exp[label])
        expected = np.array([weights[region] for region in range(4)])[QUADRANTS]
        assert np.array_equal(made.maps[row], expected.astype(np.float32))
    assert made.details["local_r2"][1] == explanation.score  # the library keeps only the last label's


def test_an_image_has_its_own_seed(speckled, params):
    classifier, request = speckled
    explain = Lime(60, params.explain.superpixels, 32)

    def maps(*seeds):
        n = len(seeds)
        rows = Request(request.images.expand(n, -1, -1, -1), torch.ones(n, dtype=torch.int64), seeds)
        return explain(classifier, rows).maps

    assert np.array_equal(maps(1)[0], maps(2, 1)[1])  # whatever was explained before
    assert not np.array_equal(maps(1)[0], maps(2)[0])
