"""Which explanation to believe: the measured values of all images, summarised, tested and ranked."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import scipy

from glassbox.core.seeds import derive
from glassbox.explainers import captions, superpixels
from glassbox.explainers.catalog import CONTROLLED, CONTROLS, EXPLAINER, EXPLAINERS, MATCHED, UNTRAINED
from glassbox.scoring import score_tables, summary_metrics, verdicts
from glassbox.scoring.measurement import METRICS, Scored
from glassbox.scoring.preparation import Column, Ground
from glassbox.statistics import bootstrap, comparison, power
from glassbox.statistics.comparison import Comparison
from glassbox.statistics.outcomes import BETTER, OUTCOMES, UNDECIDED, WORSE
from glassbox.xai_metrics import image_background
from glassbox.xai_metrics.base import Metric
from glassbox.xai_metrics.randomization import EMPRT

COSTS = ("forward_passes", "backward_passes")
# Properties that a map which knows nothing of the model cannot have.
LOCALIZATION = "localization"
AGAINST_CONTROLS = ("faithfulness", LOCALIZATION)
# Kinds of comparisons: an explainer with a control, with another explainer, and with its maps of a randomised network.
AGAINST, PAIR, RANDOMISED = "control", "pair", "randomised"


@dataclass(frozen=True)
class Scorecard:
    """The result of a scoring. Tables are `values`, `randomization` and `budgets`, see `score_tables`, and `scorecard`,
    see `summarise`."""

    tables: dict[str, pd.DataFrame]
    # See `rank`; with `baselines` (see `image_background.shares`), `squares` (images whose regions are a grid of
    # squares, by their place in the test split) and `verdicts`, the same in words.
    ranking: dict[str, Any]

    def headline(self) -> dict[str, float]:
        """The means that summaries show, by `metric/explainer`."""
        return summary_metrics.flat(summary_metrics.headline(self.tables["scorecard"]))


def make(scored: list[Scored], ground: Ground, classes: tuple[str, ...], gate: dict[str, Any]) -> Scorecard:
    """Summarise, test and rank the measured values, and describe the result in words. `gate` is the content of
    gate.json; see `metrics`."""
    seed, settings, images = ground.setup.seed, ground.setup.settings, ground.request.images
    values = score_tables.table(scored, ground, classes)
    shares = image_background.shares(images, ground.setup.mean, settings.faithfulness.blur_sigma)
    known = metrics(verdicts.plausible(gate))
    ranking = rank(values, seed, known) | {"baselines": shares}
    tables = {
        "values": values,
        "scorecard": summarise(values, seed, known),
        "randomization": score_tables.curves(scored),
        "budgets": score_tables.budgets(scored),
    }
    on_squares = superpixels.on_squares((image.numpy() for image in images), settings.superpixels)
    squares = ground.rows[on_squares].tolist()
    words = verdicts.sentences(ranking, settings.grad_cam.relu) + captions.on_squares(squares, len(on_squares))
    words += ground.notes
    return Scorecard(tables, ranking | {"squares": squares, "verdicts": words})


def metrics(plausible: bool) -> dict[str, Metric]:
    """All metrics by name. Where masks are only plausible, see `mask_gate`, localization is called plausibility and
    ranks nothing: no comparison, and so no verdict, rests on it."""
    demoted = {"property": verdicts.PLAUSIBILITY, "higher_is_better": None}
    return {
        name: replace(metric, **demoted) if plausible and metric.property == LOCALIZATION else metric
        for name, metric in METRICS.items()
    }


def columns(values: pd.DataFrame) -> dict[str, list[Column]]:
    """Metrics with their settings, the one that ranks first."""
    by_metric: dict[str, list[Column]] = {}
    for column in map(Column.parse, values.columns):
        if column.metric in METRICS:
            by_metric.setdefault(column.metric, []).append(column)
    return by_metric


def summarise(values: pd.DataFrame, seed: int, known: dict[str, Metric] = METRICS) -> pd.DataFrame:
    """Long form of a `score_tables.table`: a row for each subject, metric and setting with the mean over images and its
    95 % interval, see `bootstrap.interval`, from the same resamples for every subject.

    Returns:
        `explainer`, `kind`, `metric`, `setting`, `ranks` (whether this setting is the one that ranks), `property`,
        `direction`, `unit`, `n` (images that have a value), `mean`, `low`, `high` (NaN where there is no interval).
    """
    resamples, rows, values = derive(seed, "score", "bootstrap"), [], with_maps(values)
    cost = {"property": "cost", "direction": "lower is better", "unit": "images a map"}
    for (kind, name), part in values.groupby(["kind", "explainer"], sort=False):
        subject = {"explainer": name, "kind": kind}
        for metric, settings in columns(values).items():
            about = known[metric]
            described = {"property": about.property, "direction": about.direction, "unit": about.unit}
            for column in settings:
                scores = part[str(column)].dropna().to_numpy()
                if len(scores) or kind not in (UNTRAINED, MATCHED):  # of these only some metrics are measured
                    setting = {"metric": metric, "setting": column.setting, "ranks": column is settings[0]}
                    rows.append(subject | setting | described | _mean(scores, resamples, about.has_interval))
        for metric in COSTS:
            setting = {"metric": metric, "setting": "", "ranks": False}
            rows.append(subject | setting | cost | _mean(part[metric].to_numpy(), resamples, has_interval=True))
    return pd.DataFrame(rows)


def rank(values: pd.DataFrame, seed: int, known: dict[str, Metric] = METRICS) -> dict[str, Any]:
    """Significant differences between explainers and controls in a `score_tables.table`, by every metric that ranks.

    All comparisons of a report are one family: each explainer against each control and against itself on an untrained
    network, by metrics of `AGAINST_CONTROLS`; every two explainers, by every metric and setting; and maps before and
    after randomization, by every setting of eMPRT. Their p-values are corrected together; see `comparison`.

    Returns:
        `tests`, the number of comparisons; `level`; `fewest`, images below which none can be decided; `outcomes`, how
        many of the comparisons with controls are better, worse, undecided; `metrics`, for each one that ranks and has
        images see `_of_metric`; `emprt`, see `_emprt`; `constant_maps`, see `score_tables.constant_maps`.
    """
    values, settings_of = with_maps(values), columns(values)
    kinds = (EXPLAINER, CONTROLLED, UNTRAINED)
    comparisons = [*family(settings_of, lambda column: by_name(values, str(column), kinds), known)]
    table = comparison.compare(comparisons)
    fewest = comparison.fewest(len(comparisons)) if comparisons else comparison.FEWEST
    ranked = {}
    for metric, settings in settings_of.items():
        scores = complete(values, str(settings[0]), (EXPLAINER, CONTROLLED))
        if known[metric].higher_is_better is not None and scores:
            row = _of_metric(values, settings, scores, table, fewest)
            ranked[metric] = row | {"power": _power(row, metric, comparisons, seed)}
    outcomes = [test["outcome"] for row in ranked.values() for test in row["controls"]]
    return {
        "tests": len(comparisons),
        "level": comparison.LEVEL,
        "fewest": fewest,
        "outcomes": {outcome: outcomes.count(outcome) for outcome in OUTCOMES},
        "metrics": ranked,
        "emprt": _emprt(table),
        "constant_maps": score_tables.constant_maps(values),
    }


def _of_metric(
    values: pd.DataFrame, settings: list[Column], scores: dict[str, np.ndarray], table: pd.DataFrame, fewest: int
) -> dict[str, Any]:
    """The ranking by a metric; with its first setting explainers and controls have these scores, see `complete`.

    Returns:
        `property`, `direction`, `unit`, `citation` and `setting` of the metric; `n`, the images of its comparisons (of
        the one that has most); `decidable`, whether they are enough; `ranked`, the images of `scores`; `mean_ranks` of
        the explainers on these and `cliques` of those without a difference, empty where the images are too few;
        `pairs` of explainers and `controls`, rows of `comparison.compare`; `reversed`, see `_reversed`; `settings`,
        mean ranks of the explainers by each of them, and `kendall`, the agreement of every two of these orders;
        `matched`, mean ranks at the common number of forward passes.
    """
    metric, about = settings[0].metric, METRICS[settings[0].metric]
    ranked, higher = len(next(iter(scores.values()))), bool(about.higher_is_better)
    pairs, controls = (_rows(table, kind, metric, settings[0].setting) for kind in (PAIR, AGAINST))
    n = max((row["n"] for row in controls or pairs), default=ranked)
    orders, ranks, matched = {}, {}, {}
    if ranked >= fewest:
        ranks = comparison.mean_ranks({name: by for name, by in scores.items() if name in EXPLAINERS}, higher)
        matched = complete(values, str(settings[0]), (MATCHED,))
        by_setting = {column.setting: complete(values, str(column), (EXPLAINER,)) for column in settings}
        orders = {setting: comparison.mean_ranks(by, higher) for setting, by in by_setting.items() if by}
    differ = {frozenset((row["a"], row["b"])) for row in pairs if row["outcome"] != UNDECIDED}
    return {
        "property": about.property,
        "direction": about.direction,
        "unit": about.unit,
        "citation": about.citation,
        "setting": settings[0].setting,
        "n": n,
        "ranked": ranked,
        "decidable": n >= fewest,
        "mean_ranks": ranks,
        "cliques": comparison.cliques(list(ranks), differ),
        "pairs": pairs,
        "controls": controls,
        "reversed": _reversed(table, metric, settings),
        "settings": orders,
        "kendall": {f"{a} / {b}": _kendall(orders[a], orders[b]) for a, b in combinations(orders, 2)},
        "matched": comparison.mean_ranks(matched, higher) if matched else {},
    }


def with_maps(values: pd.DataFrame) -> pd.DataFrame:
    """The same values, NaN where a map is constant: it ranks no pixel, so that there is nothing to measure."""
    measured = [text for text in values.columns if Column.parse(text).metric in METRICS]
    return values.assign(**{text: values[text].mask(values["constant_map"]) for text in measured})


def family(
    settings_of: dict[str, list[Column]],
    scores_of: Callable[[Column], dict[str, np.ndarray]],
    known: dict[str, Metric] = METRICS,
) -> Iterator[Comparison]:
    """All comparisons of a report; their keys are kind, metric, setting, and the names of the two. `settings_of` is of
    `columns`; `scores_of` gives the scores of explainers and controls in a column, see `by_name`."""
    for metric, settings in settings_of.items():
        about = known[metric]
        for column in settings:
            scores, pairs = scores_of(column), []
            explainers = [name for name in scores if name in EXPLAINERS]
            if metric == EMPRT.name:
                for name in explainers:
                    key = (RANDOMISED, metric, column.setting, name, "")
                    yield Comparison(key, name, "", scores[name], higher_is_better=True)
            if about.higher_is_better is not None:
                pairs += [(PAIR, a, b) for a, b in combinations(explainers, 2)]
            if column is settings[0] and about.property in AGAINST_CONTROLS:
                for a in explainers:
                    pairs += [(AGAINST, a, b) for b in (*CONTROLS, f"{UNTRAINED} {a}") if b in scores]
            for kind, a, b in pairs:
                key = (kind, metric, column.setting, a, b)
                yield Comparison(key, a, b, scores[a] - scores[b], bool(about.higher_is_better))


def _rows(table: pd.DataFrame, kind: str, metric: str, setting: str) -> list[dict[str, Any]]:
    """Comparisons of a kind, as JSON has them."""
    names = {"a": "explainer", "b": "control"} if kind == AGAINST else {}
    of_kind = table[[key[:3] == (kind, metric, setting) for key in table.index]]
    return score_tables.records(of_kind.rename(columns=names))


def _reversed(table: pd.DataFrame, metric: str, settings: list[Column]) -> list[dict[str, str]]:
    """Pairs of explainers of which one is better with the first setting, and the other with another setting."""
    first = {(row["a"], row["b"]): row["outcome"] for row in _rows(table, PAIR, metric, settings[0].setting)}
    pairs = []
    for column in settings[1:]:
        for row in _rows(table, PAIR, metric, column.setting):
            if {row["outcome"], first.get((row["a"], row["b"]))} == {BETTER, WORSE}:
                better, other = (row["a"], row["b"]) if row["outcome"] == WORSE else (row["b"], row["a"])
                pairs.append({"better": better, "other": other, "unless": column.setting})
    return pairs


def _emprt(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """For each explainer `outcome`, whether its maps become more complex when the weights are lost ("better"), less
    ("worse"), "undecided", or "mixed" where that depends on the bins; and `settings`, the tests with each number of
    bins."""
    explainers: dict[str, dict[str, Any]] = {}
    for key, row in zip(table.index, score_tables.records(table), strict=True):
        if key[0] == RANDOMISED:
            name, _ = row.pop("a"), row.pop("b")
            explainers.setdefault(name, {"settings": {}})["settings"][key[2]] = row
    for about in explainers.values():
        outcomes = {row["outcome"] for row in about["settings"].values()}
        about["outcome"] = outcomes.pop() if len(outcomes) == 1 else verdicts.MIXED
    return explainers


def _power(row: dict[str, Any], metric: str, comparisons: list[Comparison], seed: int) -> dict[str, Any]:
    """The power of the comparisons of a metric with controls, or where there are none of those of pairs.

    Returns:
        `detectable`, the typical difference that so many images find with a power of 80 %, the median over the
        comparisons, None where no comparison can be decided; `undecided`, how many comparisons are; and `needed`, the
        images at which half of the undecided ones would be found, None where there are none or it takes more than are
        tried.
    """
    kind, rows = (AGAINST, row["controls"]) if row["controls"] else (PAIR, row["pairs"])
    names = ("explainer", "control") if row["controls"] else ("a", "b")
    undecided = {tuple(test[name] for name in names) for test in rows if test["outcome"] == UNDECIDED}
    detectable, needed = [], []
    for test in comparisons if row["decidable"] else ():
        known = test.differences[~np.isnan(test.differences)]
        if test.key[:3] == (kind, metric, row["setting"]) and len(known) >= comparison.FEWEST:
            stream = derive(seed, "score", "power", metric, test.a, test.b)
            detectable.append(power.detectable(known, len(comparisons), stream))
            if (test.a, test.b) in undecided:
                needed.append(power.needed(known, len(comparisons), stream))
    half = float(np.median(needed)) if needed else np.inf
    return {
        "detectable": float(np.median(detectable)) if detectable else None,
        "undecided": len(undecided),
        "needed": int(half) if np.isfinite(half) else None,
    }


def by_name(values: pd.DataFrame, column: str, kinds: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Values (N,) of a column by name ("untrained" before that of an explainer of the untrained network), NaN where an
    image has none. A subject without any value is left out."""
    chosen = values[values["kind"].isin(kinds)]
    names = chosen["explainer"].where(chosen["kind"] != UNTRAINED, UNTRAINED + " " + chosen["explainer"])
    wide = chosen.assign(name=names).pivot(index="image", columns="name", values=column)
    return {name: wide[name].to_numpy(dtype=float) for name in dict.fromkeys(names) if wide[name].notna().any()}


