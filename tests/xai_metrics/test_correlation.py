import numpy as np
import pytest
import torch

from glassbox.explainers.base import Request
from glassbox.xai_metrics import correlation as c

WEIGHTS = np.array([[0.4, 0.3], [0.2, 0.0]])
WHITE = torch.full((2, 2, 2, 3), 255, dtype=torch.uint8)


def hide(classifier, seeds: tuple[int, int] = (5, 6)) -> c.Hidden:
    request = Request(WHITE, torch.tensor([1, 0]), seeds)
    return c.hide(classifier, request, side=2, share=0.5, draws=40, colour=(0.0, 0.0, 0.0), batch_size=16)


@pytest.fixture
def hidden(probability):
    return hide(probability(WEIGHTS))


def test_a_grid_of_whole_cells():
    assert c.grid(4, 4, 2).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    assert c.grid(5, 3, 2).tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 1], [2, 2, 3], [2, 2, 3]]
    assert np.unique(c.grid(3, 3, 8)).tolist() == list(range(9))  # no more cells than pixels


def test_the_probability_falls_by_what_was_hidden(hidden, probability):
    assert hidden.sets.shape == (2, 40, 4)
    assert hidden.sets.sum(axis=2).tolist() == [[2] * 40] * 2
    assert hidden.drops[0] == pytest.approx(hidden.sets[0] @ WEIGHTS.ravel(), abs=1e-6)
    assert hidden.drops[1] == pytest.approx(-(hidden.sets[1] @ WEIGHTS.ravel()), abs=1e-6)  # what the other class gains
    assert len(np.unique(hidden.sets[0], axis=0)) == 6  # all pairs of four cells
    other = hide(probability(WEIGHTS), seeds=(5, 7))
    assert np.array_equal(other.sets[0], hidden.sets[0])
    assert not np.array_equal(other.sets[1], hidden.sets[1])


@pytest.mark.parametrize(
    ("values", "expected"), [(WEIGHTS, 1), (7 * WEIGHTS + 3, 1), (0 * WEIGHTS, 0), (0 * WEIGHTS + 0.1, 0)]
)
def test_the_weights_correlate_fully_and_equal_values_with_nothing(hidden, values, expected):
    correlations = c.faithfulness_correlation(np.stack([values, values]), hidden)
    assert correlations == pytest.approx([expected, -expected], abs=1e-5)


def test_the_correlation_by_hand():
    # Sums 1, 2, 4 and drops 3, 1, 2: deviations (-4, -1, 5) / 3 and (1, -1, 0); correlation -1 / sqrt(14 / 3 * 2).
    sets = np.eye(3, dtype=bool)[None]
    hidden = c.Hidden(np.array([[0, 1, 2]]), sets, np.array([[3.0, 1.0, 2.0]]))
    assert c.faithfulness_correlation(np.array([[[1.0, 2.0, 4.0]]]), hidden) == pytest.approx([-1 / np.sqrt(28 / 3)])


def test_drops_that_differ_by_rounding_give_no_map_a_score(probability, monkeypatch):
    classifier = probability(np.zeros((2, 2)))
    forward, noise = classifier.network.forward, torch.Generator().manual_seed(0)
    monkeypatch.setattr(
        classifier.network, "forward", lambda x: forward(x) + 1e-6 * torch.randn(len(x), 2, generator=noise)
    )
    assert np.isnan(c.faithfulness_correlation(np.stack([WEIGHTS, np.zeros((2, 2))]), hide(classifier))).all()
