"""The audit of a study's splits."""

from dataclasses import replace

import pytest
import torch

from glassbox.audit import running
from glassbox.config.audit import Audit
from glassbox.core.errors import UserError
from glassbox.data.store import Split
from glassbox.explainers import factory
from glassbox.explainers.base import Setup


def test_as_many_images_of_every_class_are_drawn_as_there_are():
    labels = torch.tensor([0] * 50 + [1] * 7 + [3] * 30)
    rows = running.drawn(labels, 20, seed=0)
    assert torch.bincount(labels[rows]).tolist() == [20, 7, 0, 20]
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert torch.equal(rows, running.drawn(labels, 20, seed=0))
    assert not torch.equal(rows, running.drawn(labels, 20, seed=1))


def test_an_explainer_by_gradients_is_refused_in_the_words_of_its_section(params, small_cnn):
    classifier = small_cnn(32)
    classifier.network.has_gradients = False
    images = torch.zeros((40, 32, 32, 3), dtype=torch.uint8)
    split = Split(images, torch.arange(40) % 2, None, torch.arange(40), None)
    setup = Setup(classifier, params.explain, images, (0.5, 0.5, 0.5), batch_size=64)
    with pytest.raises(UserError, match=r"^grad_cam explains by gradients, .* take it out of audit\.explainers, which"):
        running.audit_of_splits(setup, Audit(images=20, explainers=("grad_cam",)), split, split, ("a", "b"))
    with pytest.raises(UserError, match=r"out of explain\.explainers"):
        factory.make(replace(setup, settings=params.explain))
