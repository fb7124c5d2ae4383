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

from glassbox import bootstrap, comparison
from glassbox.data.base import NOISE
from glassbox.data.store import Split
from glassbox.models import Classifier, predict
from glassbox.names import CONTROLS, title_of
from glassbox.resume import Keep, unkept
from glassbox.xai_metrics.localization import relevance_mass

UNMARKED, MARKED = "unmarked", "marked"  # interventions of the test split
LEAST_ACCURACY = 0.99  # of a control without watermarks: it has learnt what there is to learn
MOST_CHANGED = 0.01  # share of its predictions that the watermark may change
CONFOUNDED, CONTROL = "confounded", "control"


@dataclass(frozen=True)
class Shortcut:
    """What the watermark does to the predictions for the test images.

    Attributes:
        target: the class whose images carry the watermark.
        arms: a row for the network that learnt from the watermark ("confounded") and one for the "control": `arm`; `n`
            images; `accuracy` on the images of its own arm and `accuracy_unmarked` on the same without watermarks;
            `lost`, the share of the former that the network loses without them, with the 95 % bootstrap interval
            `low`, `high` over images, in which the accuracy that it is a share of stays fixed; `recall_unmarked`, the
            accuracy on unmarked images of the target class; `drawn`, of the images of other classes that unmarked are
            not taken for the target, the share that is when marked; `changed`, the share of predictions that differ
            between all images marked and all unmarked.
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


def target_of(test: Split) -> int:
    """The class whose images carry the watermark in the main arm.

    Args:
        test: with the interventions "unmarked" and "marked".
    """
    carrying = (test.images != test.changed[UNMARKED]).flatten(1).any(dim=1)
    (target,) = test.labels[carrying].unique().tolist()
    return target


def masks_of(test: Split) -> np.ndarray:
    """Where the watermark lies: (N, H, W) bool, the pixels that differ between "marked" and "unmarked"."""
    return (test.changed[MARKED] != test.changed[UNMARKED]).any(dim=3).numpy()


def measure(
    classifier: Classifier,
    control: Classifier,
    test: Split,
    seed: int,
    batch_size: int,
    progress: Callable[[int], object] = int,
    keep: Keep = unkept,
) -> Shortcut:
    """How far two networks go by the watermark; see `Shortcut`.

    Args:
        classifier: learnt from images whose watermark tells the class.
        control: learnt from the arm "noise".
        test: with the interventions "unmarked" and "marked", and the arm "noise".
        seed: of the bootstrap.
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
        rows.append({"arm": name} | _reliance(*(p.numpy() for p in (own, unmarked, marked, test.labels)), target, seed))
    arms = pd.DataFrame(rows)
    of_control = arms.set_index("arm").loc[CONTROL]
    gate = pd.DataFrame({"check": ["accuracy_unmarked", "changed"], "limit": [LEAST_ACCURACY, MOST_CHANGED]})
    gate.insert(1, "value", of_control[gate["check"]].astype(float).tolist())
    gate["passed"] = [gate["value"][0] >= LEAST_ACCURACY, gate["value"][1] <= MOST_CHANGED]
    return Shortcut(target, arms, gate)


def _reliance(
    own: np.ndarray, unmarked: np.ndarray, marked: np.ndarray, labels: np.ndarray, target: int, seed: int
) -> dict[str, Any]:
    """A row of `Shortcut.arms` from predictions and labels (N,)."""
    right, without = own == labels, unmarked == labels
    accuracy = right.mean()
    lost = (right.astype(float) - without) / accuracy if accuracy else np.zeros(len(labels))  # nothing to lose
    low, high = bootstrap.interval(lost, seed)
    others = (labels != target) & (unmarked != target)
    return {
        "n": len(labels),
        "accuracy": accuracy,
        "accuracy_unmarked": without.mean(),
        "lost": lost.mean(),
        "low": low,
        "high": high,
        "recall_unmarked": without[labels == target].mean(),
        "drawn": (marked[others] == target).mean() if others.any() else 0.0,
        "changed": (marked != unmarked).mean(),
    }


