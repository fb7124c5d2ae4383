"""Is a repaired network better than the original, than one with as much further training, and than one with the same
repair elsewhere? Further trainings with several seeds are compared pair by pair on the same test images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import scipy

from glassbox.core.text import MINUS, counted
from glassbox.statistics import paired
from glassbox.statistics.comparison import holm
from glassbox.statistics.paired import LEVEL

CLEAN, MOVED = "clean", "moved"  # test images as they are, and with the candidates on the wrong classes
PLANTED = "planted mark moved"  # the same with the true mark, where it is known
WORST = "worst_group"
ORIGINAL, MORE, ELSEWHERE = "original", "more training", "elsewhere"
RIVALS = {
    ORIGINAL: "the original",
    MORE: "as many further epochs without a repair",
    ELSEWHERE: "the same repair at random",
}
FIXED, HELPED, NO_BETTER = "fixed", "helped, not proven", "no better than more training"
COST = 0.01  # of accuracy on clean images, that a repair may take at most
MAJORITY = 0.5  # share of the pairs in which McNemar's test must find a difference, for a claim


@dataclass(frozen=True)
class Answers:
    """Predicted classes (N,) of the test images by version of these, of the original network, and of each further
    training: `trained[arm][repeat][version]`. An arm is `MORE`, a way, or a way with " elsewhere"."""

    labels: np.ndarray
    original: Mapping[str, np.ndarray]
    trained: Mapping[str, Sequence[Mapping[str, np.ndarray]]]

    def of(self, arm: str, repeat: int) -> Mapping[str, np.ndarray]:
        """The predictions of a network by version."""
        return self.original if arm == ORIGINAL else self.trained[arm][repeat]

    def accuracy(self, arm: str, repeat: int, version: str) -> float:
        """Of all test images of a version."""
        return float((self.of(arm, repeat)[version] == self.labels).mean())

    def worst_group(self, arm: str, repeat: int) -> float:
        """The lowest accuracy of a class, with the candidates on the right or on the wrong classes."""
        answers = self.of(arm, repeat)
        return min(
            float((answers[version][self.labels == label] == label).mean())
            for version in (CLEAN, MOVED)
            for label in np.unique(self.labels)
        )


def arm_of(way: str, rival: str) -> str:
    """The arm that a way is compared with."""
    return f"{way} {ELSEWHERE}" if rival == ELSEWHERE else rival


def pairs(answers: Answers, ways: Sequence[str]) -> pd.DataFrame:
    """Every pair of a repaired network and a rival: `way`, `against`, `measure`, `repeat`, `value` and `value_against`.
    A measure is the accuracy on a version of the test images, for which there are also the images that `only_repaired`
    and `only_against` recognises, and `p` of McNemar's exact test; or `WORST`, see `Answers.worst_group`."""
    rows = []
    for way, rival, repeat in product(ways, RIVALS, range(len(answers.trained[ways[0]]))):
        other, about = arm_of(way, rival), {"way": way, "against": rival, "repeat": repeat}
        for version in answers.original:
            ours, theirs = (answers.of(arm, repeat)[version] == answers.labels for arm in (way, other))
            only, only_against = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
            values = {"value": ours.mean(), "value_against": theirs.mean()}
            test = {"only_repaired": only, "only_against": only_against, "p": paired.mcnemar(only, only_against)}
            rows.append(about | {"measure": version} | values | test)
        worst = (answers.worst_group(arm, repeat) for arm in (way, other))
        rows.append(about | {"measure": WORST} | dict(zip(("value", "value_against"), worst, strict=True)))
    return pd.DataFrame(rows)


def over_repeats(differences: np.ndarray, images: int) -> tuple[float, float, float, float]:
    """Mean of paired differences (R,) of accuracies, with its 95 % interval and p-value by Student's t over the
    repeats. Their standard deviation counts as half of one of so many images at least: differences that are all the
    same do not make a mean certain.

    Returns:
        Mean, low, high, p. The last three are NaN of a single difference.

    >>> [round(value, 4) for value in over_repeats(np.array([0.1, 0.2, 0.3]), 100)]
    [0.2, -0.0484, 0.4484, 0.0742]
    """
    n, mean = len(differences), float(differences.mean())
    if n < 2:
        return mean, np.nan, np.nan, np.nan
    error = max(float(differences.std(ddof=1)), 0.5 / images) / np.sqrt(n)
    half = float(scipy.stats.t.ppf(1 - LEVEL / 2, n - 1) * error)
    return mean, mean - half, mean + half, float(2 * scipy.stats.t.sf(abs(mean) / error, n - 1))


