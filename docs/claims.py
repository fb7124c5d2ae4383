"""docs/claims.md: what `python -m benchmarks.claims` measured.

python -m docs.claims        write the page
"""

from typing import Any

import numpy as np
import pandas as pd

from benchmarks.claims import DEFAULT, INTERVALS, INTERVALS_OF, REPORTS, SAMPLES, TABLES
from benchmarks.pool import RESULTS
from docs.performance import HERE
from docs.runs import table
from glassbox.core import files
from glassbox.core.errors import run
from glassbox.evaluation import classification
from glassbox.statistics import bootstrap
from glassbox.xai_metrics.catalog import MEASUREMENTS

PAGE = HERE / "claims.md"
WAYS = tuple(INTERVALS)

HEAD = """# What a sentence of the report rests on

Made by `python -m docs.claims` from `benchmarks/results/claims/simulation.json`, which `python -m
benchmarks.claims` writes. The simulation takes the scores of real studies for whole populations, makes reports from
images that are drawn from them, and holds each sentence and interval against the population. The scores are those
of {studies} (`benchmarks/results/claims/*.csv.gz`; `python -m benchmarks.pool` makes them from a finished study):
five explainers, the six controls, each explainer on an untrained network, five explainers of noise, and Integrated
Gradients with transposed maps. (The scores of cifar10 and digits, of 150 and 200 images, were measured when pixels with
equal attribution still kept their order in the image; those of planted and tiles, of 80 images, with that order drawn.)

## The tests

- **Which.** Wilcoxon's signed-rank test of paired scores, exact for up to 100 images, ties included. Its direction
  is the sign of its own statistic, and the difference beside it, the Hodges-Lehmann estimate with the interval of
  the same test, is what it tests: the three cannot contradict each other. A test of means would follow a few images
  with very large differences.
- **Corrected for what.** All comparisons of a report are one family: explainers with controls, every two explainers
  by every metric and setting, and eMPRT. Holm's procedure corrects them together, which holds however they depend
  on each other. One family a metric would leave each metric a chance of 5 % for a false sentence, and a report has
  eight or more.
- **Three outcomes.** *Better* and *worse* are decided, *undecided* is all else, and does not mean "equal".
- **Power.** Resampling the differences at hand gives the typical difference that so many images find four times in
  five, and the number of images at which half of the undecided comparisons would be found.

## False claims

Share of reports with at least one false "better", "worse", "passes" or "fails", over all metrics. *Noise*:
explainers of noise in place of the real ones, beside all real controls; draws of the same kind of noise are
exchanged at random image by image, so that each claim about them is false; elsewhere a claim is false where the
opposite holds in the population. *All alike*: scores of all real explainers and controls are exchanged at random, so
that every claim is false. {reports} reports for each study and number of images. The bar is 5 % at most; with
a true share of 5 %, {reports} reports show up to 7.5 % in 96 of 100 such simulations.
"""

POWER = """
## Power

Differences of explainers and controls that the population shows, and the share of them that a report decides,
rightly, by the number of scored images. *Transposed*: how often transposed Integrated Gradients are distinguished from
the intact ones by deletion AUC. The default study has {default} images.
"""

COVERAGE = """
## Intervals of means

How often a 95 % interval holds the mean of the population, a mean over explainers and controls ({samples} samples
each) and over the studies. The report uses the studentized bootstrap; beside it stand the studies in which it holds
the mean least and most often. These ends decide from how many images on the report shows an interval: {fewest}. The one
below 92 % from there on, sensitivity to brightness on tiles, is of a population of 30 images, most of whose scores are
0. No interval is shown where all values are the same, nor of the excess pointing game: a share of hits, of which a few,
or a few misses, make the whole spread.
"""

DIFFERENCES = """
## Intervals of typical differences

How often the 95 % interval of the signed-rank test holds the population's Hodges-Lehmann estimate, a mean over all
comparisons of a report. It is the interval of one comparison; the outcome is corrected for all.
"""

F1 = """
## Macro F1

The interval is that of the delta method on the confusion matrix with two right and two wrong answers more, spread
evenly over the cells on and off its diagonal (for shares that is Agresti and Coull's). A macro F1 has one where every
class has {fewest} test images; here the smallest class has as many. Populations of 2 to 20 classes, alike in size or
not, recognised alike or not, with accuracies of 60 to 99 %: {populations} of them, with {tables} test sets each. Of
the intervals of one population {lowest:.1f} to {highest:.1f} % hold the truth, {mean:.1f} % on average.
"""


def page(results: dict[str, Any]) -> str:
    """The page, from what the simulation wrote."""
    claims = pd.DataFrame(results["claims"])
    studies = list(dict.fromkeys(claims["study"]))
    images = sorted(claims["images"].unique())
    parts = [HEAD.format(studies=", ".join(studies), reports=REPORTS)]
    parts.append(table(["images", *(f"{s}: noise" for s in studies), *(f"{s}: all alike" for s in studies)], [
        [str(n), *(percent(value(claims, s, n, kind)) for kind in ("false_noise", "false_alike") for s in studies)]
        for n in images
    ]))  # fmt: skip
    parts.append(POWER.format(default=DEFAULT))
    parts.append(table(["images", *(f"{s}: decided" for s in studies), *(f"{s}: transposed" for s in studies)], [
        ["differences", *(str(differences_of(claims, s)) for s in studies), *[""] * len(studies)],
        *([str(n), *(percent(value(claims, s, n, kind), 0) for kind in ("decided", "transposed") for s in studies)]
          for n in images),
    ]))  # fmt: skip
    parts.append(COVERAGE.format(samples=SAMPLES, fewest=bootstrap.FEWEST))
    means = pd.DataFrame(results["means"])
    for n in INTERVALS_OF:
        by_metric = means[means["images"] == n].groupby("metric", sort=False)
        by, ends = by_metric[list(WAYS)].mean(), by_metric[WAYS[0]].agg(["min", "max"])
        rows = [
            [MEASUREMENTS[metric], percent(row[WAYS[0]]), span(*ends.loc[metric]), *map(percent, row[list(WAYS[1:])])]
            for metric, row in by.iterrows()
        ]
        parts.append(table([f"{n} images", WAYS[0], "by study", *WAYS[1:]], rows))
    parts.append(DIFFERENCES)
    differences = pd.DataFrame(results["differences"])
    parts.append(table(["images", *studies], [
        [str(n), *(percent(value(differences, s, n, "mean")) for s in studies)] for n in INTERVALS_OF
    ]))  # fmt: skip
    covered = 100 * np.array([row["covered"] for row in results["macro_f1"]])
    about = {"fewest": classification.FEWEST, "populations": len(covered), "tables": TABLES}
    parts.append(F1.format(**about, lowest=covered.min(), highest=covered.max(), mean=covered.mean()))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def differences_of(claims: pd.DataFrame, study: str) -> int:
    """How many differences of explainers and controls the population of a study shows."""
    return int(value(claims, study, DEFAULT, "true_differences"))


def value(rows: pd.DataFrame, study: str, images: int, column: str) -> float:
    """Of the row of a study and a number of images."""
    return float(rows[(rows["study"] == study) & (rows["images"] == images)][column].iloc[0])


def span(low: float, high: float) -> str:
    return f"{100 * low:.1f} to {percent(high)}"


def percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def main() -> None:
    files.write_text(PAGE, page(files.read_json(RESULTS / "simulation.json")))
    print(f"written: {PAGE.relative_to(HERE.parent)}")


if __name__ == "__main__":
    run(main)
