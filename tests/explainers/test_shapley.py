import math
from functools import partial
from itertools import permutations

import numpy as np
import pytest

from glassbox.explainers import shapley


def additive(worth):
    """Every player adds its worth (S, T), whoever else is there."""
    return lambda masks: 0.25 + masks @ np.asarray(worth, float).reshape(masks.shape[1], -1)


def unanimity(members, worth=1.0):
    """Worth only where all members take part: each member's value is its share."""
    return lambda masks: worth * masks[:, members].all(axis=1, keepdims=True).astype(float)


def sigmoid(players, targets=1, seed=0):
    """What a network might say: a few hidden units of the players, and a sigmoid of them."""
    rng = np.random.default_rng(seed)
    inner = rng.standard_normal((players, 8)) * rng.exponential(size=(players, 1))  # some players matter more
    outer = rng.standard_normal((8, targets))
    return lambda masks: 1 / (1 + np.exp(-2 * np.tanh((masks - 0.5) @ inner) @ outer))


def counted(game):
    """The game, and the masks it was asked for."""
    asked = []

    def asking(masks):
        asked.extend(masks)
        return game(masks)

    return asking, asked


def exact(game, players):
    """Values from all coalitions."""
    return shapley.estimate(game, players, 2**players, seed=0).values


def error(found, truth):
    return np.linalg.norm(found - truth) / np.linalg.norm(truth)


def gloves(masks):
    """One left glove, two right ones, and only a pair is worth anything (Shapley & Shubik 1969)."""
    return (masks[:, :1] & masks[:, 1:].any(axis=1, keepdims=True)).astype(float)


def majority(masks):
    return (masks.sum(axis=1, keepdims=True) > 2).astype(float)


@pytest.mark.parametrize(
    ("game", "expected"),
    [
        (additive([[0.5, 1.0], [-0.25, 2.0], [0.0, 3.0]]), [[0.5, -0.25, 0.0], [1.0, 2.0, 3.0]]),
        (unanimity([1, 2, 4]), [[0, 1 / 3, 1 / 3, 0, 1 / 3]]),
        (gloves, [[4 / 6, 1 / 6, 1 / 6]]),
        (majority, [[0.2] * 5]),
    ],
    ids=["additive", "unanimity", "gloves", "majority"],
)
def test_exact_values_by_hand(game, expected):
    assert exact(game, len(expected[0])) == pytest.approx(np.array(expected), abs=1e-12)


def test_exact_values_are_the_mean_contribution_over_all_orders():
    game, players = sigmoid(4, targets=2), 4
    expected = np.zeros((2, players))
    for order in permutations(range(players)):
        there = np.zeros((1, players), bool)
        for player in order:
            before = game(there)[0]
            there[0, player] = True
            expected[:, player] += (game(there)[0] - before) / math.factorial(players)
    assert exact(game, players) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("players", [1, 2, 3, 4, 7])
def test_coalitions_enough_for_all_give_exact_values(players):
    asking, asked = counted(sigmoid(players, targets=3))
    made = shapley.estimate(asking, players, 2**players + 10, seed=0)
    assert (made.standard_errors == 0).all()
    assert made.evaluations == len(asked) == len({mask.tobytes() for mask in asked}) == 2**players


@pytest.mark.parametrize("players", [2, 3, 6, 30, 200])
def test_two_evaluations_are_enough_for_an_answer_that_adds_up(players):
    made = shapley.estimate(additive(np.arange(players)), players, 2, seed=0)
    assert made.evaluations == 2
    assert made.values.sum() == pytest.approx(players * (players - 1) / 2)
    assert (made.standard_errors > 0).all()


