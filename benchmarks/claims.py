"""Do the report's sentences and intervals hold? A simulation on the scores of real studies.

The scores of `benchmarks/results/claims/*.csv.gz` (see `benchmarks.pool`) are taken for the whole population. Reports
are made from images drawn from it with replacement, and each "better" or "worse" and each interval is held against the
population. Measured are, by the number of images:

- false claims: share of reports with at least one false "better", "worse", "passes" or "fails". With explainers of
  noise in place of the real ones, beside all real controls: what is alike by construction (two draws of the same kind
  of noise, trained or not) is exchanged at random image by image, so that each claim about it is false; of the other
  comparisons a claim is false where the population says the opposite. And with the real explainers, all of whose scores
  are exchanged at random with each other and with the controls: then every claim is false.
- power: share of the true differences that are decided, and how often transposed maps are told from the intact ones.
- coverage of the intervals of means, of typical differences, and of the macro F1 (on confusion matrices drawn for it).

    python -m benchmarks.claims        about a quarter of an hour on 2 cores
"""

import multiprocessing
from itertools import combinations, product

import numpy as np
import pandas as pd
import scipy

from benchmarks.pool import NOISE, RESULTS, TRANSPOSED
from glassbox import bootstrap, comparison, files, scorecard
from glassbox.evaluation import classification
from glassbox.names import CONTROLLED, EXPLAINER, UNTRAINED
from glassbox.scoring import METRICS, Column

REPORTS, FEWER = 200, 40  # of each kind and study: with as many images as the default study has, and with others
SAMPLES = 150  # of an interval's coverage
DEFAULT, OTHERS = 60, (12, 20, 40, 100)  # images
INTERVALS_OF = (20, 60)  # images whose intervals are covered
TABLES = 300  # confusion matrices of a population, for the intervals of the macro F1
KINDS = ("noise", "smooth", "regions")  # of explainers of noise, by the begin of their names
ALIKE = {"noise": "random", "smooth": "smooth_random", "regions": "region_random"}  # the control of the same kind


def pools() -> dict[str, pd.DataFrame]:
    """Scores of all studies, by name."""
    found = {path.name.removesuffix(".csv.gz"): pd.read_csv(path) for path in sorted(RESULTS.glob("*.csv.gz"))}
    assert len(found) >= 4, "python -m benchmarks.pool makes the scores of a study"
    return {name: scorecard.with_maps(values) for name, values in found.items()}


def with_noise(values: pd.DataFrame) -> pd.DataFrame:
    """Explainers of noise in place of the real ones."""
    blind = values[values["kind"] == NOISE]["explainer"].unique()
    untrained = values[(values["kind"] == UNTRAINED) & values["explainer"].isin(blind)]
    own = values[values["kind"] == NOISE].assign(kind=EXPLAINER)
    return pd.concat([own, values[values["kind"] == CONTROLLED], untrained], ignore_index=True)


def with_explainers(values: pd.DataFrame) -> pd.DataFrame:
    """The real explainers alone, with the controls."""
    blind = values[values["kind"] == NOISE]["explainer"].unique()
    kept = values["kind"].isin((EXPLAINER, CONTROLLED, UNTRAINED)) & ~values["explainer"].isin(blind)
    return values[kept]


def tensor(values: pd.DataFrame) -> tuple[np.ndarray, list[tuple[str, str]], list[str]]:
    """Scores (N, S, C) of all images, subjects (kind, name) and columns."""
    names = [text for text in values.columns if Column.parse(text).metric in METRICS]
    subjects = list(dict.fromkeys(zip(values["kind"], values["explainer"], strict=True)))
    rows = [
        values[(values["kind"] == kind) & (values["explainer"] == name)].sort_values("image")[names].to_numpy(float)
        for kind, name in subjects
    ]
    return np.stack(rows, axis=1), subjects, names


def comparisons(subjects: list[tuple[str, str]], names: list[str]) -> list[tuple[int, int | None, int]]:
    """The family of a report: places of a, b and the column; b is None for eMPRT, which tests against no change."""
    place = {subject: number for number, subject in enumerate(subjects)}
    explainers = [subject for subject in subjects if subject[0] == EXPLAINER]
    found: list[tuple[int, int | None, int]] = []
    for number, text in enumerate(names):
        metric = METRICS[Column.parse(text).metric]
        if metric.name == "emprt":
            found += [(place[one], None, number) for one in explainers]
        if metric.higher_is_better is None:
            continue
        found += [(place[a], place[b], number) for a, b in combinations(explainers, 2)]
        if metric.property in scorecard.AGAINST_CONTROLS:
            for one in explainers:
                others = [s for s in subjects if s[0] == CONTROLLED or s == (UNTRAINED, one[1])]
                found += [(place[one], place[other], number) for other in others]
    return found


