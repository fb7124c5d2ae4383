"""Clever Hans: does a network decide by a watermark, and do its explanations say so?

A network that is right for the wrong reason is only found out where the two part (Lapuschkin et al. 2019, Unmasking
Clever Hans predictors and assessing what machines really learn): here on the same images without the watermark, and
with it on images of other classes. Explanations need not show it (Adebayo et al. 2022, Post hoc explanations may be
ineffective for detecting unknown spurious correlation), and what catches the eye gets attribution, learnt or not (Clark
et al. 2026, Feature salience - not task-informativeness - drives machine learning model explanations). So what counts
is how much more the watermark gets in the network that goes by it than in a control, which learnt from the same images
with the watermark as noise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from glassbox.core.errors import UserError
from glassbox.core.text import counted
from glassbox.data.base import NOISE
from glassbox.data.store import Split
from glassbox.explainers.catalog import CONTROLS, title_of
from glassbox.models import Classifier, predict
from glassbox.provenance.resume import Keep, unkept
from glassbox.statistics import comparison, paired
from glassbox.statistics.comparison import Comparison
from glassbox.statistics.outcomes import BETTER, UNDECIDED, WORSE
from glassbox.xai_metrics.localization import relevance_mass

UNMARKED, MARKED = "unmarked", "marked"  # interventions of the test split
LEAST_ACCURACY = 0.99  # of a control without watermarks: it has learnt what there is to learn
MOST_CHANGED = 0.01  # share of its predictions that the watermark may change
CONFOUNDED, CONTROL = "confounded", "control"
EXPOSES = {
    BETTER: "exposes the shortcut",
    WORSE: "points away from the shortcut",
    UNDECIDED: "is undecided about the shortcut",
}


@dataclass(frozen=True)
class Shortcut:
    """What the watermark does to the predictions for the test images.

    Attributes:
        target: the class whose images carry the watermark.
        arms: a row for the network that learnt from the watermark ("confounded") and one for the "control": `arm`; `n`
            images; `accuracy` on the images of its own arm and `accuracy_unmarked` on the same without watermarks;
            `lost`, the share of the former that the network loses without them, with its 95 % interval `low`, `high`:
            that of the difference of the two accuracies (`paired.accuracy_interval`) divided by the former, which
            stays fixed, so that it has a width where no image is lost; NaN ends where nothing was recognised;
            `recall_unmarked`, the accuracy on unmarked images of the target class; `drawn`, of the images of other
            classes that unmarked are not taken for the target, the share that is when marked; `changed`, the share of
            predictions that differ between all images marked and all unmarked.
        gate: a row for each thing that makes the control one: `check`, `value`, `limit`, `passed`. Where one failed, no
            contrast with it means anything.
    """

    target: int
    arms: pd.DataFrame
    gate: pd.DataFrame

    @property
    def has_control(self) -> bool:
        """Whether the control passed the gate."""
        return bool(self.gate["passed"].all())


def applies(test: Split) -> bool:
    """Whether there is what a shortcut is measured on: the arm "noise", and the interventions "unmarked" and
    "marked"."""
    return NOISE in test.arms and {UNMARKED, MARKED} <= test.changed.keys()


def target_of(test: Split) -> int:
    """The class whose images carry the watermark in the main arm.

    Args:
        test: with the interventions "unmarked" and "marked".

    Raises:
        UserError: they are not such interventions; the source of the images has a mistake.
    """
    carrying = (test.images != test.changed[UNMARKED]).flatten(1).any(dim=1)
    targets = test.labels[carrying].unique().tolist()
    if len(targets) != 1 or not masks_of(test).any(axis=(1, 2)).all():
        raise UserError(
            f"the source of the images has the arm {NOISE}, but images of {counted(len(targets), 'label')} differ from "
            f"{UNMARKED}, or some are the same in {MARKED} and {UNMARKED}: a watermark must lie on the images of one "
            f"class, and on all those of {MARKED}"
        )
    return targets[0]


def masks_of(test: Split) -> np.ndarray:
    """Where the watermark lies: (N, H, W) bool, the pixels that differ between "marked" and "unmarked"."""
    return (test.changed[MARKED] != test.changed[UNMARKED]).any(dim=3).numpy()


def measure(
    classifier: Classifier,
    control: Classifier,
    test: Split,
    batch_size: int,
    progress: Callable[[int], object] = int,
    keep: Keep = unkept,
) -> Shortcut:
    """How far two networks go by the watermark; see `Shortcut`.

    Args:
        classifier: learnt from images whose watermark tells the class.
        control: learnt from the arm "noise".
        test: with the interventions "unmarked" and "marked", and the arm "noise".
        batch_size: images in one forward pass.
        progress: called with the number of images of each batch that is done, 6 N in all.
        keep: takes the networks' answers as soon as they are there.
    """
    target = target_of(test)
    rows = []
    for name, network, images in ((CONFOUNDED, classifier, test.images), (CONTROL, control, test.arms[NOISE])):
        own, unmarked, marked = (
            predict(network, shown, batch_size, progress, keep=keep).argmax(dim=1)
            for shown in (images, test.changed[UNMARKED], test.changed[MARKED])
        )
        rows.append({"arm": name} | _reliance(*(p.numpy() for p in (own, unmarked, marked, test.labels)), target))
    arms = pd.DataFrame(rows)
    of_control = arms.set_index("arm").loc[CONTROL]
    gate = pd.DataFrame({"check": ["accuracy_unmarked", "changed"], "limit": [LEAST_ACCURACY, MOST_CHANGED]})
    gate.insert(1, "value", of_control[gate["check"]].astype(float).tolist())
    gate["passed"] = [gate["value"][0] >= LEAST_ACCURACY, gate["value"][1] <= MOST_CHANGED]
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
    """How much more of its attribution each explainer gives to the watermark in the network that goes by it.

    Args:
        maps: by explainer, (N, H, W) of the confounded network and of the control, of the same marked images for the
            same class, that of the watermark.
        masks: (N, H, W) bool, where the watermark lies.

    Returns:
        A row an explainer: `explainer`; `n`; `confounded` and `control`, mean shares of the positive attribution inside
        the watermark (relevance mass); `contrast`, their typical difference, with its 95 % interval `low`, `high`;
        `p_holm`, corrected over the explainers; and `outcome`: "better" where the watermark gets more in the network
        that goes by it, which exposes the shortcut; "worse" where it gets less; or "undecided". See
        `comparison.compare`.
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