def test_pairs_are_distinct_complements_and_a_longer_draw_begins_with_the_shorter():
    long, short = counted(sigmoid(10)), counted(sigmoid(10))
    assert shapley.estimate(long[0], 10, 301, seed=3).evaluations == 300
    shapley.estimate(short[0], 10, 100, seed=3)
    first, second = np.array(long[1][:150]), np.array(long[1][150:])
    assert (first == ~second).all()
    assert len({mask.tobytes() for mask in long[1]}) == 300
    assert (np.array(short[1][:50]) == first[:50]).all()
    assert first[0].all()
    other = counted(sigmoid(10))
    shapley.estimate(other[0], 10, 100, seed=4)
    assert (np.array(other[1][:50]) != first[:50]).any()


def test_sizes_are_equally_frequent_until_one_is_exhausted():
    asking, asked = counted(sigmoid(9))
    shapley.estimate(asking, 9, 2 * 161, seed=0)
    sizes = np.bincount(np.array(asked[1:161]).sum(axis=1), minlength=5)[1:]
    assert sizes[0] == 9  # all of them: the other three share what is left, about 50 each
    assert (np.abs(sizes[1:] - (160 - 9) / 3) < 20).all()
    assert sizes[1] <= 36  # all pairs of players


@pytest.mark.parametrize("players", [5, 16, 40])
def test_few_coalitions_find_an_additive_games_values(players):
    worth = np.random.default_rng(0).standard_normal((players, 2))
    made = shapley.estimate(additive(worth), players, 4 * players, seed=0)
    assert made.values == pytest.approx(worth.T, abs=1e-4)
    assert made.standard_errors.max() < 1e-4
    assert made.empty == pytest.approx([0.25, 0.25])


@pytest.mark.parametrize("players", [20, 196])
def test_a_constant_target_has_zeros_and_no_error_beside_one_that_varies(players):
    def game(masks):
        return np.concatenate([np.full((len(masks), 1), 0.7), sigmoid(players)(masks)], axis=1)

    made = shapley.estimate(game, players, 4 * players, seed=0)
    assert np.isfinite(made.values).all()
    assert (made.values[0] == 0).all()
    assert (made.standard_errors[0] == 0).all()
    assert (made.standard_errors[1] > 0).all()
    assert made.empty[0] == 0.7


def test_values_add_up_and_follow_the_unit():
    game = sigmoid(12, targets=2)
    made = shapley.estimate(game, 12, 150, seed=1)
    ends = game(np.array([[True] * 12, [False] * 12]))
    assert made.values.sum(axis=1) == pytest.approx(ends[0] - ends[1], abs=1e-12)
    percent = shapley.estimate(lambda masks: 100 * game(masks), 12, 150, seed=1)
    assert percent.values == pytest.approx(100 * made.values, rel=1e-3)
    assert percent.standard_errors == pytest.approx(100 * made.standard_errors, rel=1e-3)


def test_the_prior_of_the_values_is_that_of_the_kernel():
    # With all pairs known nothing is left of the prior variance, and the values are the enumerated ones: both hold only
    # if the covariances, which are integrals over the kernel's Fourier basis, fit the kernel.
    players = 6
    masks = shapley._draw(2 ** (players - 1), players, 0)
    z, odd = 2.0 * masks - 1, shapley._odd_part(sigmoid(players), masks)[0]
    relevance = np.array([0.05, 0.2, 0.3, 0.5, 1.0, 2.0])
    inverse = np.linalg.inv(np.subtract(*shapley._kernel(z, relevance)))
    covariance, variance = shapley._prior_of_values(z, relevance)
    values = (covariance @ inverse @ odd).T
    assert values == pytest.approx(exact(sigmoid(players), players), abs=1e-9)
    assert (covariance @ inverse @ covariance.T).diagonal() == pytest.approx(variance, rel=1e-9)


