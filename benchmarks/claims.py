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
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
import scipy

from benchmarks.pool import NOISE, NOISES, RESULTS, TRANSPOSED
from glassbox.core import files
from glassbox.evaluation import classification
from glassbox.explainers.catalog import CONTROLLED, EXPLAINER, EXPLAINERS, UNTRAINED
from glassbox.scoring import scorecard
from glassbox.scoring.preparation import Column
from glassbox.scoring.scorecard import AGAINST, RANDOMISED
from glassbox.statistics import bootstrap, comparison
from glassbox.statistics.comparison import Comparison
from glassbox.statistics.outcomes import BETTER, UNDECIDED, WORSE
from glassbox.xai_metrics.randomization import EMPRT

REPORTS = 200  # of each kind, study and number of images
SAMPLES = 150  # of an interval's coverage
DEFAULT, OTHERS = 60, (12, 20, 40, 100)  # images
INTERVALS_OF = (20, bootstrap.FEWEST, DEFAULT)  # images whose intervals are covered
LEAST = 20  # images of a population whose intervals are covered
TABLES = 300  # confusion matrices of a population, for the intervals of the macro F1
# A report knows the explainers of the registry alone, so each explainer of noise takes the name of one of them.
NAMED = dict(zip(NOISES, EXPLAINERS, strict=False))
ALIKE = {"noise": "random", "smooth": "smooth_random", "regions": "region_random"}  # the control of the same noise
KINDS = (EXPLAINER, CONTROLLED, UNTRAINED)  # of subjects that a report compares


@dataclass(frozen=True)
class Population:
    """Scores that reports are drawn from.

    Attributes:
        scores: (N, S, C) of images, subjects and columns, NaN where there is none.
        subjects: names, as in `scorecard.by_name`.
        settings_of: columns, see `scorecard.columns`.
    """

    scores: np.ndarray
    subjects: list[str]
    settings_of: dict[str, list[Column]]

    @property
    def columns(self) -> list[Column]:
        """All columns in their order."""
        return [column for settings in self.settings_of.values() for column in settings]

    def family(self, scores: np.ndarray) -> list[Comparison]:
        """What a report on such scores (N, S, C) compares, by the function that makes the report's own family."""

        def scores_of(column: Column) -> dict[str, np.ndarray]:
            of_column = scores[:, :, self.columns.index(column)]
            known = ~np.isnan(of_column).all(axis=0)
            return {name: of_column[:, place] for place, name in enumerate(self.subjects) if known[place]}

        return [*scorecard.family(self.settings_of, scores_of)]


def pools() -> dict[str, pd.DataFrame]:
    """Scores of all studies, by name."""
    found = {path.name.removesuffix(".csv.gz"): pd.read_csv(path) for path in sorted(RESULTS.glob("*.csv.gz"))}
    assert len(found) >= 4, "python -m benchmarks.pool makes the scores of a study"
    return {name: scorecard.with_maps(values) for name, values in found.items()}


def with_noise(values: pd.DataFrame) -> Population:
    """Explainers of noise in place of the real ones, with the controls."""
    blind = values["explainer"].isin(NOISES)
    own = values[blind].assign(
        explainer=values["explainer"].replace(NAMED), kind=values["kind"].replace({NOISE: EXPLAINER})
    )
    return population(pd.concat([own, values[values["kind"] == CONTROLLED]], ignore_index=True))


def with_explainers(values: pd.DataFrame) -> Population:
    """The real explainers, with the controls."""
    return population(values[~values["explainer"].isin(NOISES)])


def population(values: pd.DataFrame) -> Population:
    """Of a table of values."""
    settings_of = scorecard.columns(values)
    columns = [column for settings in settings_of.values() for column in settings]
    scores = [scorecard.by_name(values, str(column), KINDS) for column in columns]
    subjects = list(dict.fromkeys(name for of_column in scores for name in of_column))
    missing = np.full(values["image"].nunique(), np.nan)
    stacked = [np.stack([of_column.get(name, missing) for name in subjects], axis=1) for of_column in scores]
    return Population(np.stack(stacked, axis=2), subjects, settings_of)


def known(one: Comparison) -> np.ndarray:
    """Differences of the images that have one."""
    return one.differences[~np.isnan(one.differences)]


def truth(of_population: list[Comparison]) -> dict[tuple[str, ...], str]:
    """By key what is true of a population: the direction of the test, for with many ties the typical difference may be
    0 all the same."""
    better = {one.key: comparison.statistic(known(one)) * (1 if one.higher_is_better else -1) for one in of_population}
    return {key: BETTER if sign > 0 else WORSE if sign < 0 else UNDECIDED for key, sign in better.items()}


def exchanged(scores: np.ndarray, places: list[int], rng: np.random.Generator) -> np.ndarray:
    """Scores (N, S, C) in which those of some subjects are exchanged at random with each other, image by image."""
    order = rng.random((len(scores), len(places))).argsort(axis=1)
    made = scores.copy()
    made[:, places] = np.take_along_axis(scores[:, places], order[:, :, None], axis=1)
    return made


