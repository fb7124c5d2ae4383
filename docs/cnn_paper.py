"""docs/cnn-paper.md: the CNN paper's figures and tables beside those of our own runs.

    python -m docs.cnn_paper collect NAME FOLDER    take the small files of a finished study into docs/cnn-paper/NAME/
    python -m docs.cnn_paper                        write the page and its figures from them

NAME is paper-0, paper-1, ... (studies/cifar10-cnn-paper.yaml with that seed), search (studies/cifar10-cnn.yaml), fine
(studies/cifar10-cnn-fine.yaml), or tuned-0, tuned-1, ... (studies/cifar10-cnn-tuned.yaml). The folder is a repository
in which the study stands finished: for an experiment, one into which `dvc exp apply` brought it. Runs that were not
made are left out of the page.
"""

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from docs.runs import CLASSES, Run, duration, keep, read_params, require, table
from glassbox.config.compute import Compute
from glassbox.core import files
from glassbox.core.errors import UserError, run
from glassbox.execution import compute
from glassbox.explaining import selection
from glassbox.figures.evaluation import heatmap
from glassbox.figures.style import BLUE, GREY, ORANGE, figure
from glassbox.xai_metrics.stability import overlap_by_chance

HERE = Path(__file__).resolve().parent
RUNS, PAGE = HERE / "cnn-paper", HERE / "cnn-paper.md"
SEEDS_OF = {"paper": "the paper's hyperparameters", "tuned": "the best of our search"}  # groups of one run a seed
SEARCHES = {"search": "The search", "fine": "A finer search"}
NAME = re.compile(rf"({'|'.join(SEEDS_OF)})-\d+|{'|'.join(SEARCHES)}")
OF_A_SEARCH = ("tune/best.json", "tune/trials.csv", "tune/timing.yaml", "tune/history.png", "tune/trials.png")
OF_A_SEED = (
    "train/curves.csv", "train/metrics.json", "train/timing.yaml", "evaluate/metrics.json",
    "evaluate/classification_report.csv", "evaluate/confusion_matrix.csv",
)  # fmt: skip
OF_LIME = ("explain/lime_stability.csv", "explain/lime_stability.png")  # where its stability was measured

# What the paper prints (its figures 1, 15, 16 and 17, and the text around them).
PAPER_ACCURACY, PAPER_LOSS, PAPER_SEARCH = 0.7236999869346619, 0.8845892548561096, 0.692300021648407
PAPER_TRIALS = 20
PAPER_MATRIX = np.array([
    [664, 19, 55, 4, 66, 10, 27, 22, 75, 58],
    [2, 852, 3, 3, 1, 0, 20, 7, 21, 91],
    [38, 1, 462, 21, 130, 59, 191, 70, 10, 18],
    [9, 8, 30, 361, 83, 179, 199, 76, 22, 33],
    [3, 1, 11, 11, 713, 17, 158, 75, 10, 1],
    [7, 4, 17, 74, 61, 625, 77, 110, 9, 16],
    [1, 2, 3, 14, 21, 5, 940, 5, 6, 3],
    [3, 2, 11, 11, 46, 15, 22, 872, 4, 14],
    [17, 26, 9, 5, 16, 3, 18, 6, 871, 29],
    [9, 48, 2, 5, 3, 3, 22, 12, 19, 877],
])  # fmt: skip
PAPER_REPORT = {
    "airplane": (0.88, 0.66, 0.76), "automobile": (0.88, 0.85, 0.87), "bird": (0.77, 0.46, 0.58),
    "cat": (0.71, 0.36, 0.48), "deer": (0.63, 0.71, 0.67), "dog": (0.68, 0.62, 0.65), "frog": (0.56, 0.94, 0.70),
    "horse": (0.69, 0.87, 0.77), "ship": (0.83, 0.87, 0.85), "truck": (0.77, 0.88, 0.82),
    "macro average": (0.74, 0.72, 0.71),
}  # fmt: skip
PAPER_FOUND = {  # figure 11, without the values of choices that were not taken
    "conv1_filters": 32, "conv1_kernel_size": 3, "activation_func1": "relu", "l2_reg_1": 4.732752932786752e-05,
    "pool_size_1": 3, "dropout_1": 0.3483260393937059, "conv2_filters": 256, "conv2_kernel_size": 3,
    "activation_func2": "relu", "l2_reg_2": 0.003343648880295255, "pool_size_2": 2, "dense_units_1": 64,
    "dense_l2_reg_1": 0.00013916755655764762, "activation_func_dense": "leaky_relu",
    "leaky_relu_alpha_3": 0.15102871289677247, "dense_dropout_1": 0.25226452604864213, "optimizer": "adam",
    "adam_lr": 8.038320164239253e-05,
}  # fmt: skip
PAPER_SAMPLES = {
    0: (0.0012, 0.0009, 0.0064, 0.7430, 0.0152, 0.1110, 0.0602, 0.0005, 0.0592, 0.0023),
    1: (0.0009, 0.1371, 0.0000, 0.0000, 0.0000, 0.0000, 0.0000, 0.0000, 0.8612, 0.0008),
}


