"""What the public API returns: explanations, and judgements of explainers. A notebook shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from glassbox.core.errors import UserError
from glassbox.core.text import counted
from glassbox.explainers.base import Attribution
from glassbox.explainers.captions import note, sound
from glassbox.explainers.catalog import CONTROLLED, TITLES, UNITS, title_of
from glassbox.figures import grid
from glassbox.figures.style import short
from glassbox.report import contents
from glassbox.scoring import scorecard, verdicts
from glassbox.statistics import bootstrap
from glassbox.statistics.outcomes import OUTCOMES
from glassbox.xai_metrics.catalog import MEASUREMENTS

SHOWN = 5  # images of an explanation that a notebook shows by itself


@dataclass(frozen=True, kw_only=True)
class Explanation(Attribution):
    """Explanations of images by one explainer, and what was explained. A notebook shows the first images with their
    maps, each map with its own scale; `glassbox.plot` draws several explainers, and one scale for all images.

    Attributes:
        explainer: its name, see `glassbox.list_explainers`.
        images: (N, H, W, 3) uint8.
        targets: (N,) explained classes.
        probabilities: (N, K) that the classifier gives the classes.
        classes: (K,) their names; their numbers where the classifier has no names.
    """

    explainer: str
    images: np.ndarray
    targets: np.ndarray
    probabilities: np.ndarray
    classes: tuple[str, ...]

    def _attribution(self) -> Attribution:
        """The maps and their cost alone."""
        return Attribution(**{field.name: getattr(self, field.name) for field in fields(Attribution)})

    def arrays(self) -> dict[str, np.ndarray]:
        """See `Attribution.arrays`."""
        return self._attribution().arrays()

    def rows(self, places: list[int]) -> "Explanation":
        """Some of the images."""
        chosen = {name: getattr(self, name)[places] for name in ("images", "targets", "probabilities")}
        return replace(self, **vars(self._attribution().rows(places)), **chosen)

    def _repr_png_(self) -> bytes:
        n = len(self.images)
        title = f"the first {SHOWN} of {counted(n)}" if n > SHOWN else ""
        return draw([self.rows([*range(min(n, SHOWN))])], absolute=False, title=title)._repr_png_()


def draw(
    explanations: Sequence[Explanation], *, absolute: bool, title: str = "", masks: np.ndarray | None = None
) -> grid.NotebookFigure:
    """Explanations of the same images as a figure; see `grid.draw`.

    Raises:
        UserError: there is none, or they are of other images or classes.
    """
    if not explanations:
        raise UserError("explanations is empty, but must have one at least")
    first = explanations[0]
    for other in explanations[1:]:
        if not (np.array_equal(other.images, first.images) and np.array_equal(other.targets, first.targets)):
            raise UserError(f"{other.explainer} explains other images or classes than {first.explainer}")
    return grid.draw(
        first.images,
        [_prediction(first, row) for row in range(len(first.images))],
        [_column(explanation) for explanation in explanations],
        absolute=absolute,
        title=title,
        masks=masks,
    )


def _prediction(explanation: Explanation, row: int) -> str:
    """The predicted class of an image and its probability, and the explained class where it is another one."""
    predicted, target = int(explanation.probabilities[row].argmax()), int(explanation.targets[row])
    guess = f"{short(explanation.classes[predicted], 16)}, {100 * explanation.probabilities[row, predicted]:.1f} %"
    return guess + (f"\nmaps for {short(explanation.classes[target], 16)}" if target != predicted else "")


def _column(explanation: Explanation) -> grid.Column:
    details = [
        {name: float(values[row]) for name, values in explanation.details.items()}
        for row in range(len(explanation.maps))
    ]
    return grid.Column(
        title=title_of(explanation.explainer),
        maps=explanation.maps,
        unit=UNITS.get(explanation.explainer, "explained score"),
        notes=[
            note(about, not values.any(), explanation.explainer)
            for about, values in zip(details, explanation.maps, strict=True)
        ],
        shown=[sound(about) for about in details],
    )


@dataclass(frozen=True)
class Judgement:
    """Explainers and controls (maps that do not depend on the model), measured on the same images and compared by the
    paired tests of a study; see `statistics.comparison`. A notebook shows `verdicts` and the means as tables.

    Attributes:
        scores: a row for each subject and image, a column for each metric and setting, as in a study's
            reports/score/values.csv. `constant_map` marks maps of one value, which rank no pixel and do not count.
        table: a row for each subject, metric and setting: `n` images, `mean` and its 95 % interval `low`, `high`; see
            `scorecard.summarise`.
        against_controls: a row for each explainer, control and metric of faithfulness or localization: `n` images,
            typical `difference` (explainer - control) with its 95 % interval, `p` alone and `p_holm` corrected for all
            tests of the judgement, and the `outcome` for the explainer: better, worse or undecided.
        pairs: the same of every two explainers, `a` - `b`.
        power: a row for each metric: `n` images, `decidable` (whether they are enough for any outcome), the
            `detectable` typical difference that so many images find four times in five, the number of `undecided`
            tests, and the images `needed` to decide half of these (missing where more than 1,000 are).
        tests: comparisons that were corrected together.
        verdicts: the outcomes in sentences.
        explanations: maps of the explainers, by name.
    """

    scores: pd.DataFrame
    table: pd.DataFrame
    against_controls: pd.DataFrame
    pairs: pd.DataFrame
    power: pd.DataFrame
    tests: int
    verdicts: list[str]
    explanations: dict[str, Explanation] = field(repr=False)

    def means(self) -> pd.DataFrame:
        """Mean of each explainer and control by each metric with the setting that ranks, as text, with the 95 %
        interval where there are enough images for one; "" where nothing was measured."""
        ranked = self.table[self.table["ranks"] & (self.table["n"] > 0)]
        titles = {row.metric: contents.titled(row) for row in ranked.itertuples()}
        most = ranked.groupby("metric")["n"].max()
        rows = {
            title_of(name) + (" (control)" if kind == CONTROLLED else ""): {
                metric: text
                if (n := int(part.set_index("metric")["n"][metric])) == most[metric]
                else f"{text}, n = {n}"
                for metric, text in contents.means(part).items()
            }
            for (kind, name), part in ranked.groupby(["kind", "explainer"], sort=False)
        }
        return _shown(rows, titles)

    def outcomes(self) -> pd.DataFrame:
        """How many tests of each explainer against the controls, by each metric, have each outcome, as text."""
        rows = {
            TITLES[name]: {
                metric: _counts(part["outcome"]) for metric, part in of_explainer.groupby("metric", sort=False)
            }
            for name, of_explainer in self.against_controls.groupby("explainer", sort=False)
        }
        return _shown(rows, MEASUREMENTS)

    def _repr_html_(self) -> str:
        captions = {
            f"Mean over images, with its 95 % interval from {bootstrap.FEWEST} images on": self.means(),
            f"Outcomes against the controls, corrected for all {self.tests} tests": self.outcomes(),
        }
        tables = [f"<p><b>{caption}</b></p>{table.to_html()}" for caption, table in captions.items() if len(table)]
        sentences = "".join(f"<li>{escape(sentence)}</li>" for sentence in self.verdicts)
        return f"{''.join(tables)}<ul>{sentences}</ul>"


def judged(values: pd.DataFrame, explanations: dict[str, Explanation], seed: int, relu: bool) -> Judgement:
    """The judgement of measured values.

    Args:
        values: see `score_tables.table`.
        explanations: maps of the explainers.
        seed: of the resamples.
        relu: whether Grad-CAM keeps only what is positive.
    """
    ranking = scorecard.rank(values, seed)
    metrics: dict[str, dict[str, Any]] = ranking["metrics"]
    power = [
        {"metric": metric, "n": row["n"], "decidable": row["decidable"]} | row["power"]
        for metric, row in metrics.items()
    ]
    power_columns = ["metric", "n", "decidable", "detectable", "undecided", "needed"]
    overview = [verdicts.overview(ranking)] if any(row["controls"] for row in metrics.values()) else []
    return Judgement(
        scores=values,
        table=scorecard.summarise(values, seed),
        against_controls=_tests(metrics, "controls", ("explainer", "control")),
        pairs=_tests(metrics, "pairs", ("a", "b")),
        power=pd.DataFrame(power, columns=power_columns).astype({"detectable": float, "needed": float}),
        tests=ranking["tests"],
        verdicts=[*overview, *verdicts.sentences(ranking, relu)],
        explanations=explanations,
    )


def _tests(metrics: dict[str, dict[str, Any]], kind: str, names: tuple[str, str]) -> pd.DataFrame:
    """The tests of one kind of all metrics, see `scorecard.rank`; with columns even where there is none."""
    columns = ["metric", "setting", *names, "n", "difference", "low", "high", "p", "p_holm", "outcome"]
    rows = [
        {"metric": metric, "setting": row["setting"]} | test for metric, row in metrics.items() for test in row[kind]
    ]
    return pd.DataFrame(rows, columns=columns).astype({"difference": float, "low": float, "high": float})


def _shown(rows: dict[str, dict[str, str]], titles: Mapping[str, str]) -> pd.DataFrame:
    """Texts by row and metric as a table, with the titles of the metrics."""
    return pd.DataFrame.from_dict(rows, orient="index").rename(columns=titles).fillna("")


def _counts(outcomes: pd.Series) -> str:
    """How many tests have each outcome, in words."""
    return ", ".join(f"{n} {what}" for what in OUTCOMES if (n := int((outcomes == what).sum())))