def differences(scores: np.ndarray, family: list[tuple[int, int | None, int]]) -> np.ndarray:
    """(N, M)."""
    return np.stack([scores[:, a, c] - (0 if b is None else scores[:, b, c]) for a, b, c in family], axis=1)


def claims(of_family: np.ndarray) -> np.ndarray:
    """The sign of each claim of a report, 0 where it is undecided: (M,), from differences (N, M)."""
    columns = [one[~np.isnan(one)] for one in of_family.T]
    p = np.array([comparison.p_value(one) if len(one) else 1.0 for one in columns])
    signs = np.array([np.sign(comparison.statistic(one)) if len(one) else 0.0 for one in columns])
    return np.where(comparison.holm(p) < comparison.LEVEL, signs, 0)


def false_with_noise(values: pd.DataFrame, images: int, seed: int, reports: int) -> float:
    """Share of reports on explainers of noise with a false claim."""
    scores, subjects, names = tensor(with_noise(values))
    family = comparisons(subjects, names)
    groups = [
        [
            n
            for n, (kind, name) in enumerate(subjects)
            if name.startswith(f"{one}_") or (kind, name) == (CONTROLLED, ALIKE[one])
        ]
        for one in KINDS
    ]
    group_of = {n: number for number, group in enumerate(groups) for n in group}
    alike = np.array([b is None or (a in group_of and group_of.get(a) == group_of.get(b)) for a, b, _ in family])
    # The direction of the test on the whole population: with many ties the typical difference may be 0 all the same.
    truth = np.array([np.sign(comparison.statistic(d[~np.isnan(d)])) for d in differences(scores, family).T])
    rng, false = np.random.default_rng(seed), 0
    for _ in range(reports):
        drawn = scores[rng.integers(0, len(scores), images)]
        for group in groups:
            order = rng.random((images, len(group))).argsort(axis=1)
            drawn[:, group] = np.take_along_axis(drawn[:, group], order[:, :, None], axis=1)
        made = differences(drawn, family)
        for number, (_, b, _) in enumerate(family):
            if b is None:  # maps before and after randomization are draws of one law
                made[:, number] *= rng.choice((-1, 1), images)
        said = claims(made)
        false += bool(((said != 0) & (alike | (said != truth))).any())
    return false / reports


def false_when_all_are_alike(values: pd.DataFrame, images: int, seed: int, reports: int) -> float:
    """Share of reports with a claim, when the scores of all subjects are exchanged at random image by image."""
    scores, subjects, names = tensor(with_explainers(values))
    family = comparisons(subjects, names)
    rng, false = np.random.default_rng(seed), 0
    for _ in range(reports):
        drawn = scores[rng.integers(0, len(scores), images)]
        order = rng.random((images, len(subjects))).argsort(axis=1)
        made = differences(np.take_along_axis(drawn, order[:, :, None], axis=1), family)
        for number, (_, b, _) in enumerate(family):
            if b is None:
                made[:, number] *= rng.choice((-1, 1), images)
        false += bool((claims(made) != 0).any())
    return false / reports


def power(values: pd.DataFrame, images: int, seed: int, reports: int) -> dict[str, float]:
    """Of the differences of explainers and controls that the population shows (significant with all of its images) the
    share that a report decides rightly; and how often it tells transposed maps from the intact ones."""
    scores, subjects, names = tensor(with_explainers(values))
    family = comparisons(subjects, names)
    whole = differences(scores, family)
    truth = claims(whole)
    with_controls = np.array([b is not None and subjects[b][0] != EXPLAINER for _, b, _ in family])
    chosen = with_controls & (truth != 0)
    turned = values[values["kind"] == TRANSPOSED]
    rng = np.random.default_rng(seed)
    right, told = [], []
    intact = values[(values["kind"] == EXPLAINER) & (values["explainer"] == "integrated_gradients")]
    deletion = next(name for name in names if Column.parse(name).metric == "deletion_auc")
    apart = intact.sort_values("image")[deletion].to_numpy() - turned.sort_values("image")[deletion].to_numpy()
    for _ in range(reports):
        places = rng.integers(0, len(scores), images)
        right.append((claims(whole[places]) == truth)[chosen].mean())
        one = apart[places]
        told.append(comparison.p_value(one[~np.isnan(one)]) < comparison.LEVEL / len(family))
    return {"true_differences": int(chosen.sum()), "decided": float(np.mean(right)), "transposed": float(np.mean(told))}