def collect(name: str, source: str, note: str = "") -> None:
    """Copy what the page needs, small files only, with the commit, the machine and a note on the run."""
    if not NAME.fullmatch(name):
        raise UserError(f"{name} is no name of a run: it must be like paper-0 or tuned-0, or {' or '.join(SEARCHES)}")
    root, reports = Path(source), Path(source) / "reports"
    params = read_params(root / "params.yaml")
    if name in SEARCHES:
        taken, timing, lime = OF_A_SEARCH, "tune/timing.yaml", None
    else:
        taken, timing, lime = OF_A_SEED, "train/timing.yaml", explained(reports, params["explain"])
    pictures = {image: picture_of(reports, image) for image in lime["images"]} if lime else {}
    stable = bool(lime) and params["explain"]["lime"].get("stability", {"images": 0})["images"] > 0
    if stable:
        taken += OF_LIME
    require(root, taken)
    if stable and "top_overlap_by_chance" not in files.read_csv(reports / OF_LIME[0]):
        raise UserError(f"{reports / OF_LIME[0]} is of an older version: 'dvc repro' in {root} makes it anew")
    machine = files.read_json(reports / timing).get("machine")
    if machine is None:
        note = "; ".join(filter(None, [note, "the machine was written down afterwards"]))
        later = {"tf32": False, "deterministic": True, "compile": False}  # keys that older runs do not have
        machine = compute.machine(compute.resolve(Compute(**later | params["compute"])))
    to = RUNS / name
    keep(to, root, taken, machine, note)
    if lime:
        files.write_json(to / "explain/lime.json", lime)
    for image, picture in pictures.items():
        shutil.copy2(picture, to / f"explain/sample-{image}.png")


def explained(reports: Path, explain: dict[str, Any]) -> dict[str, Any] | None:
    """LIME's results for the images that the study chose by position, and for all; None where it was left out.

    Args:
        reports: of the study.
        explain: that section of its parameters.

    Raises:
        UserError: a file is missing.
    """
    if "lime" not in explain["explainers"]:
        return None
    index = files.read_csv(reports / "explain/index.csv")
    predictions = files.read_csv(reports / "evaluate/predictions.csv").set_index("image")
    lime = index[index["explainer"] == "lime"]
    samples = {}
    for image in explain["images"]:
        row = predictions.loc[image]
        samples[image] = {
            "true_class": row["true_class"],
            "probabilities": {name: round(float(row[f"p({name})"]), 6) for name in CLASSES},
            "local_r2": float(lime[lime["image"] == image]["local_r2"].iloc[0]),
        }
    r2 = {"mean": lime["local_r2"].mean(), "lowest": lime["local_r2"].min()}
    maps = int(lime["local_r2"].count())  # those that have one
    return {"maps": maps, "samples_of_lime": explain["lime"]["samples"], "images": samples, "local_r2": r2}


