"""Which explanation to believe: the measured values of all images, summarised, tested, ranked and put into words."""

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import scipy

from glassbox import bootstrap, comparison, headline, notes, scoring
from glassbox.families import MEASUREMENTS
from glassbox.names import CONTROLLED, CONTROLS, EXPLAINER, EXPLAINERS, MATCHED, TITLES, UNTRAINED
from glassbox.scoring import METRICS, Column, Ground, Scored
from glassbox.seeds import derive
from glassbox.xai_metrics.randomization import EMPRT

COSTS = ("model_evaluations", "backward_passes")
AGAINST_CONTROLS = (
    "faithfulness",
    "localization",
)  # properties that a map which knows nothing of the model cannot have
EVERY, NONE = "every control", "no control"  # that explainers beat, in words
UNSTABLE = 0.5  # Kendall's tau between two settings, below which the order hangs on the choice


@dataclass(frozen=True)
class Scorecard:
    """What is kept of a scoring.

    Attributes:
        tables: by name: `values` (of `scoring.table`), `scorecard` (of `summarise`), `randomization` (of
            `scoring.curves`), `budgets` (of `scoring.budgets`).
        ranking: `metrics` (of `rank`), `emprt` (of `passes`), `constant_maps` (of `scoring.constant_maps`) and
            `verdicts`.
    """

    tables: dict[str, pd.DataFrame]
    ranking: dict[str, Any]

    def headline(self) -> dict[str, float]:
        """What of it stands in summaries, by `metric/explainer`."""
        return headline.flat(headline.headline(self.tables["scorecard"]))


def make(scored: list[Scored], ground: Ground, classes: tuple[str, ...], seed: int) -> Scorecard:
    """Summarise, test, rank and put into words what was measured.

    Args:
        scored: of `scoring.score`.
        ground: that it was measured on.
        classes: names.
        seed: of the study.
    """
    values = scoring.table(scored, ground, classes)
    card, ranking = summarise(values, seed), rank(values, seed)
    passed = passes(card)
    tables = {"values": values, "scorecard": card, "randomization": scoring.curves(scored),
              "budgets": scoring.budgets(scored)}  # fmt: skip
    flat = scoring.constant_maps(values)
    sentences = verdicts(ranking, passed) + notes.constant_maps(flat, ground.explain.grad_cam.relu)
    return Scorecard(tables, {"metrics": ranking, "emprt": passed, "constant_maps": flat, "verdicts": sentences})


def columns(values: pd.DataFrame) -> dict[str, list[Column]]:
    """Metrics with their settings, the one that ranks first."""
    found: dict[str, list[Column]] = {}
    for text in values.columns:
        column = Column.parse(text)
        if column.metric in METRICS:
            found.setdefault(column.metric, []).append(column)
    return found


