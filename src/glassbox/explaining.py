"""Explain the picked images with every explainer, and measure the explanations."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from glassbox import explainers
from glassbox.config import Explain
from glassbox.explainers import Attribution, Explainer, Request
from glassbox.explainers.base import join
from glassbox.models import Classifier
from glassbox.names import CONTROL, MEASURES
from glassbox.seeds import derive
from glassbox.selection import Pick
from glassbox.xai_metrics import faithfulness
from glassbox.xai_metrics.faithfulness import DELETION, INSERTION

INTERVAL = 0.95
RESAMPLES = 2000
CHUNK = 16  # maps between two movements of the progress bar


@dataclass(frozen=True)
class Explained:
    """The maps of one explainer and what was measured on them.

    Attributes:
        name: of the explainer.
        attribution: one map a row of the request.
        scores: (N,) a metric, by name.
    """

    name: str
    attribution: Attribution
    scores: dict[str, np.ndarray]


def request_for(picks: list[Pick], images: torch.Tensor, seed: int) -> Request:
    """One row for every explained class of every picked image; the rows of an image share its seed."""
    rows = [(pick.row, target) for pick in picks for target in pick.targets]
    return Request(
        images[torch.tensor([row for row, _ in rows])],
        torch.tensor([target for _, target in rows]),
        tuple(derive(seed, "explain", "image", row) for row, _ in rows),
    )


def explain(
    classifier: Classifier,
    request: Request,
    background: torch.Tensor,
    mean: tuple[float, ...],
    settings: Explain,
    batch_size: int,
    progress: Callable[[int], object] = int,
) -> Iterator[Explained]:
    """Run explainer after explainer, the random control last.

    Args:
        classifier: what is explained.
        request: images and classes.
        background: (B, H, W, 3) uint8 training images in random order.
        mean: colour of the training images, 0..1 a channel.
        settings: the section `explain`.
        batch_size: images in one forward pass.
        progress: called with the number of steps since the last call; `steps` says how many there are.
    """
    made: dict[str, Explainer] = explainers.make(settings, background, mean, batch_size)
    for name, explainer in made.items():
        parts = []
        for start in range(0, len(request), CHUNK):
            parts.append(explainer(classifier, request.part(start, start + CHUNK)))
            progress(len(parts[-1].maps))
        attribution = join(parts)
        how = settings.faithfulness
        common = (classifier, request.images, request.targets, attribution.maps)
        deletion = faithfulness.deletion_auc(*common, colour=mean, steps=how.steps, batch_size=batch_size)
        progress(len(request))
        insertion = faithfulness.insertion_auc(
            *common, blur_sigma=how.blur_sigma, steps=how.steps, batch_size=batch_size
        )
        progress(len(request))
        yield Explained(name, attribution, {DELETION.name: deletion, INSERTION.name: insertion})


def steps(request: Request, settings: Explain) -> int:
    """How many steps `explain` reports: each map is made, then measured twice."""
    return 3 * len(request) * (len(settings.explainers) + 1)


def n_background(settings: Explain) -> int:
    """How many background images the explainers need at most."""
    return max(settings.kernel_shap.background, settings.gradient_shap.background)


def draw_background(images: torch.Tensor, n: int, seed: int) -> torch.Tensor:
    """At most `n` of `images` in random order."""
    generator = torch.Generator().manual_seed(derive(seed, "explain", "background"))
    return images[torch.randperm(len(images), generator=generator)[:n]]


def index_table(
    picks: list[Pick], results: list[Explained], labels: np.ndarray, predicted: np.ndarray, source_index: np.ndarray,
    classes: tuple[str, ...], names: tuple[str, ...] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """One row a map, in the order of the maps in attributions.npz: what is explained, by whom, at what cost."""
    wanted = [(pick, target) for pick in picks for target in pick.targets]
    rows: list[dict[str, Any]] = []
    for result in results:
        for place, (pick, target) in enumerate(wanted):
            rows.append(
                {
                    "map": len(rows),
                    "image": pick.row,
                    "source_index": int(source_index[pick.row]),
                    **({"file": names[pick.row]} if names else {}),
                    "group": pick.group,
                    "true_class": classes[labels[pick.row]],
                    "predicted_class": classes[predicted[pick.row]],
                    "explained_class": classes[target],
                    "explainer": result.name,
                    "seconds": round(float(result.attribution.seconds[place]), 6),
                    "model_evaluations": round(float(result.attribution.evaluations[place]), 3),
                    "all_zero": bool(not result.attribution.maps[place].any()),
                }
                | {name: float(values[place]) for name, values in result.attribution.details.items()}
                | {name: float(values[place]) for name, values in result.scores.items()}
            )
    return pd.DataFrame(rows)


def scorecard(index: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Long form, one row for each explainer and metric: mean over images with a bootstrap interval.

    Only maps of the predicted class count, one an image, so that images are independent. Intervals are the 95 %
    percentile bootstrap over images (Efron 1979), with the same resamples for every explainer. For measures of
    faithfulness, `versus_random` is the mean difference from the random control on the same images, with its interval:
    one that excludes 0 tells the explainer from chance.
    """
    own = index[index["explained_class"] == index["predicted_class"]]
    resamples = derive(seed, "explain", "bootstrap")
    control = own[own["explainer"] == CONTROL].set_index("image")
    metrics = {metric.name: metric.direction for metric in (DELETION, INSERTION)}
    metrics |= dict.fromkeys(("seconds", "model_evaluations"), "lower is better")
    rows = []
    for name, part in own.groupby("explainer", sort=False):
        for metric, direction in metrics.items():
            values = part[metric].to_numpy()
            row = {"explainer": name, "metric": metric, "direction": direction, "n": len(values), "mean": values.mean()}
            row["low"], row["high"] = bootstrap_interval(values, resamples)
            if metric in MEASURES and name != CONTROL:
                differences = values - control.loc[part["image"], metric].to_numpy()
                row["versus_random"] = differences.mean()
                row["versus_random_low"], row["versus_random_high"] = bootstrap_interval(differences, resamples)
            rows.append(row)
    return pd.DataFrame(rows)


def bootstrap_interval(values: np.ndarray, seed: int) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean of (N,) values."""
    draws = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    return float(low), float(high)


def figure_note(result: Explained, place: int) -> str:
    """What is written under a map: how far it can be trusted."""
    details = result.attribution.details
    if not result.attribution.maps[place].any():
        return "all zero: nothing speaks for it"
    if "local_r2" in details:
        return f"local R² {details['local_r2'][place]:.2f}"
    if "additivity_error" in details:
        return f"base {details['base_value'][place]:.2f}, sums to {_sum_error(details['additivity_error'][place])}"
    if "completeness_error" in details:
        return f"completeness error {details['completeness_error'][place]:.2g}"
    return ""


def _sum_error(error: float) -> str:
    return "f(x)" if error < 1e-3 else f"f(x) ± {error:.2g}"