def complete(values: pd.DataFrame, column: str, kinds: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The same of those images for which every subject of these kinds has a value. A subject without values for half of
    the images or more, as one whose maps are mostly constant, is left out: it would leave the others too few."""
    scores = by_name(values, column, kinds)
    known = {name: ~np.isnan(column) for name, column in scores.items()}
    most = max((mask.sum() for mask in known.values()), default=0)
    known = {name: mask for name, mask in known.items() if 2 * mask.sum() > most}
    everywhere = np.all([*known.values()], axis=0) if known else np.zeros(0, bool)
    return {name: scores[name][everywhere] for name in known} if everywhere.any() else {}


def _mean(known: np.ndarray, seed: int, has_interval: bool) -> dict[str, float]:
    if len(known) == 0:
        return {"n": 0, "mean": np.nan, "low": np.nan, "high": np.nan}
    low, high = bootstrap.interval(known, seed) if has_interval else (np.nan, np.nan)
    return {"n": len(known), "mean": float(known.mean()), "low": low, "high": high}


def _kendall(a: dict[str, float], b: dict[str, float]) -> float:
    """1 for the same order, -1 for the reverse; 1 of a single explainer, which has but one."""
    names = [name for name in a if name in b]
    if len(names) < 2:
        return 1.0
    tau = float(scipy.stats.kendalltau([a[name] for name in names], [b[name] for name in names]).statistic)
    return 0.0 if np.isnan(tau) else tau  # one of them ranks nothing
