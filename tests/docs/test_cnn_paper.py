import re

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from PIL import Image

from docs import cnn_paper
from glassbox.core import files
from glassbox.core.errors import UserError

from .conftest import commit

C = cnn_paper.CLASSES
SEARCHED = ("tune/history", "tune/trials")  # pictures of a search
MACHINE = {"processor": "Abacus", "threads": 3, "gpu": None, "python": "3.12.1", "torch": "2.15.0"}


def write_study(root, accuracy: float, params: str) -> None:
    """The files of a finished study with an invented accuracy."""
    reports = root / "reports"
    (root / "params.yaml").write_text(params)
    pair = pd.DataFrame({"image": [0, 1]})
    curves = {"train_loss": 1.0, "train_accuracy": 0.5, "validation_loss": 0.9, "validation_accuracy": 0.6}
    matrix = pd.DataFrame(np.full((10, 10), 100), columns=list(C))
    matrix.insert(0, "true_class", list(C))
    stability = {"samples": 100, "seeds": 5, "rank_agreement": [0.5, 0.7], "agreement_with_most": 0.9}
    stability |= {"top_overlap": 0.4, "top_overlap_by_chance": 0.2, "local_r2": 0.6}
    classes = pd.DataFrame({"class": [*C, "macro average"]})
    found = {"model.arguments.conv2_filters": 128, "train.optimizer": "sgd", "train.learning_rate": 0.00123456}
    tables = {
        "train/curves": pd.DataFrame({"epoch": [1, 2]}).assign(**curves, weight_penalty=0.1, learning_rate=1e-3),
        "evaluate/classification_report": classes.assign(precision=accuracy, recall=0.5, f1=0.6, support=1000),
        "evaluate/confusion_matrix": matrix,
        "evaluate/predictions": pair.assign(
            true_class="cat", predicted_class="dog", **{f"p({name})": 0.1 for name in C}
        ),
        "tune/trials": pd.DataFrame({"state": ["complete", "pruned", "pruned"]}),
        "explain/index": pd.DataFrame({"image": [0, 1], "explainer": "lime", "local_r2": [0.5, 0.75]}),
        "explain/lime_stability": pd.DataFrame({"image": [0, 5], "regions": [20, 30]}).assign(**stability),
    }
    contents = {
        "train/metrics.json": {"best_epoch_weight_penalty": 0.1, "best_epoch": 2, "epochs": 9},
        "train/timing.yaml": {"machine": MACHINE, "seconds": [60.0, 61.0]},
        "evaluate/metrics.json": {"accuracy": accuracy, "log_loss": 0.7, "macro_f1": 0.7, "ece": 0.05},
        "tune/best.json": {
            "trial": 1,
            "measure": "validation_accuracy",
            "value": 0.8,
            "trials": 3,
            "epochs": 100,
            "params": found,
        },
        "tune/timing.yaml": {"machine": MACHINE, "trials_at_once": 2, "seconds": [3600.0, 7200.0]},
    }
    for name, table in tables.items():
        files.write_csv(reports / f"{name}.csv", table)
    for name, content in contents.items():
        files.write_json(reports / name, content)
    (reports / "explain/figures").mkdir()
    for name in ("explain/lime_stability", *(f"explain/figures/image-0000{n}" for n in (0, 1)), *SEARCHED):
        Image.new("RGB", (2, 2)).save(reports / f"{name}.png")
    commit(root)


def collect(root, accuracy: float, study: str, note: str = "") -> None:
    """A finished study in a folder that is named as its run, collected."""
    root.mkdir()
    write_study(root, accuracy, (ROOT / f"studies/{study}.yaml").read_text())
    cnn_paper.collect(root.name, str(root), note)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two runs with the paper's hyperparameters and one search, collected."""
    monkeypatch.setattr(cnn_paper, "RUNS", tmp_path / "collected")
    collect(tmp_path / "paper-0", 0.74, "cifar10-cnn-paper")
    collect(tmp_path / "paper-1", 0.76, "cifar10-cnn-paper", "it shared its cores")
    collect(tmp_path / "search", 0.81, "cifar10-cnn")
    return tmp_path / "collected"


def page() -> str:
    return cnn_paper.page(cnn_paper.load())


SHOWN = """
**75.00 ± 1.41**
74.00, 76.00
| 72.37 |
| 0.8846 | 0.8000 ± 0.0000 |
9 (2), 9 (2)
| airplane | 0.88 | 0.75 | 0.66 | 0.50 | 0.76 | 0.60 |
| 100 of 400 (25 %) |
1, 2, 0
3 h 00 min of trials, 2 at a time
| `conv2_filters` | 64, 128, 256 | 256 | 128 |
| `dropout_1` | 0.1 to 0.5 | 0.3483 | - |
| `adam_lr` | 1e-05 to 0.01, log scale | 8.038e-05 | - |
| `sgd_lr` | 0.0001 to 0.1, log scale | - | 0.001235 |
local R² is 0.62 on
| 100 | 0.60 | 40 % | 0.90 | 0.60 |
Of paper-1: it shared its cores.
training images are mirrored and shifted by up to 4 pixels at random
5 strongest regions shared (21 % by chance)
"""