def studentized(values: np.ndarray, seed: int) -> tuple[float, float]:
    """Bootstrap-t (Efron 1979; Hall 1988)."""
    n, rng = len(values), np.random.default_rng(seed)
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(n)
    drawn = values[rng.integers(0, n, (1000, n))]
    errors = drawn.std(axis=1, ddof=1) / np.sqrt(n)
    t = (drawn.mean(axis=1) - mean)[errors > 0] / errors[errors > 0]
    low, high = np.quantile(t, (0.025, 0.975)) if len(t) else (0, 0)
    return mean - high * error, mean - low * error


def percentile(values: np.ndarray, seed: int) -> tuple[float, float]:
    """Percentile bootstrap (Efron 1979)."""
    drawn = values[np.random.default_rng(seed).integers(0, len(values), (1000, len(values)))].mean(axis=1)
    return tuple(np.quantile(drawn, (0.025, 0.975)))


def bca(values: np.ndarray, seed: int) -> tuple[float, float]:
    """Bias-corrected and accelerated bootstrap (Efron 1987)."""
    n = len(values)
    drawn = values[np.random.default_rng(seed).integers(0, n, (1000, n))].mean(axis=1)
    bias = scipy.stats.norm.ppf(np.clip((drawn < values.mean()).mean(), 1e-3, 1 - 1e-3))
    away = values.mean() - values
    acceleration = (away**3).sum() / (6 * max((away**2).sum(), 1e-300) ** 1.5)
    z = bias + scipy.stats.norm.ppf((0.025, 0.975))
    if not (away**2).any():
        return np.nan, np.nan
    return tuple(np.quantile(drawn, scipy.stats.norm.cdf(bias + z / (1 - acceleration * z))))


def student(values: np.ndarray, _: int) -> tuple[float, float]:
    """Student's t."""
    half = scipy.stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return values.mean() - half, values.mean() + half


INTERVALS = {
    "used here": bootstrap.interval, "percentile": percentile, "BCa": bca, "studentized": studentized, "t": student,
}  # fmt: skip


def coverage_of_means(values: pd.DataFrame, images: int, seed: int, samples: int) -> pd.DataFrame:
    """A row a metric and subject of a scorecard: how often each kind of interval holds the mean of the population."""
    scores, subjects, names = tensor(with_explainers(values))
    rng, rows = np.random.default_rng(seed), []
    for place, (kind, name) in enumerate(subjects):
        for column, text in enumerate(names):
            known = scores[:, place, column]
            known = known[~np.isnan(known)]
            if kind == UNTRAINED or len(known) < 20 or np.ptp(known) == 0:
                continue
            drawn = [known[rng.integers(0, len(known), images)] for _ in range(samples)]
            about = {"subject": f"{kind} {name}", "metric": Column.parse(text).metric, "images": images}
            rows.append(
                about
                | {
                    way: held([interval(one, sample) for sample, one in enumerate(drawn)], known.mean())
                    for way, interval in INTERVALS.items()
                }
            )
    return pd.DataFrame(rows)


def held(ends: list[tuple[float, float]], truth: float) -> float:
    """Share of intervals that hold the truth, of those that there are: values that are all alike have none. NaN where
    none of them is one."""
    low, high = np.array(ends).T
    shown = ~np.isnan(low)
    return float(((low <= truth + 1e-12) & (truth - 1e-12 <= high))[shown].mean()) if shown.any() else np.nan


def coverage_of_differences(values: pd.DataFrame, images: int, seed: int, samples: int) -> np.ndarray:
    """How often the interval of a typical difference holds that of the population, for each comparison of a family."""
    scores, subjects, names = tensor(with_explainers(values))
    rng, found = np.random.default_rng(seed), []
    for known in differences(scores, comparisons(subjects, names)).T:
        known = known[~np.isnan(known)]
        if len(known) < 20 or np.ptp(known) == 0:
            continue
        ends = [comparison.shift(known[rng.integers(0, len(known), images)])[1:] for _ in range(samples)]
        found.append(held(ends, comparison.shift(known)[0]))
    return np.array([share for share in found if not np.isnan(share)])