@pytest.mark.parametrize("of", [None, np.arange(40) % 4])
def test_the_slope_of_the_posterior_of_the_hyperparameters_leads_to_its_top(of, monkeypatch):
    # Finite differences of the loss that `_hyperparameters` passes to the optimiser.
    masks = shapley._draw(40, 8, 0)
    z, odd = 2.0 * masks - 1, shapley._odd_part(sigmoid(8, targets=2), masks)[0]
    taken = {}
    minimize = shapley.minimize
    monkeypatch.setattr(shapley, "minimize", lambda loss, *a, **k: taken.update(loss=loss) or minimize(loss, *a, **k))
    shapley._hyperparameters(z, odd, of)
    x, step = np.log(np.linspace(0.1, 0.6, 8 if of is None else 9)), 1e-5
    loss = partial(taken["loss"], pairs=40)
    slope = loss(x)[1]
    numeric = [(loss(x + step * e)[0] - loss(x - step * e)[0]) / (2 * step) for e in np.eye(len(x))]
    assert slope == pytest.approx(numeric, rel=1e-4, abs=1e-4)


def test_the_error_is_at_most_six_tenths_of_shaps():
    import shap

    ours, theirs = [], []
    for seed in range(8):
        game = sigmoid(10, seed=seed)
        truth = exact(game, 10)[0]
        ours.append(error(shapley.estimate(game, 10, 200, seed).values[0], truth))
        state = np.random.get_state()  # shap draws from it
        np.random.seed(seed)
        explainer = shap.KernelExplainer(lambda masks, game=game: game(masks.astype(bool)), np.zeros((1, 10)))
        found = explainer.shap_values(np.ones((1, 10)), nsamples=198, l1_reg=False, silent=True)
        np.random.set_state(state)
        theirs.append(error(np.asarray(found).reshape(10), truth))
    assert np.median(ours) <= 0.6 * np.median(theirs)


@pytest.mark.parametrize("evaluations", [40, 120, 300, 700, 900])
def test_standard_errors_are_as_large_as_the_errors(evaluations):
    ratios = []
    for seed in range(15):
        game = sigmoid(10, targets=2, seed=seed)
        made = shapley.estimate(game, 10, evaluations, seed)
        ratios.append((made.values - exact(game, 10)) / made.standard_errors)
    ratios = np.array(ratios)
    assert 0.88 <= (np.abs(ratios) <= 2).mean() <= 0.99
    assert 0.7 <= np.sqrt(np.median(ratios**2)) / 0.6745 <= 1.4  # 1 for a normal distribution


@pytest.mark.parametrize("evaluations", [300, 700, 900, 1000])  # of 1,024
def test_standard_errors_hold_for_a_game_without_structure(evaluations):
    # Every coalition has a value of its own, which no other foretells, or that is a small part of it.
    masks = (np.arange(2**10)[:, None] >> np.arange(10) & 1).astype(bool)
    for share in (1.0, 0.02):
        within = []
        for seed in range(8):
            noise = np.random.default_rng(seed).standard_normal((2**10, 2))
            values = share * noise + (1 - share) * sigmoid(10, targets=2, seed=seed)(masks)
            game = lambda some, values=values: values[some @ (1 << np.arange(10))]  # noqa: E731
            made = shapley.estimate(game, 10, evaluations, seed)
            within.append(np.abs(made.values - exact(game, 10)) <= 1.96 * made.standard_errors)
        assert 0.88 <= np.mean(within) <= 0.995


def test_the_error_of_weights_if_all_pairs_are_independent():
    # All pairs, those that were not drawn with the weight 0: a sum of squares, pair by pair.
    players, drawn = 5, shapley._draw(6, 5, 0)
    weights = np.random.default_rng(0).normal(size=(6, players))
    every = shapley._draw(2 ** (players - 1), players, 0)
    assert (every[:6] == drawn).all()
    left = -shapley._weights(every)
    left[:6] += weights
    assert shapley._error_if_white(drawn, weights, 1) == pytest.approx((left**2).sum(axis=0))