def picture_of(reports: Path, image: int) -> Path:
    found = reports / "explain/figures" / selection.picture_of(image)
    if not found.exists():
        raise UserError(f"{reports}/explain/figures has no picture of test image {image}: 'dvc repro' makes it")
    return found


def load() -> dict[str, list[Run]]:
    """The collected runs by group: "paper", "search" (all of them), "tuned"."""
    groups: dict[str, list[Run]] = {"paper": [], "search": [], "tuned": []}
    for folder in sorted(RUNS.iterdir()) if RUNS.exists() else []:
        if folder.is_dir() and NAME.fullmatch(folder.name):
            group = "search" if folder.name in SEARCHES else folder.name.split("-")[0]
            groups[group].append(Run(folder.name, folder))
    groups["search"].sort(key=lambda run: list(SEARCHES).index(run.name))
    return groups


def of_seeds(groups: dict[str, list[Run]]) -> list[tuple[str, list[Run]]]:
    """Title and runs of each group of one run a seed, where there are runs."""
    return [(title, groups[group]) for group, title in SEEDS_OF.items() if groups[group]]


def keras_loss(run: Run) -> float:
    """Test cross-entropy with the weight penalty of the weights that were kept: what Keras calls the loss."""
    return run.as_trained("log_loss") + run.json("train/metrics.json")["best_epoch_weight_penalty"]


def spread(values: list[float], scale: float = 1.0, digits: int = 2) -> str:
    """Mean and standard deviation over runs; of one run the value."""
    values = [scale * value for value in values]
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.{digits}f}"


def draw_curves(path: Path, groups: dict[str, list[Run]]) -> None:
    """Accuracy and loss by epoch, a line a seed, as in the paper's figures 13 and 14."""
    shown = of_seeds(groups)
    with figure(path, 7.6, 2.9 * len(shown)) as drawing:
        for (title, runs), (left, right) in zip(shown, drawing.subplots(len(shown), 2, squeeze=False), strict=True):
            for place, run in enumerate(runs):
                curves = run.csv("train/curves.csv")
                for part, colour in (("train", ORANGE), ("validation", BLUE)):
                    label = part if place == 0 else None
                    left.plot(curves["epoch"], 100 * curves[f"{part}_accuracy"], color=colour, linewidth=1, label=label)
                    loss = curves[f"{part}_loss"] + curves["weight_penalty"]
                    right.plot(curves["epoch"], loss, color=colour, linewidth=1, label=label)
            left.axhline(100 * PAPER_ACCURACY, color=GREY, linestyle=":", linewidth=1, label="paper, test")
            right.axhline(PAPER_LOSS, color=GREY, linestyle=":", linewidth=1, label="paper, test")
            left.set(xlabel="epoch", ylabel="accuracy (%)", title=f"Accuracy, {title}")
            right.set(xlabel="epoch", ylabel="cross-entropy + penalty", title="Loss as Keras counts it")
            for axis in (left, right):
                axis.grid(axis="y")
                axis.legend(fontsize=7.5)


def draw_confusion(path: Path, groups: dict[str, list[Run]]) -> None:
    """The paper's confusion matrix beside the means of ours, in images of 1,000 a class."""
    panels = [("paper", PAPER_MATRIX)]
    for title, runs in of_seeds(groups):
        mean = np.mean([run.csv("evaluate/confusion_matrix.csv").iloc[:, 1:] for run in runs], axis=0)
        panels.append((f"ours, {title}\n(mean of {len(runs)} seeds)", mean))
    with figure(path, 4.1 * len(panels), 4.6) as drawing:
        axes = drawing.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for axis, (title, matrix) in zip(axes, panels, strict=True):
            picture = heatmap(axis, matrix, fontsize=6.5)
            axis.set_xticks(range(10), CLASSES, rotation=60, ha="right")
            axis.set_yticks(range(10), CLASSES)
            axis.set(title=title, xlabel="predicted")
        axes[0].set_ylabel("true")
        drawing.colorbar(picture, ax=list(axes), label="share of the true class (%)", shrink=0.7)