# Shares of the classes, of which the largest has 12 times as many images as the smallest, or as many.
CLASS_SIZES = {
    "alike": np.ones,
    "from 1 to 12": lambda classes: np.linspace(1, 12, classes),
    "one of 1, others of 12": lambda classes: np.where(np.arange(classes) == 0, 1, 12),
}


def coverage_of_macro_f1(tables: int = TABLES, seed: int = 0) -> pd.DataFrame:
    """How often the interval of the macro F1 holds that of the population, on the smallest test sets that have one.

    A population has so many classes of these sizes, recognised equally often, or some much better than others (shares
    of the mistakes from a symmetric Dirichlet distribution), and mistakes fall on some classes more than on others. Of
    the smallest class `classification.FEWEST` images are drawn.

    Args:
        tables: confusion matrices that are drawn of each population.
        seed: of populations and tables.

    Returns:
        A row a population: `classes`, `sizes`, `accuracy` (mean of the classes), `recalls` ("alike" or "unlike"),
        `images` of a test set, `macro_f1`, `covered` (share of the tables) and `width`, the mean width of an interval.
    """
    rng, rows = np.random.default_rng(seed), []
    for sizes, classes, accuracy, recalls in product(
        CLASS_SIZES, (2, 3, 6, 10, 20), (0.6, 0.8, 0.9, 0.95, 0.98, 0.99), ("alike", "unlike")
    ):
        share = CLASS_SIZES[sizes](classes) / CLASS_SIZES[sizes](classes).min()
        images = np.ceil(share * classification.FEWEST)
        of_mistakes = np.full(classes, 1 / classes) if recalls == "alike" else rng.dirichlet(np.ones(classes))
        population = np.empty((classes, classes))
        for true, wrong in enumerate(np.clip((1 - accuracy) * classes * of_mistakes, 0.0005, 0.98)):
            population[true] = np.insert(wrong * rng.dirichlet(np.full(classes - 1, 0.5)), true, 1 - wrong)
        joint = population * images[:, None]
        truth = float((2 * np.diag(joint) / (joint.sum(axis=0) + joint.sum(axis=1))).mean())
        ends = []
        for _ in range(tables):
            drawn = np.stack([rng.multinomial(int(n), row) for n, row in zip(images, population, strict=True)])
            ends.append(classification.macro_f1_interval(drawn, 0.95))
        low, high = np.array(ends).T
        rows.append(
            {
                "classes": classes,
                "sizes": sizes,
                "accuracy": accuracy,
                "recalls": recalls,
                "images": int(images.sum()),
                "macro_f1": truth,
                "covered": float(((low <= truth) & (truth <= high)).mean()),
                "width": float((high - low).mean()),
            }
        )
    return pd.DataFrame(rows)


def study(name: str, seed: int = 0) -> dict[str, object]:
    """All that is measured on the scores of one study."""
    values = pools()[name]
    claims_of, means, typical = [], [], []
    for images in (DEFAULT, *OTHERS):
        reports = REPORTS if images == DEFAULT else FEWER
        row = {"study": name, "images": images, "reports": reports}
        row["false_noise"] = false_with_noise(values, images, seed, reports)
        row["false_alike"] = false_when_all_are_alike(values, images, seed, reports)
        claims_of.append(row | power(values, images, seed, FEWER))
        print(claims_of[-1], flush=True)
    for images in INTERVALS_OF:
        table = coverage_of_means(values, images, seed, SAMPLES)
        for metric, part in table.groupby("metric", sort=False):
            row = {"study": name, "images": images, "metric": metric, "subjects": len(part)}
            means.append(row | {way: float(part[way].mean()) for way in INTERVALS})
        covered = coverage_of_differences(values, images, seed, SAMPLES)
        typical.append({"study": name, "images": images, "comparisons": len(covered), "mean": float(covered.mean())})
        print(typical[-1], table[list(INTERVALS)].mean().round(3).to_dict(), flush=True)
    return {"claims": claims_of, "means": means, "differences": typical}


def main() -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        made = pool.map(study, pools())
    results = {part: [row for one in made for row in one[part]] for part in ("claims", "means", "differences")}
    files.write_json(RESULTS / "simulation.json", results | {"macro_f1": coverage_of_macro_f1().to_dict("records")})


if __name__ == "__main__":
    main()
