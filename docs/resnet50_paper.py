"""docs/resnet50-paper.md: what the ResNet-50 paper says, in its text and in its code, beside what our runs gave.

    python -m docs.resnet50_paper collect NAME FOLDER [NOTE]    take the small files of a finished study
    python -m docs.resnet50_paper                               write the page from them

NAME is paper (studies/cifar10-resnet50-paper.yaml), appendix (studies/cifar10-resnet50-appendix.yaml), transfer
(studies/cifar10-transfer.yaml) or resnet18 (studies/cifar10-resnet18.yaml), each with whatever was changed. The folder
is a repository in which the study stands finished. Runs that were not made are left out of the page.
"""

import statistics
import sys
from pathlib import Path
from typing import Any

from docs.runs import CLASSES, Run, duration, keep, read_params, require, table
from glassbox.config import yaml_file
from glassbox.config.types import TUNED
from glassbox.core import files
from glassbox.core.errors import UserError, run
from glassbox.report.hypotheses import sentence

HERE = Path(__file__).resolve().parent
RUNS, PAGE = HERE / "resnet50-paper", HERE / "resnet50-paper.md"
TITLES = {
    "paper": "the text", "appendix": "the appendix", "transfer": "EfficientNet-Lite0", "resnet18": "ResNet-18",
}  # fmt: skip
STUDIES = {
    "paper": "cifar10-resnet50-paper",
    "appendix": "cifar10-resnet50-appendix",
    "transfer": "cifar10-transfer",
    "resnet18": "cifar10-resnet18",
}
TAKEN = ("train/curves.csv", "train/metrics.json", "train/timing.yaml", "evaluate/metrics.json",
         "evaluate/classification_report.csv", "evaluate/confusion_matrix.csv")  # fmt: skip
IF_THERE = ("report/hypotheses.json", "explain/timing.yaml", "explain/analyses/recognised.png",
            "explain/analyses/mistakes.png")  # fmt: skip

# Table 4, and the log that the paper prints in the place of its figure 1.
PAPER_OVERALL = {"accuracy": 0.8135, "macro_precision": 0.815, "macro_recall": 0.814, "macro_f1": 0.813}
LOG_ACCURACY = 0.8105
# Table 5: precision, recall, F1.
PAPER_REPORT = {
    "airplane": (0.85, 0.83, 0.84), "automobile": (0.92, 0.90, 0.91), "bird": (0.73, 0.70, 0.71),
    "cat": (0.65, 0.68, 0.66), "deer": (0.80, 0.82, 0.81), "dog": (0.70, 0.67, 0.68), "frog": (0.88, 0.90, 0.89),
    "horse": (0.86, 0.85, 0.85), "ship": (0.93, 0.91, 0.92), "truck": (0.89, 0.88, 0.88),
}  # fmt: skip

# What the paper's text and tables say, what its code does, and what its log and figures show.
DISAGREEMENTS = [
    ("start", "ImageNet weights", "`weights=None`", "", "`model.weights`"),
    ("epochs", "10, and \"five were sufficient\"", "4", "5 in the log", "`train.epochs`"),
    ("dropout before the last layer", "0.5", "none", "", "`model.arguments.dropout`"),
    ("weight decay", "1e-4", "none", "", "`train.weight_decay`"),
    ("learning-rate schedule", "ReduceLROnPlateau, no values given", "none", "", "`train.schedule`"),
    ("colours", "the training images' mean and deviation, per channel", "mean and deviation 0.5", "",
     "`model.normalization`"),
    ("augmentation", "flip, crop after 4 pixels of padding, colour jitter (no values given)",
     "flip, and crop after 4 pixels of padding of the image resized to 224", "", "`augment`, `augment.resize_first`"),
    ("validation and test images", "unchanged", "flipped and cropped at random like the training images", "",
     "`augment.validation_and_test`"),
    ("weights that are kept", "not said (validation is said to serve early stopping)", "those of the last epoch", "",
     "`train.keep`"),
    ("test accuracy", "81.35 % (table 4)", "", "81.05 % in the log", ""),
    ("macro precision", "0.815 (table 4), 0.821 (mean of table 5)", "", "0.81 in the log", ""),
    ("explainer", "Shapley values over superpixels", "`shap.GradientExplainer`, top class only", "",
     "`explain.explainers`"),
    ("background", "100 random training images", "10 images of the test set", "", "`explain.kernel_shap.background`"),
    ("images explained", "correct ones, mistakes, confusable pairs", "the first 3 of the test loader",
     "one cat; the mistakes and pairs are described in words", "`explain`"),
]  # fmt: skip