def summary(groups: dict[str, list[Run]]) -> str:
    columns = of_seeds(groups)

    def test(name: str) -> Callable[[list[Run]], list[float]]:
        return lambda runs: [run.json("evaluate/metrics.json")[name] for run in runs]

    def as_trained(name: str, **how: float) -> Callable[[list[Run]], str]:
        return lambda runs: spread([run.as_trained(name) for run in runs], **how)

    def epochs(run: Run) -> str:
        outcome = run.json("train/metrics.json")
        return f"{outcome['epochs']} ({outcome['best_epoch']})"

    accuracy, loss = test("accuracy"), "test loss with the weight penalty, as Keras counts it"
    rows: list[tuple[str, str, Callable[[list[Run]], str]]] = [
        ("test accuracy (%)", f"{100 * PAPER_ACCURACY:.2f}", lambda runs: f"**{spread(accuracy(runs), 100)}**"),
        ("of each seed (%)", "", lambda runs: ", ".join(f"{100 * value:.2f}" for value in accuracy(runs))),
        (loss, f"{PAPER_LOSS:.4f}", lambda runs: spread([keras_loss(run) for run in runs], digits=4)),
        ("test cross-entropy alone, as trained (nats)", "not given", as_trained("log_loss", digits=4)),
        ("macro F1", "0.71", lambda runs: spread(test("macro_f1")(runs), digits=3)),
        ("expected calibration error as trained (%)", "not given", as_trained("ece", scale=100, digits=1)),
        ("epochs trained (best one)", "at most 50", lambda runs: ", ".join(map(epochs, runs))),
        ("wall time of the training", "not given", lambda runs: ", ".join(map(training_time, runs))),
    ]
    return table(
        ["", "paper", *(f"ours, {title} ({len(runs)} seeds)" for title, runs in columns)],
        [[title, paper, *(value(runs) for _, runs in columns)] for title, paper, value in rows],
    )


def training_time(run: Run) -> str:
    return duration(sum(run.json("train/timing.yaml")["seconds"]))


def classification(groups: dict[str, list[Run]]) -> str:
    def reports(group: str) -> list[pd.DataFrame]:
        return [run.csv("evaluate/classification_report.csv").set_index("class") for run in groups[group]]

    ours = {title: reports(group) for group, title in (("paper", "ours"), ("tuned", "tuned")) if groups[group]}
    head = ["class"] + [f"{score} {who}" for score in ("precision", "recall", "F1") for who in ("paper", *ours)]
    rows = []
    for name, printed in PAPER_REPORT.items():
        cells = [name]
        for score, value in zip(("precision", "recall", "f1"), printed, strict=True):
            means = [np.mean([report.loc[name, score] for report in made]) for made in ours.values()]
            cells += [f"{number:.2f}" for number in (value, *means)]
        rows.append(cells)
    return table(head, rows)