def contrast(confounded: np.ndarray, control: np.ndarray, masks: np.ndarray, seed: int) -> dict[str, float]:
    """How much more of its attribution an explainer gives to the watermark in the network that goes by it.

    Args:
        confounded, control: (N, H, W) maps of the two networks, of the same marked images for the same class, that of
            the watermark.
        masks: (N, H, W) bool, where the watermark lies.
        seed: of the bootstrap.

    Returns:
        `n`; `confounded` and `control`, mean shares of the positive attribution inside the watermark (relevance mass);
        `contrast`, their mean difference, with the 95 % bootstrap interval `low`, `high` over images; `p` of Wilcoxon's
        signed-rank test.
    """
    assert masks.any(axis=(1, 2)).all(), "an image without a watermark has no share to compare"
    shares = {CONFOUNDED: relevance_mass(confounded, masks), CONTROL: relevance_mass(control, masks)}
    (pair,) = comparison.paired(shares, seed).to_dict("records")
    means = {name: float(values.mean()) for name, values in shares.items()}
    found = {"contrast": pair["difference"], "low": pair["low"], "high": pair["high"], "p": pair["p"]}
    return {"n": len(masks)} | means | found


def table(maps: dict[str, tuple[np.ndarray, np.ndarray]], masks: np.ndarray, seed: int) -> pd.DataFrame:
    """`contrast` for each explainer, a row each.

    Args:
        maps: by explainer, those of the confounded network and those of the control.
        masks: (N, H, W) bool, where the watermark lies.
        seed: of the bootstrap.

    Returns:
        Columns `explainer`, those of `contrast` with `p_holm` (Holm 1979, over the explainers) for `p`, and `exposed`:
        the whole interval lies above 0, and `p_holm` below 0.05.
    """
    rows = pd.DataFrame([{"explainer": name} | contrast(*pair, masks, seed) for name, pair in maps.items()])
    corrected = comparison.holm(rows.pop("p").to_numpy())
    return rows.assign(p_holm=corrected, exposed=(rows["low"] > 0) & (corrected < comparison.LEVEL))


def summary(measured: Shortcut, found: pd.DataFrame | None) -> dict[str, Any]:
    """All that was found, as it is kept: the class `target`, the rows of `arms`, `gate` and `contrast`, and `verdicts`.

    Args:
        measured: of `measure`.
        found: of `table`; None where the control is none.
    """
    rows = None if found is None else found.to_dict("records")
    parts = {"arms": measured.arms.to_dict("records"), "gate": measured.gate.to_dict("records"), "contrast": rows}
    return {"target": measured.target} | parts | {"verdicts": verdicts(measured, found)}


def verdicts(measured: Shortcut, found: pd.DataFrame | None) -> list[str]:
    """What the shortcut costs and which explainers expose it, in words.

    Args:
        measured: of `measure`.
        found: of `table`; None where the control is none.
    """
    rows = {row.arm: row for row in measured.arms.itertuples()}
    of_both = [
        f"the {name} {100 * row.lost:.1f} % [{100 * row.low:.1f}, {100 * row.high:.1f}]"
        for name, row in (("network that learnt it as a shortcut loses", rows[CONFOUNDED]),
                          ("control, for which it was noise,", rows[CONTROL]))
    ]  # fmt: skip
    said = [f"Without the watermark {of_both[0]} of its accuracy, {of_both[1]}."]
    if found is None:
        failed = [f"{row.check} is {row.value:.4g}, limit {row.limit:g}"
                  for row in measured.gate.itertuples() if not row.passed]  # fmt: skip
        return [
            *said,
            f"Whether explainers expose it is not measured, because the control is none: {'; '.join(failed)}.",
        ]
    blind = found["explainer"].isin(CONTROLS)
    for row in found[~blind].itertuples():
        what = "exposes the shortcut" if row.exposed else "does not expose the shortcut"
        said.append(
            f"{title_of(row.explainer)} {what}: it gives the watermark {100 * row.confounded:.1f} % of the positive "
            f"attribution, in the control {100 * row.control:.1f} %, a contrast of {100 * row.contrast:.1f} points "
            f"[{100 * row.low:.1f}, {100 * row.high:.1f}]."
        )
    if blind.any():
        exposing = [title_of(name) for name in found.loc[blind & found["exposed"], "explainer"]]
        said.append(f"Controls that expose it: {', '.join(exposing) or 'none'}.")
    return said