def summary(measured: Shortcut, found: pd.DataFrame | None) -> dict[str, Any]:
    """All that was found, as it is kept: the class `target`, the rows of `arms`, `gate` and `contrast`, and `verdicts`.

    Args:
        measured: of `measure`.
        found: of `table`; None where the control is none.
    """
    parts = {
        "arms": _records(measured.arms),
        "gate": _records(measured.gate),
        "contrast": None if found is None else _records(found),
    }
    return {"target": measured.target} | parts | {"verdicts": verdicts(measured, found)}


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON has them: null for an interval that there is not."""
    return [
        {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in row.items()}
        for row in table.to_dict("records")
    ]


def verdicts(measured: Shortcut, found: pd.DataFrame | None) -> list[str]:
    """What the shortcut costs and which explainers expose it, in words.

    Args:
        measured: of `measure`.
        found: of `table`; None where the control is none.
    """
    rows = {row.arm: row for row in measured.arms.itertuples()}
    of_both = [
        f"the {name} {100 * row.lost:.1f} %{_interval(row)}"
        for name, row in (
            ("network that learnt it as a shortcut loses", rows[CONFOUNDED]),
            ("control, for which it was noise,", rows[CONTROL]),
        )
    ]
    said = [f"Without the watermark {of_both[0]} of its accuracy, {of_both[1]}."]
    if found is None:
        failed = [
            f"{row.check} is {row.value:.4g}, limit {row.limit:g}"
            for row in measured.gate.itertuples()
            if not row.passed
        ]
        return [
            *said,
            f"Whether explainers expose it is not measured, because the control is none: {'; '.join(failed)}.",
        ]
    blind = found["explainer"].isin(CONTROLS)
    for row in found[~blind].itertuples():
        said.append(
            f"{title_of(row.explainer)} {EXPOSES[row.outcome]}: it gives the watermark {100 * row.confounded:.1f} % of "
            f"the positive attribution, in the control {100 * row.control:.1f} %, a typical difference of "
            f"{100 * row.contrast:.1f} points{_interval(row)} on {row.n} images."
        )
    if blind.any():
        exposing = [title_of(name) for name in found.loc[blind & (found["outcome"] == BETTER), "explainer"]]
        said.append(f"Controls that expose it: {', '.join(exposing) or 'none'}.")
    return said


def _interval(row: Any) -> str:
    """The interval of a row in percent, in brackets; "" where there is none."""
    return "" if np.isnan(row.low) else f" [{100 * row.low:.1f}, {100 * row.high:.1f}]"