def collect(name: str, source: str, note: str = "") -> None:
    """Copy what the page needs, small files only, with the commit, the machine and a note on the run.

    Raises:
        UserError: there is no such name, or a file is missing.
    """
    if name not in TITLES:
        raise UserError(f"{name} is no name of a run: it must be {', '.join(TITLES)}")
    root, reports = Path(source), Path(source) / "reports"
    study = read_params(root / "params.yaml")["study"]["name"]
    if study != STUDIES[name]:
        raise UserError(f"{root} holds the study {study}, but {name} is {STUDIES[name]}")
    require(root, TAKEN)
    taken = (*TAKEN, *(file for file in (*IF_THERE, *most_confused(reports)) if (reports / file).exists()))
    keep(RUNS / name, root, taken, files.read_json(reports / "train/timing.yaml")["machine"], note)


def most_confused(reports: Path) -> list[str]:
    """The figure of the first of the pairs that were explained; none without pairs."""
    pairs = files.read_csv(reports / "explain/pairs.csv") if (reports / "explain/pairs.csv").exists() else []
    if not len(pairs):
        return []
    names = files.read_csv(reports / "evaluate/classification_report.csv")["class"].tolist()
    a, b = (names.index(pairs[column][0]) for column in ("a_class", "b_class"))
    return [f"explain/analyses/pair-{a}-{b}.png"]


def load() -> list[Run]:
    """The collected runs."""
    return [Run(name, RUNS / name) for name in TITLES if (RUNS / name / "run.json").exists()]


def changed(made: Run) -> list[str]:
    """What a run changed of its study, as KEY=VALUE, as far as today's study has these keys. Older versions name
    torchvision's networks without "torchvision/", and have "tuned" where today null stands for what is not used."""
    study = yaml_file.flatten(read_params(HERE.parent / f"studies/{STUDIES[made.name]}.yaml"))
    values = {key: value for key, value in yaml_file.flatten(made.params).items() if key in study}
    if "arguments" not in made.params["model"]:
        values["model.name"] = f"torchvision/{values['model.name']}"
        values = {key: None if value == TUNED else value for key, value in values.items()}
    return [f"{key}={_yaml(value)}" for key, value in values.items() if value != study[key]]


def network(made: Run) -> str:
    """Its name, without the registry's."""
    return made.params["model"]["name"].rpartition("/")[2]


def _yaml(value: Any) -> str:
    return "null" if value is None else str(value)


def words(head: list[str], rows: list[list[str]]) -> str:
    """A table of words, all aligned left."""
    return table(head, rows).replace("--:", ":--")


def runs_table(runs: list[Run]) -> str:
    """What was trained, on how much, how long."""

    def row(made: Run) -> list[str]:
        params, timing, curves = made.params, made.json("train/timing.yaml"), made.csv("train/curves.csv")
        size = params["model"]["input_size"] or params["data"]["image_size"]
        test = made.json("evaluate/metrics.json")["images"]
        return [
            f"{network(made)}, {TITLES[made.name]}", f"{size} x {size}",
            str(params["data"]["limit"] or "all"), f"{test:,}", str(len(curves)),
            params["model"]["weights"] or "fresh", duration(sum(timing["seconds"])),
            f"{statistics.median(timing['images_per_second']):.1f}", f"{max(timing['peak_memory']):.1f}",
        ]  # fmt: skip

    head = ["run", "input", "images in all", "test images", "epochs", "weights", "training", "images/s", "peak GiB"]
    return table(head, [row(made) for made in runs])


def overall(runs: list[Run]) -> str:
    """Table 4 beside ours."""
    names = {"accuracy": "accuracy (%)", "macro_precision": "macro precision", "macro_recall": "macro recall",
             "macro_f1": "macro F1"}  # fmt: skip
    found = [made.json("evaluate/metrics.json") for made in runs]
    rows = [
        [title, f"{100 * PAPER_OVERALL[name]:.2f}", *(f"{100 * m[name]:.2f}" for m in found)]
        if name == "accuracy" else [title, f"{PAPER_OVERALL[name]:.3f}", *(f"{m[name]:.3f}" for m in found)]
        for name, title in names.items()
    ]  # fmt: skip
    interval = [f"{100 * m['accuracy_low']:.1f} to {100 * m['accuracy_high']:.1f}" for m in found]
    rows.insert(1, ["95 % interval of the accuracy", "80.6 to 82.1", *interval])
    changed_too = [f"{100 * m['augmented_accuracy']:.2f}" if "augmented_accuracy" in m else "" for m in found]
    if any(changed_too):
        rows.insert(
            2, ["accuracy on test images changed at random (%)", f"{100 * LOG_ACCURACY:.2f} (log)", *changed_too]
        )
    errors = [f"{100 * made.as_trained('ece'):.1f}" for made in runs]
    rows.append(["calibration error as trained, ECE (%)", "not given", *errors])
    return table(["", "paper", *(TITLES[made.name] for made in runs)], rows)


