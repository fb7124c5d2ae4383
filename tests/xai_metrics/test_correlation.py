import numpy as np
import pytest
import torch

from glassbox.xai_metrics import correlation as c

WEIGHTS = np.array([[0.4, 0.3], [0.2, 0.0]])
WHITE = torch.full((2, 2, 2, 3), 255, dtype=torch.uint8)
HOW = {"side": 2, "share": 0.5, "draws": 40, "colour": (0.0, 0.0, 0.0), "batch_size": 16}


def test_a_grid_of_whole_cells():
    assert c.grid(4, 4, 2).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    assert c.grid(5, 3, 2).tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 1], [2, 2, 3], [2, 2, 3]]
    assert np.unique(c.grid(3, 3, 8)).tolist() == list(range(9))  # no more cells than pixels


@pytest.fixture
def hidden(probability):
    return c.hide(probability(WEIGHTS), WHITE, torch.tensor([1, 0]), (5, 6), **HOW)


def test_the_probability_falls_by_what_was_hidden(hidden):
    assert hidden.sets.shape == (2, 40, 4)
    assert hidden.sets.sum(axis=2).tolist() == [[2] * 40] * 2
    assert hidden.drops[0] == pytest.approx(hidden.sets[0] @ WEIGHTS.ravel(), abs=1e-6)
    assert hidden.drops[1] == pytest.approx(-(hidden.sets[1] @ WEIGHTS.ravel()), abs=1e-6)  # what the other class gains
    assert len(np.unique(hidden.sets[0], axis=0)) == 6  # all pairs of four cells


def test_the_weights_themselves_correlate_fully(hidden):
    maps = np.stack([WEIGHTS, WEIGHTS])
    assert c.faithfulness_correlation(maps, hidden) == pytest.approx([1, -1], abs=1e-5)
    assert c.faithfulness_correlation(7 * maps + 3, hidden) == pytest.approx([1, -1], abs=1e-5)


def test_by_hand():
    # Sums 1, 2, 4 and drops 3, 1, 2: deviations (-4, -1, 5) / 3 and (1, -1, 0); correlation -1 / sqrt(14 / 3 * 2).
    sets = np.eye(3, dtype=bool)[None]
    hidden = c.Hidden(np.array([[0, 1, 2]]), sets, np.array([[3.0, 1.0, 2.0]]))
    assert c.faithfulness_correlation(np.array([[[1.0, 2.0, 4.0]]]), hidden) == pytest.approx([-1 / np.sqrt(28 / 3)])


def test_what_ranks_nothing_correlates_with_nothing(hidden):
    assert c.faithfulness_correlation(np.zeros((2, 2, 2)), hidden).tolist() == [0, 0]
    assert c.faithfulness_correlation(np.full((2, 2, 2), 0.1), hidden).tolist() == [0, 0]
    flat = c.Hidden(hidden.cells, hidden.sets, np.zeros((2, 40)))
    assert np.isnan(c.faithfulness_correlation(np.stack([WEIGHTS, np.zeros((2, 2))]), flat)).all()


def test_drops_that_differ_by_rounding_give_no_map_a_score(probability, monkeypatch):
    classifier = probability(np.zeros((2, 2)))
    forward, noise = classifier.network.forward, torch.Generator().manual_seed(0)
    monkeypatch.setattr(
        classifier.network, "forward", lambda x: forward(x) + 1e-6 * torch.randn(len(x), 2, generator=noise)
    )
    hidden = c.hide(classifier, WHITE, torch.tensor([1, 0]), (5, 6), **HOW)
    assert np.isnan(c.faithfulness_correlation(np.stack([WEIGHTS, WEIGHTS]), hidden)).all()


def test_sets_follow_the_seed_of_the_image(probability, hidden):
    again = c.hide(probability(WEIGHTS), WHITE, torch.tensor([1, 0]), (5, 7), **HOW)
    assert np.array_equal(again.sets[0], hidden.sets[0])
    assert not np.array_equal(again.sets[1], hidden.sets[1])
