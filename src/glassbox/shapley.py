"""Shapley values of games with a few players to a few hundred: exact by enumeration, else estimated from pairs of
coalitions, each value with its standard error.

A game gives every coalition of S players a value, for T targets at once: a function from masks (M, S) of bool, True
where a player takes part, to values (M, T).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from threadpoolctl import ThreadpoolController

Game = Callable[[np.ndarray], np.ndarray]

PLAYERS = 16  # most whose coalitions are enumerated
FITTED = 256  # most pairs from which relevances are found: more make the search longer than its answer better
JITTER = 1e-10  # of the kernel's diagonal, which is 1; games are without noise
SPREAD = 0.5  # variance of the logarithm of relevances around their common mean
BOUNDS = (math.log(1e-4), math.log(3.0))  # of the logarithm of a relevance
STARTS = (0.03, 0.1, 0.3)  # relevances, the same for all players, of which the search begins with the best


@dataclass(frozen=True)
class Estimate:
    """Shapley values and how far to trust them.

    Attributes:
        values: (T, S); their sum is the value of all players together less that of none.
        standard_errors: (T, S), in the unit of the values; 0 where all coalitions were enumerated.
        empty: (T,) value of the coalition of none.
        evaluations: coalitions whose value was asked for.
    """

    values: np.ndarray
    standard_errors: np.ndarray
    empty: np.ndarray
    evaluations: int


def exact(game: Game, players: int) -> np.ndarray:
    """Shapley values (T, S) from all 2^S coalitions (Shapley 1953).

    Raises:
        ValueError: more than 16 players.
    """
    if players > PLAYERS:
        raise ValueError(f"{players} players have too many coalitions to enumerate: at most {PLAYERS} may have")
    masks = (np.arange(2**players)[:, None] >> np.arange(players) & 1).astype(bool)[::-1]  # everybody first
    half = masks[: len(masks) // 2]  # the others are their complements
    return _from_all(half, _odd(*_ask(game, half)))


def estimate(game: Game, players: int, evaluations: int, seed: int, tolerance: float | None = None) -> Estimate:
    """Shapley values from at most `evaluations` coalitions; exact ones where that is enough for all of them.

    Coalitions are evaluated in pairs with their complements (Covert & Lee 2021): half the difference of a pair's values
    is the odd part of the game, and Shapley values depend on nothing else. Sizes are equally frequent, as by leverage
    scores (Musco & Witter 2025), pairs are distinct, and with a longer draw the first ones stay the same.

    The odd part is taken for a Gaussian process without noise, so that the values, which are linear in it, have a
    posterior mean and a standard deviation (Bayesian quadrature: O'Hagan 1991). With z in
    {-1, 1}^S for a coalition, the prior covariance is sinh(sum_i r_i z_i z'_i), scaled: in the Fourier basis of
    products of players every product of an odd number of them has a variance of its own, in proportion to the product
    of the tanh r_i. The relevances r_i, one a player (automatic relevance determination, Neal 1996), are those of
    maximum posterior density, where log r_i is normal around a mean common to all players. They are shared by the
    targets; the scale, from leave-one-out residuals, is each target's own. How far standard errors can be trusted on a
    network is measured by `python -m benchmarks shapley`.

    Args:
        game: gives the values of coalitions; asked in growing rounds where there is a tolerance, else once.
        players: S, at least 1.
        evaluations: at least 2. Time beside the game grows with its cube, to about 15 s at 8,192, memory with its
            square.
        seed: of the draw.
        tolerance: stop as soon as no standard error is larger, in the unit of the values.
    """
    pairs = min(evaluations // 2, 2 ** (players - 1))
    masks = _draw(pairs, players, seed)
    done = pairs if tolerance is None else min(2 * players, pairs)
    values, complements = _ask(game, masks[:done])
    odd = _odd(values, complements)
    while True:
        with _blas().limit(limits=1, user_api="blas"):
            found = _solve(masks[:done], odd)
        if done == pairs or found[1].max() <= tolerance:
            return Estimate(*found, complements[0], 2 * done)
        more = min(done + done // 2 + 1, pairs)
        odd = np.concatenate([odd, _odd(*_ask(game, masks[done:more]))])
        done = more


@cache
def _blas() -> ThreadpoolController:
    """Matrices are small: where cores are shared, threads that wait for each other took hundreds of times as long."""
    return ThreadpoolController()


def _ask(game: Game, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values (M, T) of coalitions and of their complements."""
    values = game(np.concatenate([masks, ~masks]))
    return values[: len(masks)], values[len(masks) :]


def _odd(values: np.ndarray, complements: np.ndarray) -> np.ndarray:
    return (values - complements) / 2


def _draw(pairs: int, players: int, seed: int) -> np.ndarray:
    """One coalition of each pair (M, S): everybody first, then distinct ones of sizes 1 to S / 2."""
    rng = np.random.default_rng(seed)
    sizes = np.arange(1, players // 2 + 1)
    # Of half the players every pair is there twice, so that its size is drawn half as often.
    twice = 2 * sizes == players
    left = [math.comb(players, size) // (1 + both) for size, both in zip(sizes.tolist(), twice.tolist(), strict=True)]
    masks, seen = [np.ones(players, bool)], set()
    while len(masks) < pairs:
        weights = np.where(np.array(left) > 0, 1 / (1 + twice), 0)
        place = rng.choice(len(sizes), p=weights / weights.sum())
        mask = np.zeros(players, bool)
        mask[rng.permutation(players)[: sizes[place]]] = True
        if twice[place] and not mask[0]:
            mask = ~mask
        if mask.tobytes() not in seen:
            seen.add(mask.tobytes())
            left[place] -= 1
            masks.append(mask)
    return np.array(masks)


def _solve(masks: np.ndarray, odd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values and standard errors (T, S) from the odd part (M, T) of pairs, the first of which is everybody."""
    players, targets = masks.shape[1], odd.shape[1]
    if len(masks) == 2 ** (players - 1):
        return _from_all(masks, odd), np.zeros((targets, players))
    values, errors = np.zeros((2, targets, players))
    told = odd.any(axis=0)  # a target whose odd part is 0 has nothing but zeros, and no scale
    if told.any():
        values[told], errors[told] = _posterior(2.0 * masks - 1, odd[:, told])
    # What the jitter has left of the first pair.
    values += (2 * odd[0] - values.sum(axis=1))[:, None] / players
    return values, errors


def _from_all(masks: np.ndarray, odd: np.ndarray) -> np.ndarray:
    """Exact values (T, S) from all pairs: a player's contributions, averaged over the orders of all players."""
    players = masks.shape[1]
    others = masks.sum(axis=1, keepdims=True) - masks  # (M, S) of the coalition without the player
    share = np.array([1 / (players * math.comb(players - 1, size)) for size in range(players)])
    return 2 * (np.where(masks, 1, -1) * share[others]).T.dot(odd).T


def _posterior(z: np.ndarray, odd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posterior mean and standard deviation (T, S) of the Shapley values, given z (M, S) of -1 and 1."""
    pairs, players = z.shape
    relevance = _relevances(z[:FITTED], odd[:FITTED])
    inverse = cho_solve(cho_factor(_kernel(z, relevance)[0] + JITTER * np.eye(pairs)), np.eye(pairs))
    weights = inverse @ odd  # (M, T)
    covariance, variance = _prior_of_values(z, relevance)
    # Leave-one-out residuals (Rasmussen & Williams 2006, equation 5.12) in units of their standard deviations; they are
    # too small by what was spent on the relevances.
    scale = (weights**2 / inverse.diagonal()[:, None]).mean(axis=0) * (1 + players / pairs)
    left = variance - np.einsum("sm,mn,sn->s", covariance, inverse, covariance, optimize=True)
    return (covariance @ weights).T, np.sqrt(scale[:, None] * left.clip(min=0))


def _kernel(z: np.ndarray, relevance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sinh(a) and cosh(a) (M, M), a = sum_i r_i z_i z'_i, over the sinh of the largest a, which is that of equal z."""
    a, top = (z * relevance) @ z.T, relevance.sum()
    up, down = np.exp(a - top), np.exp(-a - top)  # no overflow with many players
    return (up - down) / -np.expm1(-2 * top), (up + down) / -np.expm1(-2 * top)


def _relevances(z: np.ndarray, odd: np.ndarray) -> np.ndarray:
    """(S,) of maximum posterior density; the targets' common scale is profiled out."""
    pairs = len(z)

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        relevance = np.exp(x)
        sinh, cosh = _kernel(z, relevance)
        factor = cho_factor(sinh + JITTER * np.eye(pairs), lower=True)
        weights = cho_solve(factor, odd)
        square = max((odd * weights).mean(), np.finfo(float).tiny)  # the scale; 0 where only later pairs are not
        gradient = cho_solve(factor, np.eye(pairs)) - weights @ weights.T / (square * odd.shape[1])
        value = (pairs * math.log(square) + 2 * np.log(factor[0].diagonal()).sum()) / 2
        slope = np.einsum("mi,mi->i", z, (gradient * cosh) @ z) - (gradient * sinh).sum() / np.tanh(relevance.sum())
        off = x - x.mean()
        return value + (off**2).sum() / (2 * SPREAD), slope * relevance / 2 + off / SPREAD

    start = min((np.full(z.shape[1], math.log(r)) for r in STARTS), key=lambda x: loss(x)[0])
    options = {"maxiter": 15}
    return np.exp(minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[BOUNDS] * len(start), options=options).x)


def _prior_of_values(z: np.ndarray, relevance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Prior covariance (S, M) of the Shapley values with the odd part at z, and their prior variance (S,).

    A player's value is 2 sum_A c_A / |A| over the products A of an odd number of players, him among them, with
    coefficient c_A, whose variance is prod_{i in A} tanh r_i. 1 / |A| is the integral of t^(|A| - 1) over 0..1, which
    leaves the even part of prod_j (1 + t tanh(r_j) z_j) over the other players, of degree S - 1 in t: exact by
    Gauss-Legendre quadrature.
    """
    players = len(relevance)
    nodes, weights = np.polynomial.legendre.leggauss(players // 2 + 1)
    nodes, weights = (nodes + 1) / 2, weights / 2
    tanh, top = np.tanh(relevance), relevance.sum()
    norm = -np.expm1(-2 * top) / 2 * np.exp(np.log1p(tanh).sum())  # the kernel's largest value in this basis

    def others(t: np.ndarray, signs: np.ndarray) -> np.ndarray:
        """Even part of the product over all players but each one, over `norm`: t (Q,), signs (M, S) to (M, S, Q)."""
        both = []
        for sign in (1, -1):
            logs = np.log1p(sign * signs[..., None] * tanh[:, None] * t)
            both.append(np.exp(logs.sum(axis=1, keepdims=True) - logs))
        return (both[0] + both[1]) / (2 * norm)

    covariance = np.zeros((players, len(z)))
    for t, weight in zip(nodes, weights, strict=True):
        covariance += (weight * 2 * tanh * z * others(np.array([t]), z)[..., 0]).T
    products = others(np.outer(nodes, nodes).ravel(), np.ones((1, players)))[0]
    return covariance, 4 * tanh * (products @ np.outer(weights, weights).ravel())
