import re
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from docs import cnn_paper
from glassbox.core import files
from glassbox.core.errors import UserError

C = cnn_paper.CLASSES
MACHINE = {"processor": "Abacus", "threads": 3, "gpu": None, "python": "3.12.1", "torch": "2.15.0"}


def write_study(root, accuracy: float, params: str) -> None:
    """The files of a finished study, with an accuracy that is made up."""
    reports = root / "reports"
    (root / "params.yaml").write_text(params)
    files.write_csv(reports / "train/curves.csv", pd.DataFrame(
        {"epoch": [1, 2], "train_loss": 1.0, "train_accuracy": 0.5, "validation_loss": 0.9, "validation_accuracy": 0.6,
         "weight_penalty": 0.1, "learning_rate": 1e-3}))  # fmt: skip
    files.write_json(reports / "train/metrics.json", {"best_epoch_weight_penalty": 0.1, "best_epoch": 2, "epochs": 9})
    files.write_json(reports / "train/timing.yaml", {"machine": MACHINE, "seconds": [60.0, 61.0]})
    files.write_json(
        reports / "evaluate/metrics.json", {"accuracy": accuracy, "log_loss": 0.7, "macro_f1": 0.7, "ece": 0.05}
    )
    report = pd.DataFrame({"class": [*C, "macro average"], "precision": accuracy, "recall": 0.5, "f1": 0.6})
    files.write_csv(reports / "evaluate/classification_report.csv", report.assign(support=1000))
    matrix = pd.DataFrame(np.full((10, 10), 100), columns=list(C))
    matrix.insert(0, "true_class", list(C))
    files.write_csv(reports / "evaluate/confusion_matrix.csv", matrix)
    probabilities = {f"p({name})": [0.1] for name in C}
    predictions = pd.DataFrame({"image": [0], "true_class": ["cat"], "predicted_class": ["dog"]} | probabilities)
    files.write_csv(reports / "evaluate/predictions.csv", pd.concat([predictions, predictions.assign(image=1)]))
    best = {"trial": 1, "validation_accuracy": 0.8, "trials": 3, "epochs": 100}
    found = {"conv2_filters": 128, "optimizer": "sgd", "sgd_lr": 0.00123456}
    files.write_json(reports / "tune/best.json", best | {"params": found})
    files.write_csv(reports / "tune/trials.csv", pd.DataFrame({"state": ["complete", "pruned", "pruned"]}))
    files.write_json(
        reports / "tune/timing.yaml", {"machine": MACHINE, "trials_at_once": 2, "seconds": [3600.0, 7200.0]}
    )
    files.write_csv(reports / "explain/index.csv", pd.DataFrame(
        {"image": [0, 1, 0], "explainer": ["lime", "lime", "grad_cam"], "local_r2": [0.5, 0.75, None]}))  # fmt: skip
    files.write_csv(reports / "explain/lime_stability.csv", pd.DataFrame(
        {"image": [0, 5], "regions": [20, 30], "samples": 100, "seeds": 5, "rank_agreement": [0.5, 0.7],
         "top_overlap": 0.4, "top_overlap_by_chance": 0.2, "agreement_with_most": 0.9, "local_r2": 0.6}))  # fmt: skip
    pictures = ("explain/lime_stability", "explain/figures/00-chosen-0", "explain/figures/01-chosen-1", "tune/history",
                "tune/trials")  # fmt: skip
    for name in pictures:
        (reports / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(reports / f"{name}.png")
    (root / "src").mkdir()
    (root / "src/code.py").touch()
    author = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    for command in (("init", "-q"), ("add", "src"), (*author, "commit", "-q", "-m", "code"),
                    (*author, "commit", "-q", "--allow-empty", "-m", "parameters")):  # fmt: skip
        subprocess.run(["git", *command], cwd=root, check=True)


def collect(root, accuracy: float, study: str, note: str = "") -> None:
    """A finished study in a folder that is named as its run, collected."""
    root.mkdir()
    write_study(root, accuracy, (Path(__file__).resolve().parents[2] / f"studies/{study}.yaml").read_text())
    cnn_paper.collect(root.name, str(root), note)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two runs with the paper's hyperparameters and one search, collected."""
    monkeypatch.setattr(cnn_paper, "RUNS", tmp_path / "collected")
    collect(tmp_path / "paper-0", 0.74, "cifar10-cnn-paper")
    collect(tmp_path / "paper-1", 0.76, "cifar10-cnn-paper", "it shared its cores")
    collect(tmp_path / "search", 0.81, "cifar10-cnn")
    return tmp_path / "collected"


def test_the_page_says_what_the_runs_say(runs):
    text = cnn_paper.page(cnn_paper.load())
    code = cnn_paper.load()["paper"][0].facts["commit"]
    assert re.fullmatch("[0-9a-f]{40}", code)
    assert code[:7] in text
    assert "**75.00 ± 1.41**" in text  # of 74 and 76: the standard deviation is the square root of 2
    assert "74.00, 76.00" in text
    assert "| 72.37 |" in text
    assert "| 0.8846 | 0.8000 ± 0.0000 |" in text  # cross-entropy 0.7 and a penalty of 0.1
    assert "9 (2), 9 (2)" in text
    assert "| airplane | 0.88 | 0.75 | 0.66 | 0.50 | 0.76 | 0.60 |" in text
    assert "| 100 of 400 (25 %) |" in text.replace("400 at most | ", "| ")
    assert "1, 2, 0" in text  # complete, pruned, failed
    assert "3 h 00 min of trials, 2 at a time" in text
    assert "| `conv2_filters` | 64, 128, 256 | 256 | 128 |" in text
    assert "| `dropout_1` | 0.1 to 0.5 | 0.3483 | - |" in text
    assert "| `adam_lr` | 1e-05 to 0.01, log scale | 8.038e-05 | - |" in text
    assert "| `sgd_lr` | 0.0001 to 0.1, log scale | - | 0.001235 |" in text
    assert "rmsprop_rho" not in text
    assert "test accuracy of the final training" not in text
    assert "local R² is 0.62 on" in text
    assert "| 100 | 0.60 | 40 % | 0.90 | 0.60 |" in text
    assert "best of our search" not in text  # no such run: left out
    assert "made on\nAbacus, 3 thread(s), no GPU (Python 3.12.1, PyTorch 2.15.0); commits" in text
    assert "Of paper-1: it shared its cores.\n" in text
    assert "training images are mirrored and shifted by up to 4 pixels at random" in text
    assert "5 strongest regions shared (21 % by chance)" in text  # 5 of 20 and of 30


def test_tuned_runs_have_columns_of_their_own(runs, tmp_path):
    collect(tmp_path / "tuned-0", 0.82, "cifar10-cnn-tuned")
    collect(tmp_path / "tuned-1", 0.84, "cifar10-cnn-tuned")
    text = cnn_paper.page(cnn_paper.load())
    assert "| ours, the paper's hyperparameters (2 seeds) | ours, the best of our search (2 seeds) |" in text
    assert "| test accuracy of the final training (%) | 72.37 | 83.00 ± 1.41 |" in text
    assert "| **75.00 ± 1.41** | **83.00 ± 1.41** |" in text
    assert "| precision paper | precision ours | precision tuned |" in text
    assert "| airplane | 0.88 | 0.75 | 0.83 | 0.66 | 0.50 | 0.50 | 0.76 | 0.60 | 0.60 |" in text
    assert "The best of our search is what the last search below found" in text
    assert (
        "With the paper's hyperparameters training images are taken as they are, and colours are left in 0..1." in text
    )
    assert (
        "With the best of our search training images are mirrored and shifted by up to 4 pixels at random, and" in text
    )
    first, again = text.split("## LIME")[1].split("### The same images in the best of our search")
    assert "cnn-paper/paper-0/explain/sample-1.png" in first
    assert "cnn-paper/tuned-0/explain/sample-1.png" in again
    assert all((runs / f"{name}/explain/lime_stability.png").exists() for name in ("paper-0", "tuned-0"))
    assert "-1/explain/" not in text  # shown is one seed of each


def test_a_search_longer_than_the_papers_says_what_its_first_trials_found(runs):
    assert "of the first 20 trials" not in cnn_paper.page(cnn_paper.load())
    longer = (runs / "search/params.yaml").read_text().replace("n_trials: 20 ", "n_trials: 22 ")
    (runs / "search/params.yaml").write_text(longer)
    trials = {"trial": range(22), "state": ["complete"] * 19 + ["pruned"] + ["complete"] * 2}
    values = [0.5] * 18 + [0.71, 0.72, 0.73, 0.8]
    files.write_csv(runs / "search/tune/trials.csv", pd.DataFrame(trials | {"validation_accuracy": values}))
    text = cnn_paper.page(cnn_paper.load())
    assert "(%) | 69.23 | **80.00** |\n| of the first 20 trials (%) | 69.23 | 71.00 |" in text


def test_a_finer_search_follows_the_first_and_is_the_one_that_was_trained(runs, tmp_path):
    collect(tmp_path / "fine", 0.82, "cifar10-cnn-fine")
    collect(tmp_path / "tuned-0", 0.82, "cifar10-cnn-tuned")
    text = cnn_paper.page(cnn_paper.load())
    first, finer = text.split("## The search")[1].split("## A finer search")
    assert "| `conv2_filters` | 64, 128, 256 | 256 | 128 |" in first
    assert "| `conv2_filters` | 128, 256 | 256 | 128 |" in finer
    assert "(cnn-paper/search/tune/trials.png)" in first
    assert "(cnn-paper/fine/tune/trials.png)" in finer
    assert "test accuracy of the final training" not in first
    assert "| test accuracy of the final training (%) | 72.37 | 82.00 |" in finer


def test_other_images_and_runs_without_lime(runs, tmp_path):
    root = tmp_path / "paper-0"
    params = (root / "params.yaml").read_text()
    assert "images: [0, 1]" in params
    (root / "params.yaml").write_text(params.replace("images: [0, 1]", "images: [1, 7]"))
    index = files.read_csv(root / "reports/explain/index.csv")
    files.write_csv(root / "reports/explain/index.csv", index.assign(image=[7, 1, 7]))
    predictions = files.read_csv(root / "reports/evaluate/predictions.csv")
    files.write_csv(root / "reports/evaluate/predictions.csv", predictions.assign(image=[7, 1]))
    figures = root / "reports/explain/figures"
    (figures / "00-chosen-0.png").rename(figures / "00-chosen-7.png")
    cnn_paper.collect("paper-0", str(root))
    text = cnn_paper.page(cnn_paper.load())
    assert "| test image 1 (cat): probability | paper's sample | ours |" in text
    assert "| test image 7 (cat): probability | ours |" in text  # none of the paper's

    (root / "params.yaml").write_text(params.replace("explainers: [lime, ", "explainers: ["))
    files.write_json(root / "reports/train/timing.yaml", {"seconds": [60.0]})
    cnn_paper.collect("paper-0", str(root))
    text = cnn_paper.page(cnn_paper.load())
    assert " and on Abacus, 3 thread(s)" in text
    assert "Of paper-0: the machine was written down afterwards." in text
    assert "cnn-paper/paper-1/explain/lime_stability.png" in text  # explained by the next run


def test_tuned_runs_alone_have_a_lime_section_too(runs, tmp_path):
    collect(tmp_path / "tuned-0", 0.82, "cifar10-cnn-tuned")
    groups = cnn_paper.load()
    text = cnn_paper.page(groups | {"paper": []})
    assert "## LIME\n" in text
    assert "explained by the first run with the best of our search" in text
    assert "The same images in" not in text
    assert "With the paper's hyperparameters" not in text


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
    with pytest.raises(UserError, match=r"is no study: it has no params.yaml"):
        cnn_paper.collect("paper-0", str(tmp_path / "nowhere"))
    reports = tmp_path / "paper-0/reports"
    stability = files.read_csv(reports / "explain/lime_stability.csv").drop(columns="top_overlap_by_chance")
    files.write_csv(reports / "explain/lime_stability.csv", stability)
    with pytest.raises(UserError, match=r"lime_stability.csv is of an older version: 'dvc repro' in"):
        cnn_paper.collect("paper-0", str(tmp_path / "paper-0"))
    for file in ("train/curves.csv", "explain/figures/01-chosen-1.png", "evaluate/predictions.csv"):
        (reports / file).unlink()
        with pytest.raises(UserError, match=r"(is missing|no picture of test image 1): 'dvc repro'"):
            cnn_paper.collect("paper-0", str(tmp_path / "paper-0"))
    (tmp_path / "search/reports/tune/best.json").unlink()
    with pytest.raises(UserError, match=r"tune/best.json is missing: 'dvc repro' in"):
        cnn_paper.collect("search", str(tmp_path / "search"))
    assert cnn_paper.load()["paper"][0].csv("train/curves.csv").shape == (2, 7)  # what was collected before is kept


def test_without_runs_there_is_no_page(tmp_path, monkeypatch):
    monkeypatch.setattr(cnn_paper, "RUNS", tmp_path / "none")
    with pytest.raises(UserError, match="holds no run"):
        cnn_paper.page(cnn_paper.load())


def test_the_page_in_the_repository_is_what_its_files_make():
    assert cnn_paper.page(cnn_paper.load()) == cnn_paper.PAGE.read_text(encoding="utf-8")
