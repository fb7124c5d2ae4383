"""Clever Hans: does a network decide by a watermark, and do its explanations show it?

A network that is right for the wrong reason is only detected where the two part (Lapuschkin et al. 2019, Unmasking
Clever Hans predictors and assessing what machines really learn): here on the same images without the watermark, and
with it on images of other classes. Explanations need not show it (Adebayo et al. 2022, Post hoc explanations may be
ineffective for detecting unknown spurious correlation), and salient features get attribution, learnt or not (Clark
et al. 2026, Feature salience - not task-informativeness - drives machine learning model explanations). So the measure
is how much more the watermark gets in the network that uses it than in a control, which learnt from the same images
with the watermark as noise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from glassbox.data.base import NOISE
from glassbox.data.store import Split
from glassbox.data.watermark import MARKED, UNMARKED, masks_of, target_of
from glassbox.explainers.catalog import CONTROLS, title_of
from glassbox.models import Classifier, predict
from glassbox.provenance.resume import Keep, unkept
from glassbox.scoring.score_tables import records
from glassbox.statistics import comparison, paired
from glassbox.statistics.comparison import Comparison
from glassbox.statistics.outcomes import BETTER, UNDECIDED, WORSE
from glassbox.xai_metrics.localization import relevance_mass

LEAST_ACCURACY = 0.99  # of a control without watermarks: it has learnt what there is to learn
MOST_CHANGED = 0.01  # share of its predictions that the watermark may change
MOST_COVERED = 0.5  # share of the pixels that the watermark may take: of all of them any map would mark it
CONFOUNDED, CONTROL = "confounded", "control"
EXPOSES = {
    BETTER: "exposes the shortcut",
    WORSE: "points away from the shortcut",
    UNDECIDED: "is undecided about the shortcut",
}


@dataclass(frozen=True)
class Shortcut:
    """The effect of the watermark on the predictions for the test images.

    Attributes:
        target: the class whose images have the watermark.
        arms: a row for the network that learnt from the watermark ("confounded") and one for the "control": `arm`; `n`
            images; `accuracy` on the images of its own arm and `accuracy_unmarked` on the same without watermarks;
            `lost`, the share of the former that the network loses without them, with its 95 % interval `low`, `high`:
            that of the difference of the two accuracies (`paired.accuracy_interval`) divided by the former; NaN where
            nothing was recognised; `recall_unmarked`, the accuracy on unmarked images of the target class; `drawn`, of
            the images of other classes that unmarked are not taken for the target, the share that is when marked;
            `changed`, the share of predictions that differ between all images marked and all unmarked.
        gate: a row for each condition of a valid contrast: `check`, `value`, `limit`, `passed`. If one failed, no
            contrast with the control is meaningful.
    """

    target: int
    arms: pd.DataFrame
    gate: pd.DataFrame

    @property
    def has_control(self) -> bool:
        """Whether the gate is passed."""
        return bool(self.gate["passed"].all())


def measure(
    classifier: Classifier,
    control: Classifier,
    test: Split,
    batch_size: int,
    progress: Callable[[int], object] = int,
    keep: Keep = unkept,
) -> Shortcut:
    """How far two networks use the watermark; see `Shortcut`. The classifier learnt from images whose watermark
    determines the class, the control from the arm "noise"; for `test` see `watermark.applies`. `progress` is called
    with the number of images of each batch that is done, 6 N in all; `keep` stores the answers as soon as they are
    there."""
    target, labels = target_of(test), test.labels.numpy()
    rows = []
    for name, network, images in ((CONFOUNDED, classifier, test.images), (CONTROL, control, test.arms[NOISE])):
        predictions = [
            predict(network, shown, batch_size, progress, keep=keep).argmax(dim=1).numpy()
            for shown in (images, test.changed[UNMARKED], test.changed[MARKED])
        ]
        rows.append({"arm": name} | _reliance(*predictions, labels, target))
    arms = pd.DataFrame(rows)
    of_control = arms.set_index("arm").loc[CONTROL]
    gate = pd.DataFrame({"check": ["accuracy_unmarked", "changed"], "limit": [LEAST_ACCURACY, MOST_CHANGED]})
    gate.insert(1, "value", of_control[gate["check"]].astype(float).tolist())
    gate["passed"] = [gate["value"][0] >= LEAST_ACCURACY, gate["value"][1] <= MOST_CHANGED]
    covered = masks_of(test).mean()
    if covered > MOST_COVERED:
        gate.loc[len(gate)] = ["covered", covered, MOST_COVERED, False]
    return Shortcut(target, arms, gate)


def _reliance(
    own: np.ndarray, unmarked: np.ndarray, marked: np.ndarray, labels: np.ndarray, target: int
) -> dict[str, Any]:
    """A row of `Shortcut.arms` from predictions and labels (N,)."""
    right, without = own == labels, unmarked == labels
    accuracy = right.mean()
    lost, low, high = 0.0, np.nan, np.nan  # where there is nothing to lose
    if accuracy:
        ends = paired.accuracy_interval(int((without & ~right).sum()), int((right & ~without).sum()), len(labels))
        lost, low, high = (accuracy - without.mean()) / accuracy, ends[0] / accuracy, min(ends[1] / accuracy, 1.0)
    others = (labels != target) & (unmarked != target)
    return {
        "n": len(labels),
        "accuracy": accuracy,
        "accuracy_unmarked": without.mean(),
        "lost": lost,
        "low": low,
        "high": high,
        "recall_unmarked": without[labels == target].mean(),
        "drawn": (marked[others] == target).mean() if others.any() else 0.0,
        "changed": (marked != unmarked).mean(),
    }


def table(maps: dict[str, tuple[np.ndarray, np.ndarray]], masks: np.ndarray) -> pd.DataFrame:
    """How much more of its attribution each explainer gives to the watermark in the network that uses it.

    Args:
        maps: by explainer, (N, H, W) of the confounded network and of the control, of the same marked images for the
            same class, that of the watermark.
        masks: (N, H, W) bool, where the watermark lies.

    Returns:
        A row an explainer: `explainer`; `n`; `confounded` and `control`, mean shares of the positive attribution inside
        the watermark (relevance mass); `contrast`, their typical difference, with its 95 % interval `low`, `high`;
        `p_holm`, corrected over the explainers; and `outcome`: "better" where the watermark gets more in the network
        that uses it, which exposes the shortcut; "worse" where it gets less; or "undecided". See `comparison.compare`.
    """
    assert masks.any(axis=(1, 2)).all(), "an image without a watermark has no share to compare"
    shares = {name: tuple(relevance_mass(of_one, masks) for of_one in both) for name, both in maps.items()}
    tests = comparison.compare(
        Comparison(name, CONFOUNDED, CONTROL, confounded - control, higher_is_better=True)
        for name, (confounded, control) in shares.items()
    )
    means = pd.DataFrame(
        [(confounded.mean(), control.mean()) for confounded, control in shares.values()],
        index=tests.index,
        columns=[CONFOUNDED, CONTROL],
    )
    rows = tests.rename(columns={"difference": "contrast"}).join(means).rename_axis("explainer").reset_index()
    return rows[["explainer", "n", CONFOUNDED, CONTROL, "contrast", "low", "high", "p_holm", "outcome"]]


def summary(measured: Shortcut, contrasts: pd.DataFrame | None) -> dict[str, Any]:
    """The content of shortcut.json: the class `target`, the rows of `arms`, `gate` and `contrast` (see `table`; None
    without a valid control), and `verdicts`."""
    return {
        "target": measured.target,
        "arms": records(measured.arms),
        "gate": records(measured.gate),
        "contrast": None if contrasts is None else records(contrasts),
        "verdicts": verdicts(measured, contrasts),
    }


def verdicts(measured: Shortcut, contrasts: pd.DataFrame | None) -> list[str]:
    """The cost of the shortcut and the explainers that expose it, in sentences; see `summary`."""
    arms = {row.arm: row for row in measured.arms.itertuples()}
    lost = {name: f"{100 * row.lost:.1f} %{_interval(row)}" for name, row in arms.items()}
    sentences = [
        f"Without the watermark the network that learnt it as a shortcut loses {lost[CONFOUNDED]} of its accuracy, the "
        f"control, for which it was noise, {lost[CONTROL]}."
    ]
    if contrasts is None:
        failed = measured.gate[~measured.gate["passed"].astype(bool)].itertuples()
        reasons = "; ".join(f"{row.check} is {row.value:.4g}, limit {row.limit:g}" for row in failed)
        invalid = f"Whether explainers expose it is not measured, because a condition fails: {reasons}."
        return [*sentences, invalid]
    blind = contrasts["explainer"].isin(CONTROLS)
    for row in contrasts[~blind].itertuples():
        sentences.append(
            f"{title_of(row.explainer)} {EXPOSES[row.outcome]}: it gives the watermark {100 * row.confounded:.1f} % of "
            f"the positive attribution, in the control {100 * row.control:.1f} %, a typical difference of "
            f"{100 * row.contrast:.1f} points{_interval(row)} on {row.n} images."
        )
    if blind.any():
        exposing = [title_of(name) for name in contrasts.loc[blind & (contrasts["outcome"] == BETTER), "explainer"]]
        sentences.append(f"Controls that expose it: {', '.join(exposing) or 'none'}.")
    return sentences


def _interval(row: Any) -> str:
    """The interval of a row in percent, in brackets; "" where there is none."""
    return "" if np.isnan(row.low) else f" [{100 * row.low:.1f}, {100 * row.high:.1f}]"