def test_the_page_shows_the_numbers_of_the_runs(runs):
    """The standard deviation of 74 and 76 is the square root of 2; cross-entropy 0.7 plus penalty 0.1 is 0.8; states
    are complete, pruned and failed; 5 of 20 and of 30 regions are 21 %."""
    text = page()
    code = cnn_paper.load()["paper"][0].facts["commit"]
    assert re.fullmatch("[0-9a-f]{40}", code)
    assert code[:7] in text
    for part in SHOWN.strip().splitlines():
        assert part in text.replace("400 at most | ", "| "), part
    assert "made on\nAbacus, 3 thread(s), no GPU (Python 3.12.1, PyTorch 2.15.0); commits" in text
    for part in ("rmsprop_rho", "test accuracy of the final training", "best of our search", "of the first 20 trials"):
        assert part not in text, part


def test_without_runs_of_the_papers_hyperparameters_those_of_the_search_are_explained(runs, tmp_path):
    collect(tmp_path / "tuned-0", 0.82, "cifar10-cnn-tuned")
    text = cnn_paper.page(cnn_paper.load() | {"paper": []})
    assert "## LIME\n" in text
    assert "explained by the first run with the best of our search" in text
    assert "The same images in" not in text
    assert "With the paper's hyperparameters" not in text


def test_a_search_longer_than_the_papers_shows_the_best_of_its_first_trials(runs):
    longer = (runs / "search/params.yaml").read_text().replace("n_trials: 20 ", "n_trials: 22 ")
    (runs / "search/params.yaml").write_text(longer)
    trials = {"trial": range(22), "state": ["complete"] * 19 + ["pruned"] + ["complete"] * 2}
    values = [0.5] * 18 + [0.71, 0.72, 0.73, 0.8]
    files.write_csv(runs / "search/tune/trials.csv", pd.DataFrame(trials | {"validation_accuracy": values}))
    assert "(%) | 69.23 | **80.00** |\n| of the first 20 trials (%) | 69.23 | 71.00 |" in page()


def test_other_images_and_runs_without_lime(runs, tmp_path):
    root = tmp_path / "paper-0"
    params = (root / "params.yaml").read_text()
    assert "images: [0, 1]" in params
    (root / "params.yaml").write_text(params.replace("images: [0, 1]", "images: [1, 7]"))
    for name in ("explain/index.csv", "evaluate/predictions.csv"):
        files.write_csv(root / "reports" / name, files.read_csv(root / "reports" / name).assign(image=[7, 1]))
    figures = root / "reports/explain/figures"
    (figures / "image-00000.png").rename(figures / "image-00007.png")
    cnn_paper.collect("paper-0", str(root))
    text = page()
    assert "| test image 1 (cat): probability | paper's sample | ours |" in text
    assert "| test image 7 (cat): probability | ours |" in text  # none of the paper's

    (root / "params.yaml").write_text(params.replace("explainers: [lime, ", "explainers: ["))
    files.write_json(root / "reports/train/timing.yaml", {"seconds": [60.0]})
    cnn_paper.collect("paper-0", str(root))
    text = page()
    assert " and on Abacus, 3 thread(s)" in text
    assert "Of paper-0: the machine was written down afterwards." in text
    assert "cnn-paper/paper-1/explain/lime_stability.png" in text  # explained by the next run


def test_every_picture_of_the_page_is_there(runs):
    groups = cnn_paper.load()
    cnn_paper.draw_curves(runs / "curves.png", groups)
    cnn_paper.draw_confusion(runs / "confusion.png", groups)
    pictures = re.findall(r"\]\(cnn-paper/(.+?\.png)\)", cnn_paper.page(groups))
    assert len(pictures) == 7
    assert all((runs / name).exists() for name in pictures)


def test_the_papers_own_numbers_agree_with_each_other():
    matrix = cnn_paper.PAPER_MATRIX
    assert matrix.sum() == 10_000
    assert np.trace(matrix) / 10_000 == pytest.approx(cnn_paper.PAPER_ACCURACY, abs=1e-6)
    for place, name in enumerate(C):
        precision, recall, _ = cnn_paper.PAPER_REPORT[name]
        assert matrix[place, place] / matrix[:, place].sum() == pytest.approx(precision, abs=0.0051)
        assert matrix[place, place] / matrix[place].sum() == pytest.approx(recall, abs=0.0051)
    assert all(sum(values) == pytest.approx(1, abs=5e-4) for values in cnn_paper.PAPER_SAMPLES.values())


def test_a_wrong_name_and_an_unfinished_study_are_refused(runs, tmp_path):
    with pytest.raises(UserError, match="run3 is no name of a run: it must be like paper-0"):
        cnn_paper.collect("run3", str(tmp_path))
    reports = tmp_path / "paper-0/reports"
    stability = files.read_csv(reports / "explain/lime_stability.csv").drop(columns="top_overlap_by_chance")
    files.write_csv(reports / "explain/lime_stability.csv", stability)
    with pytest.raises(UserError, match=r"lime_stability.csv is of an older version: 'dvc repro' in"):
        cnn_paper.collect("paper-0", str(tmp_path / "paper-0"))
    for file in ("train/curves.csv", "explain/figures/image-00001.png", "evaluate/predictions.csv"):
        (reports / file).unlink()
        with pytest.raises(UserError, match=r"(is missing|no picture of test image 1): 'dvc repro'"):
            cnn_paper.collect("paper-0", str(tmp_path / "paper-0"))
    (tmp_path / "search/reports/tune/best.json").unlink()
    with pytest.raises(UserError, match=r"tune/best.json is missing: 'dvc repro' in"):
        cnn_paper.collect("search", str(tmp_path / "search"))
    assert cnn_paper.load()["paper"][0].csv("train/curves.csv").shape == (2, 7)  # the old files are kept