def summarise(values: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Long form: a row for each subject, metric and setting with the mean over images and its 95 % bootstrap interval
    (Efron 1979), from the same resamples for every subject.

    Args:
        values: of `scoring.table`.
        seed: of the study.

    Returns:
        `explainer`, `kind`, `metric`, `setting`, `ranks` (whether this setting is the one that ranks), `property`,
        `direction`, `unit`, `n` (images that have a value), `mean`, `low`, `high` (NaN without such images).
    """
    resamples, rows = derive(seed, "score", "bootstrap"), []
    for (kind, name), part in values.groupby(["kind", "explainer"], sort=False):
        subject = {"explainer": name, "kind": kind}
        for metric, settings in columns(values).items():
            about = METRICS[metric]
            described = {"property": about.property, "direction": about.direction, "unit": about.unit}
            for column in settings:
                known = part[str(column)].dropna().to_numpy()
                if len(known) == 0 and kind in (UNTRAINED, MATCHED):
                    continue  # not asked for
                setting = {"metric": metric, "setting": column.setting, "ranks": column is settings[0]}
                rows.append(subject | setting | described | _mean(known, resamples))
        for cost in COSTS:
            about = {"metric": cost, "setting": "", "ranks": False, "property": "cost",
                     "direction": "lower is better", "unit": "images a map"}  # fmt: skip
            rows.append(subject | about | _mean(part[cost].to_numpy(), resamples))
    return pd.DataFrame(rows)


def rank(values: pd.DataFrame, seed: int) -> dict[str, Any]:
    """By every metric that ranks: the order of the explainers and controls, what tells them apart, and whether the
    order holds with other settings of the metric.

    Args:
        values: of `scoring.table`.
        seed: of the study.

    Returns:
        For each metric `n`, the images that have a value for every subject; `mean_ranks` of explainers and controls,
        `friedman` and `cliques` (see `comparison.Ranking`); `pairs` of explainers; `controls`, each explainer against
        each control and against itself on an untrained network, Holm-corrected within the metric, with `beaten`;
        `settings`, the mean ranks of the explainers by each of them, and `kendall`, the agreement of every two of
        these orders; `matched`, mean ranks at the common number of evaluations. Metrics without such images are left
        out.
    """
    resamples, found = derive(seed, "score", "bootstrap"), {}
    for metric, settings in columns(values).items():
        about = METRICS[metric]
        if about.higher_is_better is None:
            continue
        first, direction = str(settings[0]), about.higher_is_better
        scores = complete(values, first, (EXPLAINER, CONTROLLED))
        n = len(next(iter(scores.values()), ()))
        if n == 0:
            continue
        ranking = comparison.rank(scores, direction, resamples)
        own = [name for name in scores if name in EXPLAINERS]
        orders = {}
        for column in settings:
            by = complete(values, str(column), (EXPLAINER,))
            if by:
                orders[column.setting] = comparison.mean_ranks(by, direction)
        row = {
            "property": about.property, "direction": about.direction, "citation": about.citation,
            "setting": settings[0].setting, "n": n, "mean_ranks": ranking.mean_ranks, "friedman": ranking.friedman,
            "cliques": ranking.cliques,
            "pairs": comparison.paired({name: scores[name] for name in own}, resamples).to_dict("records"),
            "settings": orders,
            "kendall": {f"{a} / {b}": _kendall(orders[a], orders[b]) for a, b in combinations(orders, 2)},
        }  # fmt: skip
        if about.property in AGAINST_CONTROLS:
            row["controls"] = _against_controls(values, first, direction, resamples)
        alike = complete(values, first, (MATCHED,))
        if alike:
            row["matched"] = comparison.mean_ranks(alike, direction)
        found[metric] = row
    return found


def passes(card: pd.DataFrame) -> dict[str, dict[str, bool]]:
    """eMPRT, for each explainer and control and each setting: whether the interval of the rise lies above zero.

    Args:
        card: of `summarise`.
    """
    part = card[(card["metric"] == EMPRT.name) & card["kind"].isin((EXPLAINER, CONTROLLED))]
    return {
        name: {row.setting: bool(row.low > 0) for row in rows.itertuples()}
        for name, rows in part.groupby("explainer", sort=False)
    }


def verdicts(ranking: dict[str, Any], passed: dict[str, dict[str, bool]]) -> list[str]:
    """The scorecard in words: which explainers fail to beat which control, which do not notice that the weights are
    gone, and where the order hangs on a metric's settings.

    Args:
        ranking: of `rank`.
        passed: of `passes`.
    """
    sentences = []
    for metric, row in ranking.items():
        if "controls" not in row:
            continue
        if row["n"] < (least := fewest(len(row["controls"]))):
            sentences.append(f"{_title(metric)}: {row['n']} images are too few to compare, {least} at least.")
            continue
        groups: dict[str | tuple[str, ...], list[str]] = {}  # of explainers of which the same is said
        for name, tests in pd.DataFrame(row["controls"]).groupby("explainer", sort=False):
            unbeaten = tuple(tests.loc[~tests["beaten"], "control"].map(lambda c: CONTROLS.get(c, UNTRAINED)))
            what = EVERY if not unbeaten else NONE if len(unbeaten) == len(tests) else unbeaten
            groups.setdefault(what, []).append(TITLES[name])
        said = [_beats(groups.pop(what), what) for what in (EVERY, NONE) if what in groups]
        said += [_beats(group, what) for what, group in groups.items()]
        sentences.append(f"{_title(metric)}: {'; '.join(said)}.")
    fails = [TITLES[name] for name, by in passed.items() if name in EXPLAINERS and not all(by.values())]
    if passed and fails:
        sentences.append(
            f"eMPRT: {_enumerate(fails)} {'fails' if len(fails) == 1 else 'fail'}: without the learnt weights the maps "
            "do not become more complex beyond chance."
        )
    elif passed:
        sentences.append(
            "eMPRT: every explainer passes: its maps become more complex when the learnt weights are lost."
        )
    lowest = {metric: min(row["kendall"].values()) for metric, row in ranking.items() if row["kendall"]}
    shaky = [f"{_title(m, lower=True)} (Kendall's tau {tau:.2f})" for m, tau in lowest.items() if tau < UNSTABLE]
    if shaky:
        sentences.append(f"The order of the explainers hangs on the metric's settings by {_enumerate(shaky)}.")
    return sentences


def fewest(tests: int) -> int:
    """Images below which Holm's correction lets none of so many signed-rank tests reject: N differences of one sign
    have p = 2 / 2^N."""
    return 1 + math.floor(math.log2(2 * tests / comparison.LEVEL))


def complete(values: pd.DataFrame, column: str, kinds: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Values of a column by name ("untrained" before that of an explainer on the untrained network), of those images
    for which every subject of these kinds has one; a subject that has none at all is left out."""
    chosen = values[values["kind"].isin(kinds)]
    names = chosen["explainer"].where(chosen["kind"] != UNTRAINED, UNTRAINED + " " + chosen["explainer"])
    wide = chosen.assign(name=names).pivot(index="image", columns="name", values=column)
    known = [name for name in dict.fromkeys(names) if wide[name].notna().any()]
    rows = wide[known].dropna()
    return {name: rows[name].to_numpy() for name in known} if len(rows) else {}


def _against_controls(values: pd.DataFrame, column: str, higher_is_better: bool, seed: int) -> list[dict[str, Any]]:
    scores = complete(values, column, (EXPLAINER, CONTROLLED, UNTRAINED))
    own = [name for name in scores if name in EXPLAINERS]
    pairs = [(name, control) for name in own for control in (*CONTROLS, f"{UNTRAINED} {name}") if control in scores]
    tests = comparison.paired(scores, seed, pairs)
    better = (tests["difference"] > 0) == higher_is_better
    tests["beaten"] = better & (tests["p_holm"] < comparison.LEVEL) & (tests["difference"] != 0)
    return tests.rename(columns={"a": "explainer", "b": "control"}).to_dict("records")


def _mean(known: np.ndarray, seed: int) -> dict[str, float]:
    if len(known) == 0:
        return {"n": 0, "mean": np.nan, "low": np.nan, "high": np.nan}
    low, high = bootstrap.interval(known, seed)
    return {"n": len(known), "mean": float(known.mean()), "low": low, "high": high}


def _kendall(a: dict[str, float], b: dict[str, float]) -> float:
    """1 for the same order, -1 for the reverse; 1 of a single explainer, which has but one."""
    names = [name for name in a if name in b]
    if len(names) < 2:
        return 1.0
    tau = float(scipy.stats.kendalltau([a[name] for name in names], [b[name] for name in names]).statistic)
    return 0.0 if np.isnan(tau) else tau  # one of them ranks nothing


def _title(metric: str, lower: bool = False) -> str:
    title = MEASUREMENTS[metric]
    return title if lower else title[0].upper() + title[1:]


def _beats(group: list[str], what: str | tuple[str, ...]) -> str:
    """`what`: EVERY, NONE, or the controls that these explainers fail to beat, UNTRAINED for themselves untrained."""
    several = len(group) > 1
    if what in (EVERY, NONE):
        return f"{_enumerate(group)} {'beat' if several else 'beats'} {what}"
    untrained = f"{'themselves' if several else 'itself'} on an untrained network"
    controls = [untrained if control == UNTRAINED else control for control in what]
    return f"{_enumerate(group)} {'do' if several else 'does'} not beat {_enumerate(controls, 'or')}"


def _enumerate(items: list[str], last: str = "and") -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}"
