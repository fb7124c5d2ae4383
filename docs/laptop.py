"""docs/laptop.md: what a machine without a GPU reaches on CIFAR-10, and how long it takes.

    python -m docs.laptop collect FOLDER [NOTE]    take the small files of a finished training
    python -m docs.laptop                          write the page from them, and from those of the pages on the papers

The folder is a repository in which *train* and *evaluate* of a study in studies/ stand finished, on all of CIFAR-10.
"""

import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from docs import cnn_paper, resnet50_paper
from docs.runs import Run, duration, keep, read_params, require, table
from glassbox.config import yaml_file
from glassbox.core import files
from glassbox.core.errors import UserError, run

HERE = Path(__file__).resolve().parent
RUNS, PAGE, STUDIES = HERE / "laptop", HERE / "laptop.md", HERE.parent / "studies"
TAKEN = ("train/curves.csv", "train/metrics.json", "train/timing.yaml", "evaluate/metrics.json",
         "evaluate/confusion_matrix.csv")  # fmt: skip
TEST_IMAGES = 10_000  # of CIFAR-10
PAPERS = [  # study, network, test accuracy, machine
    ["CNN paper (Erdem 2025)", "two-block CNN", f"{100 * cnn_paper.PAPER_ACCURACY:.2f}", "", "an A100, time not given"],
    ["ResNet-50 paper (Qhobosheane 2025)", "ResNet-50 at 224 x 224",
     f"{100 * resnet50_paper.PAPER_OVERALL['accuracy']:.2f}", "", "\"e.g., Tesla T4 or V100\", time not given"],
]  # fmt: skip


def collect(source: str, note: str = "") -> None:
    """Copy what the page needs, small files only, with the commit, the machine and a note on the run.

    Raises:
        UserError: a file is missing, or the test images are not all of CIFAR-10's.
    """
    root = Path(source)
    params = read_params(root / "params.yaml")
    require(root, TAKEN)
    tested = files.read_json(root / "reports/evaluate/metrics.json")["images"]
    if tested != TEST_IMAGES:
        raise UserError(f"{root}/reports/evaluate/metrics.json is of {tested} images, but CIFAR-10 has {TEST_IMAGES}")
    machine = files.read_json(root / "reports/train/timing.yaml")["machine"]
    keep(RUNS / f"{params['study']['name']}-{params['study']['seed']}", root, TAKEN, machine, note)


def load() -> dict[str, list[Run]]:
    """The runs on all of CIFAR-10 by study, in the order of their mean accuracy; those of a study by seed."""
    collected = [Run(path.parent.name, path.parent) for path in sorted(RUNS.glob("*/run.json"))]
    of_papers = [made for _, runs in cnn_paper.of_seeds(cnn_paper.load()) for made in runs] + resnet50_paper.load()
    studies = defaultdict(list)
    for made in collected + of_papers:
        if made.json("evaluate/metrics.json")["images"] == TEST_IMAGES:
            studies[made.params["study"]["name"]].append(made)
    return dict(sorted(studies.items(), key=lambda item: statistics.mean(accuracies(item[1]))))


def accuracies(runs: list[Run], name: str = "accuracy") -> list[float]:
    """Test accuracies in %."""
    return [100 * made.json("evaluate/metrics.json")[name] for made in runs]


def row(study: str, runs: list[Run]) -> list[str]:
    """A study's line of the table."""
    mirrored = "mirrored_accuracy" in runs[0].json("evaluate/metrics.json")
    times = [made.json("train/timing.yaml") for made in runs]
    seconds = [sum(timing["seconds"]) for timing in times]
    epochs = [len(timing["seconds"]) for timing in times]
    pace = statistics.median(pace for timing in times for pace in timing["images_per_second"])
    of_all = "" if len(runs) == 1 else f" ({duration(min(seconds))} to {duration(max(seconds))})"
    machine = runs[0].facts["machine"]
    return [
        f"`{study}`", resnet50_paper.network(runs[0]), cnn_paper.spread(accuracies(runs)),
        cnn_paper.spread(accuracies(runs, "mirrored_accuracy")) if mirrored else "", str(len(runs)),
        span(epochs), duration(statistics.median(seconds)) + of_all, f"{pace:.0f}", str(machine["threads"]),
    ]  # fmt: skip


def span(numbers: list[int]) -> str:
    return str(numbers[0]) if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"


def changed(made: Run) -> list[str]:
    """What a run changed of its study but for the seed, as KEY=VALUE, as far as today's study has these keys."""
    study = yaml_file.flatten(read_params(STUDIES / f"{made.params['study']['name']}.yaml"))
    values = yaml_file.flatten(made.params)
    return [f"{k}={values[k]}" for k in study if k in values and values[k] != study[k] and k != "study.seed"]


def remarks(studies: dict[str, list[Run]]) -> str:
    """What was noted of the runs, and what was changed in those that were collected for this page, a line each."""
    lines: dict[str, None] = {}
    for study, runs in studies.items():
        for made in runs:
            if made.facts["note"]:
                lines[f"- `{study}`: {made.facts['note']}."] = None
            if made.folder.parent == RUNS and (changes := changed(made)):
                lines[f"- `{study}`, changed: `{'`, `'.join(changes)}`."] = None
    return "\n".join(lines)


def page(studies: dict[str, list[Run]]) -> str:
    """The page.

    Raises:
        UserError: no run was collected.
    """
    if not studies:
        raise UserError(f"{RUNS} holds no run: 'python -m docs.laptop collect FOLDER' brings one")
    every = [made for runs in studies.values() for made in runs]
    commits = sorted({made.facts["commit"][:7] for made in every})
    machines = sorted({described(made.facts["machine"]) for made in every})
    head = ["study", "network", "test accuracy (%)", "with mirror images (%)", "seeds", "epochs", "training"]
    head += ["images/s", "CPU cores"]
    papers = [[*line[:3], "", "", "", line[4], "", ""] for line in PAPERS]
    return f"""<!-- Written by docs/laptop.py from docs/laptop/, docs/cnn-paper/ and docs/resnet50-paper/. -->
# What a laptop can do

CIFAR-10, all 50,000 training images (validation images among them) and 10,000 test images, on
{" and on ".join(machines)}, without a GPU. Test accuracies are
means ± standard deviations over seeds; the test images were used once a run, by *evaluate*. One seed alone has a 95 %
interval of about ± 0.5 % at 94 %. Training is the time of all epochs with validation (median and range over seeds).

{table(head, [*papers, *(row(study, runs) for study, runs in studies.items())], text=2)}

"With mirror images" is the accuracy of the mean of the probabilities of an image and its mirror image
(`evaluate.mirror`). It takes twice the time, and is shown beside the plain accuracy, never in its place.

{remarks(studies)}

Each is one command, for the first seed: `make study STUDY=NAME`. Commits {", ".join(commits)}.

Made by `python -m docs.laptop`.
"""


def described(machine: dict[str, Any]) -> str:
    return f"{machine['processor']} (PyTorch {machine['torch']})"


def main() -> None:
    match sys.argv[1:]:
        case ["collect", folder, *note] if len(note) <= 1:
            collect(folder, *note)
        case []:
            files.write_text(PAGE, page(load()))
            print(f"written: {PAGE.relative_to(HERE.parent)}")
        case _:
            raise UserError("usage: python -m docs.laptop [collect FOLDER [NOTE]]")


if __name__ == "__main__":
    run(main)
