"""docs/tiles.md: which explainer finds the defects of magnetic tiles.

    python -m docs.tiles collect SEED FOLDER    take the small files of studies/tiles.yaml with study.seed = SEED
    python -m docs.tiles                        write the page from them

The folder is a repository in which the study stands finished, at least to *evaluate*. Seed 0 must be whole.
"""

import re
import statistics
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import scipy

from docs.runs import Run, duration, keep, require, table
from glassbox.core import files
from glassbox.core.errors import UserError, run
from glassbox.explainers.catalog import CONTROLLED, EXPLAINER, title_of
from glassbox.scoring import verdicts
from glassbox.statistics.outcomes import BETTER
from glassbox.xai_metrics.catalog import MEASUREMENTS

HERE = Path(__file__).resolve().parent
RUNS, PAGE = HERE / "tiles", HERE / "tiles.md"
SEEDS = ("0", "1", "2")  # also of the splits
TAKEN = ("prepare/card.json", "train/metrics.json", "train/timing.yaml", "evaluate/metrics.json",
         "evaluate/classification_report.csv")  # fmt: skip
IF_THERE = ("score/gate.json", "score/ranking.json", "score/scorecard.csv", "score/timing.yaml", "explain/timing.yaml",
            "explain/analyses/recognised.png")  # fmt: skip
SETTING = re.compile(r"([^/]+)/exp(\d+)_")  # class and acquisition setting in a file's name
SHOWN = ("excess_relevance_mass", "excess_rank_accuracy", "deletion_auc", "insertion_auc")


def collect(seed: str, source: str) -> None:
    """Copy what the page needs, and count the images of each class and acquisition setting.

    Raises:
        UserError: there is no such seed, or a file is missing.
    """
    if seed not in SEEDS:
        raise UserError(f"{seed} is no seed of the page: it must be {', '.join(SEEDS)}")
    root, reports = Path(source), Path(source) / "reports"
    require(root, TAKEN)
    taken = (*TAKEN, *(file for file in IF_THERE if (reports / file).exists()))
    keep(RUNS / seed, root, taken, files.read_json(reports / "train/timing.yaml")["machine"], "")
    data = Path(Run(seed, RUNS / seed).params["data"]["path"])
    names = [SETTING.match(str(path.relative_to(root / data))) for path in (root / data).rglob("*.jpg")]
    counts = pd.crosstab(*zip(*(name.groups() for name in names if name), strict=True))
    files.write_json(RUNS / seed / "settings.json", {label: row.to_dict() for label, row in counts.iterrows()})


def settings(counts: pd.DataFrame) -> str:
    """Whether the acquisition setting tells the class, from the number of images of each class and setting."""
    test = scipy.stats.chi2_contingency(counts)
    v = scipy.stats.contingency.association(counts, method="cramer")
    largest, by_setting = (
        counts.sum(axis=1).max() / counts.to_numpy().sum(),
        counts.max().sum() / counts.to_numpy().sum(),
    )
    told = "no association is shown" if test.pvalue >= 0.05 else "they are associated"
    return (
        f"Chi-squared test of class against setting: p = {test.pvalue:.2g}, Cramér's V {v:.3f}, so {told}. The best "
        f"rule that sees the setting alone is right for {100 * by_setting:.1f} % of the images; always answering the "
        f"largest class is right for {100 * largest:.1f} %."
    )


def classifiers(runs: list[Run]) -> str:
    """A row for each split."""
    rows, recalls = [], []
    for made in runs:
        m, report = made.json("evaluate/metrics.json"), made.csv("evaluate/classification_report.csv").iloc[:-1]
        of_class = dict(zip(report["class"], report["recall"], strict=True))
        recalls.append(of_class)
        cells = [f"{100 * m['accuracy']:.1f} %", f"{m['macro_f1']:.3f}", f"{100 * m['balanced_accuracy']:.1f} %"]
        rows.append([made.name, *cells, *(f"{100 * value:.0f} %" for value in of_class.values())])
    head = ["seed", "accuracy", "macro F1", "balanced accuracy", *(short(name) for name in recalls[0])]
    return table(head, rows)


def short(name: str) -> str:
    return name.removeprefix("MT_").lower()


def explainers(made: Run) -> str:
    """The means of explainers and controls, with intervals."""
    card = made.csv("score/scorecard.csv")
    card = card[card["ranks"] & card["kind"].isin([EXPLAINER, CONTROLLED])]
    rows = []
    for (_, name), part in card.groupby(["kind", "explainer"], sort=False):
        of = part.set_index("metric")
        rows.append([_title(name), *(_cell(of.loc[metric]) if metric in of.index else "" for metric in SHOWN)])
    arrows = {"higher is better": " ↑", "lower is better": " ↓"}
    about = card.drop_duplicates("metric").set_index("metric")
    head = ["", *(MEASUREMENTS[metric] + arrows.get(about.loc[metric, "direction"], "") for metric in SHOWN)]
    return table(head, rows)


def _title(name: str) -> str:
    return title_of(name).replace("|", r"\|")  # a bar would end the cell


def largest(made: Run) -> str:
    """The explainer whose maps have the largest mean of excess relevance mass, and whether that was tested."""
    card = made.csv("score/scorecard.csv")
    of = card[card["ranks"] & (card["kind"] == EXPLAINER) & (card["metric"] == SHOWN[0])].sort_values("mean")
    best = of.iloc[-1]
    tested = SHOWN[0] in made.json("score/ranking.json")["metrics"]
    return f"{title_of(best['explainer'])} puts the largest share inside the masks, {_cell(best)} images. " + (
        "" if tested else "As the masks are not shown to be the truth about this classifier, no test compares these."
    )