def search_section(run: Run, tuned: list[Run]) -> str:
    tune, best, timing = run.params["tune"], run.json("tune/best.json"), run.json("tune/timing.yaml")
    trials = run.csv("tune/trials.csv")
    states = trials["state"].value_counts()
    counts = ", ".join(str(states.get(state, 0)) for state in ("complete", "pruned", "failed"))
    most, at_once = tune["n_trials"] * tune["epochs"], timing.get("trials_at_once", tune["workers"])
    # Older versions have the measure's name as the key, and a batch size of trials alone.
    value = best.get("value", best.get("validation_accuracy"))
    batch = tune.get("batch_size", run.params["train"]["batch_size"])
    outcome = [
        ["best validation accuracy (%)", f"{100 * PAPER_SEARCH:.2f}", f"**{100 * value:.2f}**"],
        ["trials complete, pruned, failed", f"{PAPER_TRIALS}, 0, 0", counts],
        ["epochs run", "400 at most", f"{best['epochs']} of {most} ({100 * best['epochs'] / most:.0f} %)"],
        ["time", "2 h 49 min on an A100", f"{duration(sum(timing['seconds']))} of trials, {at_once} at a time"],
    ]
    if tune["n_trials"] > PAPER_TRIALS:
        early = trials[(trials["trial"] < PAPER_TRIALS) & (trials["state"] == "complete")]
        values = [f"{100 * value:.2f}" for value in (PAPER_SEARCH, early["validation_accuracy"].max())]
        outcome.insert(1, [f"of the first {PAPER_TRIALS} trials (%)", *values])
    if tuned:
        accuracy = spread([one.json("evaluate/metrics.json")["accuracy"] for one in tuned], 100)
        outcome.append(["test accuracy of the final training (%)", f"{100 * PAPER_ACCURACY:.2f}", accuracy])
    found = [
        [f"`{name}`", searched(option), *(shown(values.get(name)) for values in (PAPER_FOUND, run.found))]
        for name, option in run.options.items() if name in PAPER_FOUND or name in run.found
    ]  # fmt: skip
    return f"""## {SEARCHES[run.name]}

{tune["n_trials"]} trials of at most {tune["epochs"]} epochs, batches of {batch}, Optuna's TPE after
{tune["startup_trials"]} random trials, early stopping (patience {tune["patience"]}), median pruning,
{at_once} at a time; {augmentation(run)}.

{table(["", "paper", "ours"], outcome)}

![Validation accuracy of every trial](cnn-paper/{run.name}/tune/history.png)

![Validation accuracy of every trial, epoch by epoch](cnn-paper/{run.name}/tune/trials.png)

What the paper's search found, and what ours did:

{table(["hyperparameter", "searched", "paper", "ours"], found)}
"""


def searched(option: dict[str, Any]) -> str:
    """The values that a search could take."""
    if "choices" in option:
        return ", ".join(map(str, option["choices"]))
    return f"{option['low']:g} to {option['high']:g}{', log scale' if option.get('log') else ''}"


def shown(value: Any) -> str:
    """A hyperparameter's value; "-" where it is not used."""
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def augmentation(run: Run) -> str:
    """What its training images went through."""
    how = run.params["augment"]
    kinds = (("mirrored", how["flip"]), (f"shifted by up to {how['crop']} pixels", how["crop"]),
             ("changed in colour", how["brightness"] or how["contrast"] or how["saturation"]))  # fmt: skip
    used = [kind for kind, is_on in kinds if is_on]
    return f"training images are {' and '.join(used)} at random" if used else "training images are taken as they are"


def preparation(title: str, run: Run) -> str:
    """A sentence on what else than hyperparameters differs between the groups."""
    normalised = "normalised by the training images' mean and deviation"
    colours = normalised if run.params["model"]["normalization"] == "data" else "left in 0..1"
    return f"With {title} {augmentation(run)}, and colours are {colours}."


def lime_head(title: str) -> str:
    return f"""## LIME

The paper's figures 16 to 18 show a region outlined for a cat and for a ship, which look like the first two test images.
The same two, explained by the first run with {title} (first row of maps: for the predicted class; a
second one, if there is, for the true class):
"""