def test_it_stops_when_the_standard_errors_are_small_enough():
    game = sigmoid(12, targets=2)
    whole = shapley.estimate(game, 12, 1000, seed=0)
    asking, asked = counted(game)
    made = shapley.estimate(asking, 12, 1000, seed=0, tolerance=3 * whole.standard_errors.max())
    assert whole.standard_errors.max() < made.standard_errors.max() <= 3 * whole.standard_errors.max()
    assert 4 * 12 < made.evaluations == len(asked) < 1000
    again = shapley.estimate(game, 12, made.evaluations, seed=0)  # as if no more had been allowed
    assert made.values == pytest.approx(again.values, abs=1e-12)
    assert np.abs(made.values - exact(game, 12)).max() < 4 * made.standard_errors.max()
    strict = shapley.estimate(game, 12, 301, seed=0, tolerance=1e-12)  # out of reach
    assert strict.evaluations == 300
    assert strict.values == pytest.approx(shapley.estimate(game, 12, 301, seed=0).values, abs=1e-12)
    assert shapley.estimate(sigmoid(6), 6, 1000, seed=0, tolerance=1e-12).standard_errors.max() == 0  # all evaluated


def several(games, players, targets=1):
    """Games that share half of what they are, and their mean."""
    own = [sigmoid(players, targets, seed=10 + game) for game in range(games)]
    shared, everyone = sigmoid(players, targets), np.ones((1, players), bool)

    def one(game, masks):
        # All players together are worth the same in all games, as the whole image is whatever lies behind it.
        return shared(masks) + 0.5 * (own[game](masks) - own[game](everyone))

    def value(masks, which):
        return np.concatenate([one(game, mask[None]) for mask, game in zip(masks, which, strict=True)])

    return value, lambda masks: sum(one(game, masks) for game in range(games)) / games


def test_the_mean_of_games_costs_what_one_game_does_and_is_nearer_than_few_coalitions_of_all():
    value, mean = several(20, 8)
    truth, drawn, product = exact(mean, 8), [], []
    for seed in range(6):
        made = shapley.estimate_mean(value, 20, 8, 400, seed)
        assert made.evaluations == 20 + 1 + 2 * 189
        assert made.values.sum() == pytest.approx(truth.sum())
        assert made.empty == pytest.approx(mean(np.zeros((1, 8), bool))[0])
        drawn.append(error(made.values, truth))
        product.append(error(shapley.estimate(mean, 8, 20, seed).values, truth))  # 20 coalitions in 20 games
    assert np.median(drawn) < np.median(product) / 2


def test_the_mean_of_additive_games_is_exact_once_each_is_known():
    worth = np.random.default_rng(0).normal(size=(5, 6))
    value = lambda masks, which: ((masks - 1) * worth[which]).sum(axis=1, keepdims=True)  # noqa: E731
    made = shapley.estimate_mean(value, 5, 6, 5 + 1 + 2 * 5 * 8, seed=0)
    assert made.values[0] == pytest.approx(worth.mean(axis=0), abs=1e-3)


def test_more_evaluations_than_there_are_pairs_give_the_exact_values_of_the_mean():
    value, mean = several(3, 5, targets=2)
    made = shapley.estimate_mean(value, 3, 5, 10_000, seed=0)
    assert made.evaluations == 3 + 1 + 2 * 3 * 15
    assert made.values == pytest.approx(exact(mean, 5), abs=1e-4)


def test_standard_errors_of_a_mean_hold_and_a_tolerance_stops_there():
    value, mean = several(10, 9)
    truth = exact(mean, 9)
    made = [shapley.estimate_mean(value, 10, 9, 200, seed) for seed in range(12)]
    within = np.mean([np.abs(one.values - truth) <= 1.96 * one.standard_errors for one in made])
    assert within > 0.85
    worst = made[0].standard_errors.max()
    early = shapley.estimate_mean(value, 10, 9, 2000, 0, tolerance=2 * worst)
    assert early.standard_errors.max() <= 2 * worst
    assert early.evaluations < 2000