def _cell(row: pd.Series) -> str:
    ends = "" if pd.isna(row["low"]) else f" [{row['low']:.2f}, {row['high']:.2f}]"
    return f"{row['mean']:.2f}{ends}, n = {row['n']}"


def against(ranking: dict[str, Any]) -> str:
    """For each explainer and measure, the controls that it is better than."""
    rows = []
    for name, by_metric in verdicts.tally(ranking).items():
        cells = [
            f"{by_metric[metric][BETTER]} of {sum(by_metric[metric].values())}" if metric in by_metric else "not tested"
            for metric in SHOWN
        ]
        rows.append([_title(name), *cells])
    return table(["better than controls by", *(MEASUREMENTS[metric] for metric in SHOWN)], rows)


def page(runs: list[Run]) -> str:
    """The page."""
    whole = runs[0]
    card, gate = whole.json("prepare/card.json"), whole.json("score/gate.json")
    ranking = whole.json("score/ranking.json")
    f1 = [made.json("evaluate/metrics.json")["macro_f1"] for made in runs]
    counts = pd.DataFrame(whole.json("settings.json")).T.sort_index(axis=1)
    seconds = {stage: whole.json(f"{stage}/timing.yaml")["seconds"] for stage in ("train", "explain", "score")}
    images = [
        [short(name), *map(str, row), str(sum(row))] for name, row in zip(counts.index, counts.to_numpy(), strict=True)
    ]
    masks = card["masks"]
    return f"""<!-- Written by docs/tiles.py from the files in docs/tiles/: change those. -->
# A case from industry: defects of magnetic tiles

*Surface defect saliency of magnetic tile* (Huang, Qiu and Yuan 2020, The Visual Computer 36) published 1,344
photographs of magnetic tiles with five kinds of defect or none, and outlined every defect
([the data](https://github.com/abin24/Magnetic-tile-defect-datasets.)). So it can be measured which explainer finds the
defect that the classifier saw. The photographs are not part of glassbox. With an image (.jpg) and its mask (.png) side
by side in `data/raw/tiles/CLASS/`:

```sh
python -m docs.imagenet_weights
make study STUDY=tiles
```

## The photographs

They are grey and not square, 71 % of them show no defect, and some defects are a few pixels wide. Names tell one of six
acquisition settings, `exp1` to `exp6`; three images say `exp0`. Images of each class and setting:

{table(["", *(f"exp{name}" for name in counts.columns), "all"], images)}

{settings(counts.drop(columns="0"))}

## The classifier

An EfficientNet-Lite0 from ImageNet weights, fine-tuned on photographs stretched to 128 x 128 pixels. Every epoch draws
equally many images of each class, because the classes differ in size by a factor of 30. Trained with three seeds, each
with a test split of its own (269 images); the last columns are the recalls of the classes:

{classifiers(runs)}

The mean macro F1 is **{statistics.mean(f1):.3f}** ({min(f1):.3f} to {max(f1):.3f}).

## Truth or plausibility?

Masks are drawn by people. They tell the truth about the classifier only if it uses what they mark. Therefore *score*
first hides the marked region of recognised test images, and as much elsewhere ([how](scorecard.md)).
{gate["masks"]["sentence"]}

{_fillings(gate["masks"])}

## Which explainer finds the defect

From seed 0: {masks["test_images"]} of {card["sizes"]["test"]} test images have a mask; explanations of
{ranking_images(whole)} test images, equally many of each class as far as there are, were scored. Agreement with the
masks is measured on those with a defect that the classifier recognises. Excess relevance mass is the share of the
positive attribution inside the mask, above the mask's own share of the image; 0 is chance. Means with 95 % intervals:

{explainers(whole)}

{largest(whole)}

{against(ranking)}

{verdicts.overview(ranking)}

![Maps of recognised test images; the mask is outlined](tiles/0/explain/analyses/recognised.png)

One network architecture, one size of the images and one set of settings of each explainer were tried. The order of the
explainers may be another one elsewhere.

Time on {whole.facts["machine"].get("threads", "?")} threads of a CPU: training {duration(_total(seconds["train"]))},
explaining {duration(_total(seconds["explain"]))}, scoring {duration(_total(seconds["score"]))}.
"""


def ranking_images(made: Run) -> int:
    """Test images whose explanations were scored."""
    card = made.csv("score/scorecard.csv")
    return int(card["n"].max())


def _fillings(gate: dict[str, Any]) -> str:
    rows = [
        [
            row["filling"],
            *(
                f"{100 * row[name]:.0f} % [{100 * row[f'{name}_low']:.0f}, {100 * row[f'{name}_high']:.0f}]"
                for name in ("hidden", "elsewhere")
            ),
            row["outcome"],
        ]
        for row in gate["fillings"]
    ]
    return table(
        ["hidden by", "recognised, marked region hidden", "recognised, as much hidden elsewhere", "outcome"], rows
    )


def _total(seconds: Any) -> float:
    return float(sum(seconds)) if isinstance(seconds, list) else float(seconds)


def main(*arguments: str) -> None:
    if arguments[:1] == ("collect",):
        collect(*arguments[1:])
        return
    runs = [Run(seed, RUNS / seed) for seed in SEEDS if (RUNS / seed / "run.json").exists()]
    files.write_text(PAGE, page(runs))


if __name__ == "__main__":
    run(lambda: main(*sys.argv[1:]))
