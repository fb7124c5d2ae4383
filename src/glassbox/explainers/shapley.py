"""Shapley values (Shapley 1953) of games with a few players to a few hundred, estimated from pairs of coalitions, each
value with its standard error; exact where all coalitions are evaluated.

A game is a function from coalitions of S players, masks (M, S) of bool, to their values (M, T) for T targets.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy.linalg import cholesky, lapack
from scipy.optimize import minimize
from threadpoolctl import ThreadpoolController

from glassbox.core.seeds import derive

Game = Callable[[np.ndarray], np.ndarray]
Games = Callable[[np.ndarray, np.ndarray], np.ndarray]  # masks (M, S), and the number of the game of each (M,)

FITTED = 160  # most pairs from which relevances are fitted; more take longer and hardly change them
ROUNDS = ((64, 8), (FITTED, 3))  # of that fit: most pairs and steps; more steps left the errors as they are
BLOCK = 256  # pairs drawn at a time
KNOWN = 128  # where one of so many pairs is known, standard errors allow for interactions of many players
JITTER = 1e-10  # added to the kernel's diagonal, which is 1; games are without noise
SPREAD = 0.5  # variance of the logarithm of relevances around their common mean
BOUNDS = (math.log(1e-4), math.log(3.0))  # of the logarithm of a relevance
STARTS = (0.03, 0.1, 0.3)  # relevances, the same for all players; the fit starts with the best
OWN = (math.log(1e-4), math.log(1e3))  # of the logarithm of a game's own variance over the shared one


@dataclass(frozen=True)
class Estimate:
    """Shapley values and how far to trust them. Standard errors are 0 where all coalitions were enumerated, or where
    every pair of complements that was evaluated had equal values; about 95 % of exact values lie within 1.96 of them.
    """

    values: np.ndarray  # (T, S); their sum is the value of all players together less that of none
    standard_errors: np.ndarray  # (T, S), in the unit of the values
    empty: np.ndarray  # (T,) value of the coalition of none
    evaluations: int  # evaluated coalitions


def estimate(game: Game, players: int, evaluations: int, seed: int, tolerance: float | None = None) -> Estimate:
    """Shapley values from at most `evaluations` coalitions; exact ones where that is enough for all of them.

    Coalitions are evaluated in pairs with their complements (Covert & Lee 2021): half the difference of a pair's values
    is the odd part of the game, and Shapley values depend on nothing else. Sizes are equally frequent, as by leverage
    scores (Musco & Witter 2025), pairs are distinct, and a longer draw begins with the shorter one.

    The odd part is modelled as a Gaussian process without noise, so that the values, which are linear in it, have a
    posterior mean and a standard deviation (Bayesian quadrature: O'Hagan 1991). With z in {-1, 1}^S for a coalition,
    the prior covariance is sinh(sum_i r_i z_i z'_i), scaled: in the Fourier basis of products of players every product
    of an odd number of them has a variance of its own, in proportion to the product of the tanh r_i. The relevances
    r_i, one a player (automatic relevance determination, Neal 1996), have maximum posterior density, where log r_i is
    normal around a mean common to all players. The targets share them; each target has its own scale, from
    leave-one-out residuals.

    The standard error estimates the root mean square error of a value, from the leave-one-out residuals: what the
    process does not predict of a pair from all others. It takes residuals of similar pairs as correlated. But
    interactions of many players are stronger in a network than in the process, and with many pairs known little else
    remains: errors were 1.3 to 1.7 times as large at 3,000 of the 4,096 evaluations of 12 players. So, where more than
    one of 128 pairs is known, it is at least what it would be with an odd part that is independent from pair to pair.
    Checked by `python -m benchmarks shapley`; docs/performance.md has the share of exact values within 1.96 standard
    errors. It is least sure where few pairs are unknown: 88 % lay within at 3,800 of 4,096 evaluations of synthetic
    smooth games, 89 and 99.5 % at 4,094 of a network's.

    Args:
        game: gives the values of coalitions; called in growing rounds with a tolerance, else once.
        players: S, at least 1.
        evaluations: at least 2. Time besides the game grows with its cube, to about 15 s at 8,192, memory with its
            square.
        seed: seed of the draw.
        tolerance: stop as soon as no standard error is larger, in the unit of the values.
    """
    pairs = min(evaluations // 2, 2 ** (players - 1))
    masks = _draw(pairs, players, seed)
    done = pairs if tolerance is None else min(2 * players, pairs)
    odd, complements = _odd_part(game, masks[:done])
    while True:
        values, errors = _solve(masks[:done], odd)
        if done == pairs or errors.max() <= tolerance:
            return Estimate(values, errors, complements[0], 2 * done)
        more = min(done + done // 2 + 1, pairs)
        odd = np.concatenate([odd, _odd_part(game, masks[done:more])[0]])
        done = more


def estimate_mean(
    value: Games, games: int, players: int, evaluations: int, seed: int, tolerance: float | None = None
) -> Estimate:
    """Shapley values of the mean of several games, such as those with one background image each: a pair of coalitions
    is evaluated in one game, the games taking turns, and not in all of them.

    As in `estimate`, but the odd part of a game is the sum of two Gaussian processes: one that all games share, and one
    of its own, with the same covariance times a factor, which is fitted with the relevances. The values of the mean
    game are linear in both. The pair of all players and none is known in every game.

    Args:
        value: gives the values of coalitions, each in a game of 0 to games - 1. That of all players is the same in all.
        games: B, at least 2.
        evaluations: at least B + 3: all players, none in every game, and pairs.
        players, seed, tolerance: see `estimate`.
    """
    pairs = min((evaluations - games - 1) // 2, games * (2 ** (players - 1) - 1))
    turns = np.random.default_rng(seed).permutation(games)[np.arange(pairs) % games]
    drawn = [_draw(1 + -(-pairs // games), players, derive(seed, game))[1:] for game in range(games)]
    masks = np.array([drawn[game][pair // games] for pair, game in enumerate(turns)])

    def odd_part(part: np.ndarray, which: np.ndarray) -> np.ndarray:
        return _odd_part(lambda both: value(both, np.tile(which, 2)), part)[0]

    everyone, of = np.ones((games, players), bool), np.arange(games)
    none = value(~everyone, of)
    known, odd, done = everyone, (value(everyone[:1], of[:1]) - none) / 2, 0
    while True:
        more = pairs if tolerance is None else min(max(done + done // 2 + 1, 2 * players), pairs)
        part, which = masks[done:more], turns[done:more]
        odd = np.concatenate([odd, odd_part(part, which)])
        known, of, done = np.concatenate([known, part]), np.concatenate([of, which]), more
        found, errors = _solve(known, odd, of)
        if done == pairs or errors.max() <= tolerance:
            return Estimate(found, errors, none.mean(axis=0), games + 1 + 2 * done)


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def _odd_part(game: Game, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Half the difference (M, T) of the values of coalitions and their complements, and the values of the latter."""
    values, complements = np.split(game(np.concatenate([masks, ~masks])), 2)
    return (values - complements) / 2, complements


def _draw(pairs: int, players: int, seed: int) -> np.ndarray:
    """One coalition of each pair (M, S): that of all players first, then distinct ones of sizes 1 to S / 2."""
    rng = np.random.default_rng(seed)
    sizes = np.arange(1, players // 2 + 1)
    # Both coalitions of a pair may have half the players, so that this size is drawn half as often.
    twice = 2 * sizes == players
    left = np.array([math.comb(players, size) for size in sizes.tolist()], object) // (1 + twice)
    masks, seen = [np.ones(players, bool)], set()

    def drawn(places: np.ndarray) -> np.ndarray:
        """A random coalition of each of these sizes (N, S)."""
        coalitions = rng.permuted(np.tile(np.arange(players), (len(places), 1)), axis=1) < sizes[places, None]
        coalitions[twice[places] & ~coalitions[:, 0]] ^= True  # always the same one of such a pair
        return coalitions

    while len(masks) < pairs:
        weights = (left > 0) / (1 + twice)
        places = rng.choice(len(sizes), BLOCK, p=weights / weights.sum())
        for place, mask in zip(places, drawn(places), strict=True):
            while left[place] and mask.tobytes() in seen:
                mask = drawn(place[None])[0]
            if left[place]:
                seen.add(mask.tobytes())
                left[place] -= 1
                masks.append(mask)
    return np.array(masks[:pairs])


def _solve(masks: np.ndarray, odd: np.ndarray, of: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Values and standard errors (T, S) from the odd part (M, T) of pairs, among them that of all players and none;
    `of` (M,) is the game of each, where there are several."""
    players, targets = masks.shape[1], odd.shape[1]
    if of is None and len(masks) == 2 ** (players - 1):
        return (_weights(masks).T @ odd).T, np.zeros((targets, players))
    values, errors = np.zeros((2, targets, players))
    varies = odd.any(axis=0)  # elsewhere all values are 0, and there is no scale
    if varies.any():
        # Where cores are shared, threads of small matrices that wait for each other took hundreds of times as long.
        with _blas().limit(limits=1, user_api="blas"):
            values[varies], errors[varies] = _posterior(2.0 * masks - 1, odd[:, varies], of)
    total = 2 * odd[masks.all(axis=1)].mean(axis=0)
    values += (total - values.sum(axis=1))[:, None] / players  # what the jitter changed of that sum
    return values, errors


def _weights(masks: np.ndarray) -> np.ndarray:
    """Weights (M, S) of each pair's odd part in the exact values: a player's contributions, averaged over all orders of
    the players."""
    players = masks.shape[1]
    others = masks.sum(axis=1, keepdims=True) - masks  # (M, S) size of the coalition without the player
    share = np.array([1 / (players * math.comb(players - 1, size)) for size in range(players)])
    return 2 * np.where(masks, 1, -1) * share[others]


def _posterior(z: np.ndarray, odd: np.ndarray, of: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Posterior mean and standard deviation (T, S) of the Shapley values, given z (M, S) of -1 and 1."""
    (pairs, players), games = z.shape, 1 if of is None else of.max() + 1
    relevance, own = _hyperparameters(z, odd, of)
    covariance, variance = _prior_of_values(z, relevance)
    up, down = _kernel(z, relevance)
    up -= down
    if of is not None:
        up *= _between(of, own)
        averaged = (1 + own / games) / (1 + own)
        covariance, variance = averaged * covariance, averaged * variance
    factor, solved = _solve_lower(up, np.concatenate([odd, covariance.T], axis=1))  # (M, M), (M, T + S)
    of_odd, of_values = solved[:, : odd.shape[1]], solved[:, odd.shape[1] :]
    # Leave-one-out residuals (Rasmussen & Williams 2006, equation 5.12) in units of their standard deviations; they are
    # too small by what was spent on the relevances. The last pairs are enough, and need a corner of the factor only.
    last = slice(max(0, pairs - FITTED), pairs)
    root = lapack.dtrtri(factor[last, last], lower=True)[0]  # (L, L)
    units = (root**2).sum(axis=0)[:, None]  # of the residuals' variances, over them
    squares = (root.T @ of_odd[last]) ** 2 / units * (1 + players / pairs)  # (L, T)
    left = variance - (of_values**2).sum(axis=0)
    white = np.zeros((odd.shape[1], players))
    if KNOWN * pairs > games * 2 ** (players - 1):
        corner = np.concatenate([np.zeros((last.start, len(root))), root])
        right = torch.from_numpy(np.concatenate([corner, of_values], axis=1))
        weights = torch.linalg.solve_triangular(torch.from_numpy(factor).T, right, upper=True).numpy()
        of_residuals, of_mean = weights[:, : len(root)], weights[:, len(root) :]  # (M, L) times `units`, (M, S)
        scale = (squares * units / (of_residuals**2).sum(axis=0)[:, None]).mean(axis=0)  # (T,)
        white = scale[:, None] * _error_if_white(z > 0, of_mean, games)
        left -= JITTER * (of_mean**2).sum(axis=0)  # which near all pairs would be most of it; but games have no noise
    process = squares.mean(axis=0)[:, None] * left.clip(min=0)
    return of_odd.T @ of_values, np.sqrt(np.maximum(process, white))


def _error_if_white(masks: np.ndarray, weights: np.ndarray, games: int) -> np.ndarray:
    """Variance (S,) of the error of values that weigh the odd part at masks (M, S) by `weights` (M, S), were that part
    independent from pair to pair and from game to game, of variance 1."""
    players, right = masks.shape[1], _weights(masks) / games
    # Of each pair one coalition has the player; its weight depends on the number of the others there.
    all_pairs = sum(4 / (players**2 * math.comb(players - 1, others)) for others in range(players))
    unseen = all_pairs / games - (right**2).sum(axis=0)
    return unseen.clip(min=0) + ((weights - right) ** 2).sum(axis=0)


def _inverse_factor(kernel: np.ndarray) -> np.ndarray:
    """Inverse of the lower triangular L (M, M), L L' being the kernel with its jitter."""
    jittered = (kernel + JITTER * np.eye(len(kernel))).T  # in Fortran's order, as LAPACK takes it
    return lapack.dtrtri(cholesky(jittered, lower=True, overwrite_a=True, check_finite=False), lower=True)[0]


def _solve_lower(kernel: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """L (M, M), L L' being the kernel with its jitter, and the solution of L X = right (M, N); by PyTorch, whose
    threads are those that the game has just used: others would wait for them."""
    matrix = torch.from_numpy(kernel)
    matrix.diagonal().add_(JITTER)
    factor = torch.linalg.cholesky(matrix)
    return factor.numpy(), torch.linalg.solve_triangular(factor, torch.from_numpy(right), upper=False).numpy()


def _kernel(z: np.ndarray, relevance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """exp(a) and exp(-a) (M, M), a = sum_i r_i z_i z'_i, over twice the sinh of the largest a, which is that of equal
    z. Their difference is the kernel: sinh(a), over that of equal z."""
    a, top = (z * relevance) @ z.T, relevance.sum()
    over = top + math.log(-math.expm1(-2 * top))
    down = -over - a
    a -= over
    return np.exp(a, out=a), np.exp(down, out=down)  # each at most 1, however many players


def _between(of: np.ndarray, own: float) -> np.ndarray:
    """Share (M, M) of the covariance that pairs of these games have, `own` being a game's own variance over the shared
    one."""
    return (1 + own * (of[:, None] == of)) / (1 + own)


def _hyperparameters(z: np.ndarray, odd: np.ndarray, of: np.ndarray | None) -> tuple[np.ndarray, float]:
    """Relevances (S,) and, where there are several games, a game's own variance over the shared one, else 0, of maximum
    posterior density; the targets' common scale is profiled out."""
    players, several = z.shape[1], of is not None
    if several:  # the first pairs, which are fitted, come from few games, so that what is a game's own shows
        rows = np.argsort(of, kind="stable")
        z, odd, of = z[rows], odd[rows], of[rows]

    def loss(x: np.ndarray, pairs: int) -> tuple[float, np.ndarray]:
        """Negative log density of the logarithms of relevances and ratio, by the first pairs alone; its gradient."""
        relevance, z_, odd_ = np.exp(x[:players]), z[:pairs], odd[:pairs]
        up, down = _kernel(z_, relevance)
        sinh, cosh = up - down, up + down
        if several:
            own = math.exp(x[players])
            between = _between(of[:pairs], own)
            plain, sinh, cosh = sinh, sinh * between, cosh * between
        root = _inverse_factor(sinh)
        solved = root @ odd_
        weights = root.T @ solved
        square = max((solved**2).mean(), np.finfo(float).tiny)  # the scale; 0 where only later pairs are not
        gradient = root.T @ root - weights @ weights.T / (square * odd_.shape[1])
        value = pairs * math.log(square) / 2 - np.log(root.diagonal()).sum()
        slope = ((gradient * cosh) @ z_ * z_).sum(axis=0) - (gradient * sinh).sum() / np.tanh(relevance.sum())
        off = x[:players] - x[:players].mean()
        slope = slope * relevance / 2 + off / SPREAD
        if several:
            elsewhere = of[:pairs, None] != of[:pairs]
            slope = np.append(slope, -own / (1 + own) ** 2 * (gradient * plain)[elsewhere].sum() / 2)
        return value + (off**2).sum() / (2 * SPREAD), slope

    starts = (np.append(np.full(players, math.log(relevance)), [0.0] * several) for relevance in STARTS)
    x = min(starts, key=lambda x: loss(x, min(ROUNDS[0][0], len(z)))[0])
    for pairs, steps in ROUNDS:
        bounds, options = [BOUNDS] * players + [OWN] * several, {"maxiter": steps}
        x = minimize(loss, x, min(pairs, len(z)), "L-BFGS-B", jac=True, bounds=bounds, options=options).x
    return np.exp(x[:players]), math.exp(x[players]) if several else 0.0


def _prior_of_values(z: np.ndarray, relevance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Prior covariance (S, M) of the Shapley values with the odd part at z, and their prior variance (S,).

    A player's value is 2 sum_A c_A / |A| over the products A of an odd number of players that contain it, with
    coefficient c_A, whose variance is prod_{i in A} tanh r_i. 1 / |A| is the integral of t^(|A| - 1) over 0..1, which
    leaves the even part of prod_j (1 + t tanh(r_j) z_j) over the other players, of degree S - 1 in t: exact by
    Gauss-Legendre quadrature.
    """
    players = len(relevance)
    nodes, weights = np.polynomial.legendre.leggauss(players // 2 + 1)
    nodes, weights = (nodes + 1) / 2, weights / 2
    tanh, top = np.tanh(relevance), relevance.sum()
    # The kernel's largest value in this basis, as a logarithm.
    norm = math.log(-math.expm1(-2 * top) / 2) + np.log1p(tanh).sum()

    def products(t: np.ndarray, signs: np.ndarray) -> tuple[np.ndarray, ...]:
        """Of 1 + t tanh(r_j) z_j over all players, over `norm`, at z = `signs` (M, S) and at -z: the sum and the
        difference of the two, (M, Q) each, for t (Q,). And of what a player's own factor divides them by, at z = 1 and
        z = -1, half the sum and half the difference, (S, Q) each."""
        factors = t * tanh[:, None]
        up, down = np.log1p(factors), np.log1p(-factors)
        middle, way = (up + down).sum(axis=0) / 2 - norm, signs @ ((up - down) / 2)
        high, low = np.exp(middle + way), np.exp(middle - way)
        return high + low, high - low, 1 / (1 - factors**2), -factors / (1 - factors**2)

    sums, differences, even, odd = products(nodes, z)
    # A player's factor is taken out of the product: on the same side it is that of z_i, on the other that of -z_i.
    covariance = tanh[:, None] * (z.T * ((even * weights) @ sums.T) + (odd * weights) @ differences.T)
    sums, differences, even, odd = products(np.outer(nodes, nodes).ravel(), np.ones((1, players)))
    inner = (even * sums + odd * differences) / 2  # (S, Q * Q)
    return covariance, 4 * tanh * (inner @ np.outer(weights, weights).ravel())