def compared(table: pd.DataFrame, images: int, claim: str = MOVED) -> pd.DataFrame:
    """Each way against each rival in each measure, over the repeats of a table of `pairs` from so many test images.
    What is to be shown is a difference in the measure `claim`.

    Returns:
        `way`, `against`, `measure`; mean `value` and `value_against`; `repeats`; `difference` with its interval `low`,
        `high` and `p`, see `over_repeats`; `significant`, in how many repeats McNemar's test finds a difference in the
        same direction at 5 %, NaN of groups; `p_holm` of the claim, corrected for all ways and rivals, NaN of other
        measures.
    """
    rows = []
    for key, part in table.groupby(["way", "against", "measure"], sort=False):
        differences = (part["value"] - part["value_against"]).to_numpy()
        ends = dict(zip(("difference", "low", "high", "p"), over_repeats(differences, images), strict=True))
        found = int(((part["p"] < LEVEL) & (np.sign(differences) == np.sign(ends["difference"]))).sum())
        rows.append(
            dict(zip(("way", "against", "measure"), key, strict=True))
            | {"value": part["value"].mean(), "value_against": part["value_against"].mean(), "repeats": len(part)}
            | ends
            | {"significant": found if part["p"].notna().any() else np.nan}
        )
    result = pd.DataFrame(rows)
    claims = result["measure"] == claim
    result.loc[claims, "p_holm"] = holm(result.loc[claims, "p"].to_numpy(dtype=float))
    return result


def verdict(table: pd.DataFrame, way: str, still_found: bool, claim: str = MOVED) -> dict[str, Any]:
    """The `outcome` of a way, from the table of `compared`, with the `reasons` against "fixed", a `sentence`, and the
    `evidence` as a list of differences.

    "fixed": with the candidates on the wrong classes the repaired network is better than each rival, by Student's test
    over the repeats after Holm's correction and by McNemar's in most of them; the interval of its accuracy on clean
    images, less that of the original, ends above -`COST`; and it is not `still_found`, by a test of the candidates or
    by another audit. "helped, not proven": it is better than more training, and one of these fails. "no better than
    more training": otherwise.
    """
    rows = table[table["way"] == way].set_index(["against", "measure"])

    def is_better(rival: str) -> bool:
        row = rows.loc[(rival, claim)]
        shown = row["p_holm"] < LEVEL and row["significant"] > MAJORITY * row["repeats"]
        return bool(row["difference"] > 0 and shown)

    beaten = {rival: is_better(rival) for rival in RIVALS}
    cost = rows.loc[(ORIGINAL, CLEAN)]
    reasons = [f"not shown to be better than {RIVALS[rival]}" for rival, better in beaten.items() if not better]
    if not cost["low"] > -COST:
        sure = "is" if cost["high"] < -COST else "may be"
        reasons.append(f"the accuracy on clean images {sure} more than 1 point lower")
    if still_found:
        reasons.append("a repaired network still leans on it")
    outcome = FIXED if not reasons else HELPED if beaten[MORE] else NO_BETTER
    first, why = rows.loc[(ORIGINAL, claim)], f" ({'; '.join(reasons)})" if reasons else ""
    sentence = (
        f"{way}: {outcome}{why}. With the shortcut on the wrong classes accuracy is {100 * first['value']:.1f} % "
        f"instead of {100 * first['value_against']:.1f} %, on clean images {100 * cost['value']:.1f} % instead of "
        f"{100 * cost['value_against']:.1f} % (means over {counted(int(first['repeats']), 'repeat')})."
    )
    evidence = _evidence(rows, claim)
    return {"way": way, "outcome": outcome, "reasons": reasons, "sentence": sentence, "evidence": evidence}


def _evidence(rows: pd.DataFrame, claim: str) -> list[str]:
    """The differences on which a verdict rests, in words."""
    beyond = [
        f"{_points(row)} beyond {words} (Holm-corrected p = {row['p_holm']:.2g}, McNemar's p < {LEVEL} in "
        f"{int(row['significant'])} of {int(row['repeats'])})"
        for rival, words in RIVALS.items()
        for row in [rows.loc[(rival, claim)]]
    ]
    cost, worst = rows.loc[(ORIGINAL, CLEAN)], rows.loc[(ORIGINAL, WORST)]
    return [
        *beyond,
        f"{_points(cost)} on clean images, against the original",
        f"{100 * worst['value']:.1f} instead of {100 * worst['value_against']:.1f} % in the worst group",
    ]


def _points(row: pd.Series) -> str:
    """A difference of accuracies with its interval, in percentage points."""
    value, low, high = (f"{100 * row[name]:+.1f}".replace("-", MINUS) for name in ("difference", "low", "high"))
    return f"{value} points [{low}, {high}]"