def lime_section(head: str, run: Run) -> str:
    lime, stability = run.json("explain/lime.json"), run.csv("explain/lime_stability.csv")
    parts = [head]
    for image, sample in lime["images"].items():
        columns = {"paper's sample": PAPER_SAMPLES[int(image)]} if int(image) in PAPER_SAMPLES else {}
        columns["ours"] = [sample["probabilities"][name] for name in CLASSES]
        rows = [
            [name, *(f"{value:.4f}" for value in row)] for name, *row in zip(CLASSES, *columns.values(), strict=True)
        ]
        picture = f"cnn-paper/{run.name}/explain/sample-{image}.png"
        parts.append(f"""![Test image {image}: what speaks for and against its classes]({picture})

{table([f"test image {image} ({sample['true_class']}): probability", *columns], rows)}

LIME's local R² for it: {sample["local_r2"]:.2f}.
""")
    rows = [
        [f"{row.samples:.0f}", f"{row.rank_agreement:.2f}", f"{100 * row.top_overlap:.0f} %",
         f"{row.agreement_with_most:.2f}", f"{row.local_r2:.2f}"]
        for row in stability.groupby("samples", as_index=False).mean().itertuples()
    ]  # fmt: skip
    strongest = run.params["explain"]["lime"]["regions"]
    regions = stability.groupby("image", sort=False)["regions"].first()
    chance = np.mean([overlap_by_chance(count, strongest) for count in regions])
    head = ["samples", "rank correlation of two seeds",
            f"{strongest} strongest regions shared ({100 * chance:.0f} % by chance)",
            "rank correlation with the mean of other runs of the most samples", "local R²"]  # fmt: skip
    parts.append(f"""Over all {lime["maps"]} LIME maps of the run the local R² is {lime["local_r2"]["mean"]:.2f} on
average and {lime["local_r2"]["lowest"]:.2f} at worst. How far to trust such a picture: {len(regions)} images
({", ".join(map(str, regions))} regions), each explained with
{stability["seeds"].iloc[0]} seeds for each number of samples. The study takes {lime["samples_of_lime"]:,}.

{table(head, rows)}

![LIME's maps by number of samples and seed](cnn-paper/{run.name}/explain/lime_stability.png)
""")
    return "\n".join(parts)


def described(machine: dict[str, Any]) -> str:
    where = machine["gpu"] or f"{machine['processor']}, {machine['threads']} thread(s), no GPU"
    return f"{where} (Python {machine['python']}, PyTorch {machine['torch']})"


def page(groups: dict[str, list[Run]]) -> str:
    """The page as Markdown."""
    every = [run for runs in groups.values() for run in runs]
    if not every:
        raise UserError(f"{RUNS} holds no run: 'python -m docs.cnn_paper collect NAME FOLDER' puts one there")
    machines = list(dict.fromkeys(described(run.facts["machine"]) for run in every))
    notes = {run.facts["note"]: [other.name for other in every if other.facts["note"] == run.facts["note"]]
             for run in every if run.facts["note"]}  # fmt: skip
    commits = sorted({run.facts["commit"][:7] for run in every})
    parts = [
        f"""<!-- Written by docs/cnn_paper.py from the files in docs/cnn-paper/: change those. -->
# The CNN paper, reproduced

*An Approach to Explainable Image Classification* (Erdem 2025): a two-block CNN on CIFAR-10, 20 trials of Bayesian
search, {100 * PAPER_ACCURACY:.2f} % test accuracy, LIME. Its figures and tables beside runs of glassbox, made on
{" and on ".join(machines)}; commits {", ".join(commits)}.
Means ± standard deviations are over seeds, each of which also draws its own 10,000 of the 50,000 training images for
validation; the 10,000 test images were used once a run, by *evaluate*. The paper's figures 3, 4, 13 and 14 are pictures
of curves without numbers, so they are not repeated here.

{summary(groups)}
"""
    ]
    if groups["tuned"] and groups["search"]:
        parts.append(
            "The best of our search is what the last search below found, its values rounded to four digits\n"
            "(`studies/cifar10-cnn-tuned.yaml`). That search saw the validation images of seed 0, and no test image.\n"
            + "".join(f"{preparation(title, runs[0])}\n" for title, runs in of_seeds(groups))
        )
    parts += [f"Of {', '.join(names)}: {note}.\n" for note, names in notes.items()]
    if groups["paper"] or groups["tuned"]:
        parts.append("![Accuracy and loss by epoch, one line a seed](cnn-paper/curves.png)\n")
        parts.append("![Confusion matrices](cnn-paper/confusion.png)\n")
        parts.append("## Classification report\n\nMeans over seeds, beside the paper's figure 15.\n")
        parts.append(f"{classification(groups)}\n")
    for found in groups["search"]:  # the last of them found what was trained with several seeds
        parts.append(search_section(found, groups["tuned"] if found == groups["search"][-1] else []))
    stable = [
        (title, found)
        for title, runs in of_seeds(groups)
        if (found := [run for run in runs if (run.folder / OF_LIME[0]).exists()])
    ]
    for place, (title, found) in enumerate(stable):
        parts.append(lime_section(f"### The same images in {title}\n" if place else lime_head(title), found[0]))
    parts.append(same_and_other(every[0].params["train"]))
    return "\n".join(parts)