def by_class(runs: list[Run]) -> str:
    """Table 5 beside ours."""
    found = {TITLES[made.name]: made.csv("evaluate/classification_report.csv").set_index("class") for made in runs}
    head = ["class"] + [f"{score} {who}" for score in ("precision", "recall", "F1") for who in ("paper", *found)]
    rows = []
    for name in CLASSES:
        cells = [name]
        for score, printed in zip(("precision", "recall", "f1"), PAPER_REPORT[name], strict=True):
            cells += [f"{value:.2f}" for value in (printed, *(made.loc[name, score] for made in found.values()))]
        rows.append(cells)
    return table(head, rows)


def hypotheses(runs: list[Run]) -> str:
    """What became of the three hypotheses in each run that was explained."""
    parts = []
    for made in runs:
        if (made.folder / IF_THERE[0]).exists():
            parts.append(f"**{TITLES[made.name]}** ({network(made)}):\n")
            for row in made.json(IF_THERE[0]):
                parts.append(f"{row['number']}. {row['hypothesis']} *{row['verdict']}*")
                parts += [f"   - {sentence(check)}" for check in row["checks"]]
            parts.append("")
    return "\n".join(parts)


def pictures(runs: list[Run]) -> str:
    """The analyses of the runs that were explained."""
    captions = {
        "recognised": "Recognised images, and the maps of their classes",
        "mistakes": "Mistakes: for the class chosen, for the true one, and the difference",
        "pair-*": "The pair that is confused most, both classes' maps and their difference",
    }
    parts = []
    for made in runs:
        there = [
            (captions[name], path.relative_to(RUNS.parent).as_posix())
            for name in captions
            for path in (made.folder / "explain/analyses").glob(f"{name}.png")
        ]
        if there:
            parts.append(f"Of {TITLES[made.name]} ({network(made)}):\n")
            parts += [f"![{caption}]({file})\n" for caption, file in there]
    return "## The three analyses\n\n" + "\n".join(parts) if parts else ""


