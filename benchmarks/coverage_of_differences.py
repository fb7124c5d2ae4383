"""Intervals and tests of two classifiers on the same images (`statistics.paired`, `comparing.classifiers`): how often
the intervals cover the true difference, and how many comparisons of two alike call one of them better or worse.

Five classifiers of scikit-learn's digits give probabilities for all 1,797 images by cross-validation. These images are
the population, whose differences are known; test sets are drawn from it with replacement. In the last pair the two
differ in 8 of the images. For the false claims each image's two answers change places at random, so that the two
classifiers are alike. About 8 minutes on 2 cores, so only when named: python -m benchmarks coverage_of_differences
"""

import warnings
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.neural_network import MLPClassifier

from benchmarks import harness
from glassbox.comparing import classifiers
from glassbox.comparing.classifiers import Answers
from glassbox.statistics import bootstrap, paired

SIZES = (50, 100, 300, 1000)
COVERED, CLAIMED = 500, 200  # test sets of each size
METRICS = ("accuracy", "macro_f1", "log_loss", "brier")


def answers() -> dict[str, Answers]:
    """By name."""
    images, labels = load_digits(return_X_y=True)
    overfitted = MLPClassifier((64,), max_iter=400, alpha=0, tol=0, n_iter_no_change=400, random_state=2)
    models = {
        "network": MLPClassifier((64,), max_iter=150, random_state=0),
        "network, another seed": MLPClassifier((64,), max_iter=150, random_state=1),
        "overfitted network": overfitted,
        "logistic regression": LogisticRegression(max_iter=2000),
        "random forest": RandomForestClassifier(100, min_samples_leaf=3, random_state=0),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        made = {
            name: cross_val_predict(model, images / 16, labels, cv=5, method="predict_proba")
            for name, model in models.items()
        }
    return {name: Answers(labels, p) for name, p in made.items()}


def nearly(answers: Answers) -> Answers:
    """The same answers but for 8 images, whose two likeliest classes change places."""
    p = answers.probabilities.copy()
    for row in np.random.default_rng(0).permutation(np.flatnonzero(answers.right))[:8]:
        first, second = np.argsort(-p[row])[:2]
        p[row, [first, second]] = p[row, [second, first]]
    return Answers(answers.labels, p)


def drawn(rows: np.ndarray, *both: Answers) -> list[Answers]:
    return [Answers(one.labels[rows], one.probabilities[rows]) for one in both]


def intervals(a: Answers, b: Answers, seed: int) -> dict[str, tuple[float, float]]:
    """Of each metric that has one."""
    only_a, only_b = (int((one.right & ~other.right).sum()) for one, other in ((a, b), (b, a)))
    differences = {metric: of(b) - of(a) for metric, of in classifiers.BY_IMAGE.items()}
    return {
        "accuracy": paired.accuracy_interval(only_a, only_b, len(a.labels)),
        "macro_f1": paired.macro_f1_interval(a.labels, a.predicted, b.predicted, a.probabilities.shape[1]),
    } | {
        metric: bootstrap.interval(values, seed)
        for metric, values in differences.items()
        if classifiers.enough(metric, values)
    }


def coverage(a: Answers, b: Answers, n: int) -> dict[str, float | None]:
    """Share of the intervals that hold the difference of the population, of the test sets of n images that have one;
    None where none has."""
    truth = classifiers.versus(a, b, 10, 0).metrics.set_index("metric")["difference"]
    rng = np.random.default_rng(n)
    covered: dict[str, list[bool]] = {metric: [] for metric in METRICS}
    for seed in range(COVERED):
        for metric, (low, high) in intervals(*drawn(rng.integers(0, len(a.labels), n), a, b), seed).items():
            covered[metric].append(bool(low <= truth[metric] <= high))
    return {metric: float(np.mean(held)) if held else None for metric, held in covered.items()}


def false_claims(a: Answers, b: Answers, n: int) -> float:
    """Share of the test sets of n images on which two that are alike are said to differ in one metric or more."""
    rng, claims = np.random.default_rng(n), 0
    for seed in range(CLAIMED):
        one, other = drawn(rng.integers(0, len(a.labels), n), a, b)
        exchanged = rng.integers(0, 2, (n, 1)) == 1
        sides = ((one, other), (other, one))
        both = [Answers(one.labels, np.where(exchanged, q.probabilities, p.probabilities)) for p, q in sides]
        found = classifiers.versus(*both, 10, seed).metrics["outcome"]
        claims += bool(found.isin((classifiers.BETTER, classifiers.WORSE)).any())
    return claims / CLAIMED


def main() -> None:
    made, rows = answers(), []
    network = made["network"]
    pairs = {
        "network, two seeds": (network, made["network, another seed"]),
        "network, logistic regression": (network, made["logistic regression"]),
        "network, overfitted network": (network, made["overfitted network"]),
        "overfitted network, random forest": (made["overfitted network"], made["random forest"]),
        "network, nearly the same": (network, nearly(network)),
    }
    for name, (a, b) in pairs.items():
        share = float((a.right != b.right).mean())
        for n in SIZES:
            row: dict[str, Any] = {"pair": name, "images": n, "discordant": n * share}
            row |= {"covered": coverage(a, b, n), "false_claims": false_claims(a, b, n)}
            rows.append(row)
            shares = ", ".join(
                f"{metric} {'-' if held is None else f'{held:.3f}'}" for metric, held in row["covered"].items()
            )
            print(
                f"{name}, {n} images, {row['discordant']:.1f} discordant: covered {shares}; "
                f"false claims {row['false_claims']:.3f}",
                flush=True,
            )
    harness.record("coverage_of_differences", rows)