def of_one_law(of: Population, scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Scores (N, S, C) as they are when maps before and after randomization are draws of one law: the sign of eMPRT is
    a coin, image by image."""
    made = scores.copy()
    for place, column in enumerate(of.columns):
        if column.metric == EMPRT.name:
            made[:, :, place] *= rng.choice((-1, 1), made.shape[:2])
    return made


def false_with_noise(values: pd.DataFrame, images: int, seed: int, reports: int) -> float:
    """Share of reports on explainers of noise with a false claim."""
    of = with_noise(values)
    kind_of = {control: kind for kind, control in ALIKE.items()}
    for noise, name in NAMED.items():
        kind_of |= dict.fromkeys((name, f"{UNTRAINED} {name}"), noise.rpartition("_")[0])
    groups = [[place for place, name in enumerate(of.subjects) if kind_of.get(name) == kind] for kind in ALIKE]
    true = truth(of.family(of.scores))

    def is_false(key: tuple[str, ...], outcome: str) -> bool:
        kind, *_, a, b = key
        alike = kind == RANDOMISED or kind_of[a] == kind_of.get(b)
        return outcome != UNDECIDED and (alike or outcome != true[key])

    rng, false = np.random.default_rng(seed), 0
    for _ in range(reports):
        drawn = of.scores[rng.integers(0, len(of.scores), images)]
        for places in groups:
            drawn = exchanged(drawn, places, rng)
        table = comparison.compare(of.family(of_one_law(of, drawn, rng)))
        false += any(is_false(*one) for one in zip(table.index, table["outcome"], strict=True))
    return false / reports


def false_when_all_are_alike(values: pd.DataFrame, images: int, seed: int, reports: int) -> float:
    """Share of reports with a claim, when the scores of all subjects are exchanged at random image by image."""
    of = with_explainers(values)
    rng, false = np.random.default_rng(seed), 0
    for _ in range(reports):
        drawn = of.scores[rng.integers(0, len(of.scores), images)]
        drawn = of_one_law(of, exchanged(drawn, [*range(len(of.subjects))], rng), rng)
        false += bool((comparison.compare(of.family(drawn))["outcome"] != UNDECIDED).any())
    return false / reports


def power(values: pd.DataFrame, images: int, seed: int, reports: int) -> dict[str, float]:
    """Of the differences of explainers and controls that the population shows (decided with all of its images) the
    share that a report decides rightly; and how often it tells transposed maps from the intact ones."""
    of = with_explainers(values)
    apart = with_transposed(values)
    whole = comparison.compare(of.family(of.scores))["outcome"]
    shown = {key: what for key, what in whole.items() if key[0] == AGAINST and what != UNDECIDED}
    rng = np.random.default_rng(seed)
    right, told = [], []
    for _ in range(reports):
        places = rng.integers(0, len(of.scores), images)
        turned = Comparison("transposed", apart.a, apart.b, apart.differences[places], apart.higher_is_better)
        found = comparison.compare([*of.family(of.scores[places]), turned])["outcome"].to_dict()
        right.append(np.mean([found.get(key, UNDECIDED) == what for key, what in shown.items()]))
        told.append(found["transposed"] == BETTER)
    return {"true_differences": len(shown), "decided": float(np.mean(right)), "transposed": float(np.mean(told))}


def with_transposed(values: pd.DataFrame) -> Comparison:
    """Maps of Integrated Gradients with the same maps transposed, by deletion."""
    deletion = scorecard.columns(values)["deletion_auc"][0]
    name = "integrated_gradients"
    intact, turned = (scorecard.by_name(values, str(deletion), (kind,))[name] for kind in (EXPLAINER, TRANSPOSED))
    return Comparison("transposed", name, TRANSPOSED, intact - turned, higher_is_better=False)


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


INTERVALS = {"studentized": bootstrap.studentized, "percentile": percentile, "BCa": bca, "t": student}


def coverage_of_means(values: pd.DataFrame, images: int, seed: int, samples: int) -> pd.DataFrame:
    """A row a metric and subject of a scorecard: how often each kind of interval holds the mean of the population."""
    of, rng, rows = with_explainers(values), np.random.default_rng(seed), []
    for place, name in enumerate(of.subjects):
        for number, column in enumerate(of.columns):
            scores = of.scores[:, place, number]
            scores = scores[~np.isnan(scores)]
            if name.startswith(UNTRAINED) or len(scores) < LEAST or np.ptp(scores) == 0:
                continue
            drawn = [scores[rng.integers(0, len(scores), images)] for _ in range(samples)]
            covered = {
                way: held([interval(one, sample) for sample, one in enumerate(drawn)], scores.mean())
                for way, interval in INTERVALS.items()
            }
            rows.append({"subject": name, "metric": column.metric, "images": images} | covered)
    return pd.DataFrame(rows)


def held(ends: list[tuple[float, float]], truth: float) -> float:
    """Share of intervals that hold the truth, of those that there are: values that are all alike have none. NaN where
    none of them is one."""
    low, high = np.array(ends).T
    shown = ~np.isnan(low)
    return float(((low <= truth + 1e-12) & (truth - 1e-12 <= high))[shown].mean()) if shown.any() else np.nan


def coverage_of_differences(values: pd.DataFrame, images: int, seed: int, samples: int) -> np.ndarray:
    """How often the interval of a typical difference holds that of the population, for each comparison of a family."""
    of, rng, found = with_explainers(values), np.random.default_rng(seed), []
    for one in of.family(of.scores):
        whole = known(one)
        if len(whole) < LEAST or np.ptp(whole) == 0:
            continue
        ends = [comparison.shift(whole[rng.integers(0, len(whole), images)])[1:] for _ in range(samples)]
        found.append(held(ends, comparison.shift(whole)[0]))
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
        row = {"study": name, "images": images}
        row["false_noise"] = false_with_noise(values, images, seed, REPORTS)
        row["false_alike"] = false_when_all_are_alike(values, images, seed, REPORTS)
        claims_of.append(row | power(values, images, seed, REPORTS))
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