def page(runs: list[Run]) -> str:
    """The page.

    Raises:
        UserError: no run was collected.
    """
    if not runs:
        raise UserError(f"{RUNS} holds no run: 'python -m docs.resnet50_paper collect NAME FOLDER' brings one")
    machines = {made.facts["machine"]["processor"] for made in runs}
    gpus = {made.facts["machine"]["gpu"] or "no GPU" for made in runs}
    commits = sorted({made.facts["commit"][:7] for made in runs})
    notes = [f"- {TITLES[made.name]}: {made.facts['note']}." for made in runs if made.facts["note"]]
    differs = [f"- {TITLES[made.name]} (`studies/{STUDIES[made.name]}.yaml`): `{'`, `'.join(changed(made))}`"
               for made in runs if changed(made)]  # fmt: skip
    rows = [[f"{what}", text, code, log, f"{key}"] for what, text, code, log, key in DISAGREEMENTS]
    threads = f"{'/'.join(sorted({str(made.facts['machine']['threads']) for made in runs}))} threads"
    missing = MISSING if "no GPU" in gpus else ""
    parts = [
        f"""<!-- Written by docs/resnet50_paper.py from the files in docs/resnet50-paper/: change those. -->
# The ResNet-50 paper: two recipes under one title

*Deep Learning Image Classification with Explainability Using SHAP: A Case Study with ResNet-50 and CIFAR-10*
(Qhobosheane 2025): a ResNet-50 on CIFAR-10 enlarged to 224 x 224 pixels, 81.35 % test accuracy, explained by SHAP. Its
text and the code in its appendix describe different experiments. Both are studies here. Two more are transfer learning
that needs no GPU, and a strong baseline trained from scratch.

## Where text, code and results disagree

{words(["", "text and tables", "code in the appendix", "log and figures", "here"], rows)}

- `studies/cifar10-resnet50-paper.yaml` follows the text. What it leaves open is chosen: colour jitter of 0.2, the
  plateau's factor 0.5 after 2 epochs, and the weights of the epoch with the lowest validation loss.
- `studies/cifar10-resnet50-appendix.yaml` follows the code, with the 5 epochs of its log. Its augmentation of
  validation and test images is `augment.validation_and_test: true`: the accuracy on unchanged test images stays the
  headline, and the one that the paper's code would print stands beside it as `augmented_accuracy`.
- `studies/cifar10-transfer.yaml` is transfer learning on 2 CPU cores: an EfficientNet-Lite0 from ImageNet weights,
  fine-tuned at 128 x 128 pixels with the text's augmentation, one cycle of Adam and smoothed labels.
- `studies/cifar10-resnet18.yaml` is a ResNet-18 from scratch on images of their own size: 3 x 3 stem, one cycle of SGD,
  smoothed labels.
- Adam is Keras's here, with epsilon 1e-7 inside (see `src/glassbox/training/optimizers.py`), where the paper's is
  PyTorch's with 1e-8 outside: where the gradient's root mean square is 1e-4, a step is shorter by 1 % at the tenth
  step, by 0.3 % at the hundredth, and by 0.1 % in the end.

## Our runs

Made on {", ".join(sorted(machines))}, {threads}, {", ".join(sorted(gpus))}; commits {", ".join(commits)}.

{runs_table(runs)}
""",
    ]
    if differs:
        parts.append("Changed in them:\n\n" + "\n".join(differs) + "\n")
    if notes:
        parts.append("\n".join(notes) + "\n")
    parts.append(missing)
    parts.append(f"## Tables 4 and 5\n\n{overall(runs)}\n\n{by_class(runs)}\n")
    if told := hypotheses(runs):
        parts.append(
            "## The three hypotheses\n\nWhere the paper looks at pictures, each check here has a number and a "
            "criterion (`reports/report/hypotheses.json`). CIFAR-10 has no masks of its objects, so whether maps point "
            "at them is not tested. These runs were made before the faithfulness of Shapley values, compared with the "
            f"controls, was part of the second hypothesis.\n\n{told}"
        )
    parts.append(pictures(runs))
    parts.append(
        "Made by `python -m docs.resnet50_paper` from the files in [`docs/resnet50-paper/`](resnet50-paper/).\n"
    )
    return "\n".join(part for part in parts if part)


MISSING = """## What is missing

No GPU was at hand for these runs, and ImageNet's weights could not be downloaded. So they show that the code trains and
evaluates at the paper's input size; **their accuracies are those of a few thousand images and say nothing about the
recipes**. Not measured, and to be filled in on a machine with CUDA:

- the accuracy of either ResNet-50 recipe on all of CIFAR-10 (the paper's 81.35 %), with ImageNet's weights or without;
- ResNet-18 from scratch on all of CIFAR-10 (94 % is what it should reach), its wall time and images/s;
- whether `compute.compile`, and TF32 against float32, pay on CUDA. On two CPU cores `compute.compile` does not: in two
  interleaved measurements the CNN trained 0.99 and 1.18 times as fast with it, ResNet-18 0.96 times in both, after 17
  and 46 s of compiling (`python -m benchmarks compiling`, which on CUDA measures TF32, deterministic algorithms and
  ResNet-50 as well); single steps of ResNet-50 took 3.21 s compiled and 3.09 s not;
- explanations of a ResNet-50 that was trained on more than 1,600 images;
- the time of Shapley values with 100 background images, of training and of the search (`sh benchmarks/gpu.sh`). On
  two CPU cores, ResNet-18, one image, 10 classes, 128 coalitions and 4 background images took 3.24 s, a bare forward
  pass of as many images 3.32 s.

On such a machine:

```
make study STUDY=cifar10-resnet18
make study STUDY=cifar10-resnet50-appendix
make study STUDY=cifar10-resnet50-paper
python -m docs.resnet50_paper collect resnet18 .     # after each, with its own name
python -m docs.resnet50_paper
```
"""


def main() -> None:
    match sys.argv[1:]:
        case ["collect", name, folder, *note] if len(note) <= 1:
            collect(name, folder, *note)
        case []:
            files.write_text(PAGE, page(load()))
            print(f"written: {PAGE.relative_to(HERE.parent)}")
        case _:
            raise UserError("usage: python -m docs.resnet50_paper [collect NAME FOLDER [NOTE]]")


if __name__ == "__main__":
    run(main)