def same_and_other(train: dict[str, Any]) -> str:
    """What a reader must know to compare.

    Args:
        train: that section of the parameters.
    """
    return f"""## What is the same, and what is not

- **The network** is the paper's layer by layer: 486,346 parameters, 485,770 of them trainable, as in its figure 1
  (`tests/models/networks/test_cnn.py`).
- **Keras's semantics.** Weight penalties lambda * sum(w^2) on the kernels of both convolutions and of the hidden dense
  layer, batch normalisation with momentum 0.99 and epsilon 1e-3, Glorot-uniform kernels, pooling with stride = size,
  and Adam and RMSprop with Keras's own place and size of epsilon. A small network of the kind, trained in Keras
  3.15 and here from the same weights, gives the same losses to 1 part in 100,000 after each of eight steps
  (`tests/models/networks/test_against_keras.py`). Early stopping and ReduceLROnPlateau watch the validation loss with
  the weight penalty, as Keras does, and wait as many epochs as Keras waits.
- **Not the same:** arithmetic in bfloat16 where the processor has it (`compute.precision: float32` turns it off);
  Optuna's TPE with median pruning in the place of KerasTuner's Gaussian process; the best weights are restored; after
  the learning rate falls, SGD's momentum uses the new rate at once (Keras's over some steps); running variances
  are those of samples (Keras's of populations, a difference of 1 in 3,000 here).
- **What the paper does not say**, and we chose: the patience of early stopping ({train["patience"]} epochs), the
  schedule (factor {train["lr_factor"]} after {train["lr_patience"]} epochs, not below {train["min_learning_rate"]:g}),
  batches of {train["batch_size"]} in the final training too, no augmentation (it "considers" some and names no values),
  and the share of validation images: 10,000, because 0.6923 is a share of 10,000 images. Those may have been the test
  images, which would flatter its numbers.
- **LIME's regions.** The paper calls the library with its defaults, which find one to three regions in a 32x32 image.
  We take SLIC with 50 segments requested, which finds 25 to 36, and take a grid of squares where it finds fewer than 8.

Made by `python -m docs.cnn_paper` from the files in [`docs/cnn-paper/`](cnn-paper/).
"""


def main() -> None:
    match sys.argv[1:]:
        case ["collect", name, folder, *note] if len(note) <= 1:
            collect(name, folder, *note)
        case []:
            groups = load()
            text = page(groups)
            if groups["paper"] or groups["tuned"]:
                draw_curves(RUNS / "curves.png", groups)
                draw_confusion(RUNS / "confusion.png", groups)
            files.write_text(PAGE, text)
            print(f"written: {PAGE.relative_to(HERE.parent)}")
        case _:
            raise UserError("usage: python -m docs.cnn_paper [collect NAME FOLDER [NOTE]]")


if __name__ == "__main__":
    run(main)
