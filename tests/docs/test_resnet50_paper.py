import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from docs import resnet50_paper
from docs.cnn_paper import CLASSES
from glassbox.core import files
from glassbox.core.errors import UserError

ROOT = Path(__file__).resolve().parent.parent.parent
MACHINE = {"processor": "CHIP", "threads": 2, "gpu": None, "python": "3.11.7", "torch": "2.15.0"}


def study(root: Path, name: str, explained: bool = False) -> Path:
    """A finished study, as small as the page takes it."""
    reports = root / "reports"
    text = (ROOT / f"studies/{name}.yaml").read_text()
    root.mkdir(parents=True)
    (root / "params.yaml").write_text(text.replace("limit: null", "limit: 2400"))
    curves = pd.DataFrame({"epoch": [1, 2], "validation_accuracy": [0.4, 0.5]})
    files.write_csv(reports / "train/curves.csv", curves)
    files.write_json(reports / "train/metrics.json", {"best_epoch": 2, "epochs": 2})
    timing = {"machine": MACHINE, "seconds": [60.0, 61.0], "images_per_second": [9.0, 11.0], "peak_memory": [2.0, 3.5]}
    files.write_json(reports / "train/timing.yaml", timing)
    metrics = {"accuracy": 0.6, "accuracy_low": 0.55, "accuracy_high": 0.65, "macro_precision": 0.61,
               "macro_recall": 0.59, "macro_f1": 0.58, "ece": 0.07, "images": 400}  # fmt: skip
    if "appendix" in name:
        metrics["augmented_accuracy"] = 0.57
    files.write_json(reports / "evaluate/metrics.json", metrics)
    rows = {"class": CLASSES, "precision": np.arange(10) / 10, "recall": 0.5, "f1": 0.4}
    files.write_csv(reports / "evaluate/classification_report.csv", pd.DataFrame(rows))
    files.write_csv(reports / "evaluate/confusion_matrix.csv", pd.DataFrame(np.eye(10)))
    if explained:
        check = {"what": "Share", "criterion": "above 0.8", "value": 0.6, "low": 0.55, "high": 0.65, "images": 400,
                 "verdict": "not supported"}  # fmt: skip
        told = [{"number": 1, "hypothesis": "It is good.", "verdict": "not supported", "checks": [check]}]
        files.write_json(reports / "report/hypotheses.json", told)
        for picture in ("recognised", "mistakes"):
            (reports / "explain/analyses").mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(reports / f"explain/analyses/{picture}.png")
    git = ("git", "-C", str(root), "-c", "user.name=test", "-c", "user.email=test@example.org")
    (root / "src").mkdir()
    (root / "src/code.py").write_text("")
    for command in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "study")):
        subprocess.run([*git, *command], check=True)
    return root


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr(resnet50_paper, "RUNS", tmp_path / "resnet50-paper")
    paper = study(tmp_path / "one", "cifar10-resnet50-paper")
    resnet50_paper.collect("paper", str(paper), "made in a test")
    resnet50_paper.collect("appendix", str(study(tmp_path / "two", "cifar10-resnet50-appendix", explained=True)))
    return tmp_path


def test_the_page_sets_ours_beside_the_papers(runs):
    text = resnet50_paper.page(resnet50_paper.load())
    assert "| accuracy (%) | 81.35 | 60.00 | 60.00 |" in text
    assert "| accuracy on test images changed at random (%) | 81.05 (log) |  | 57.00 |" in text
    assert "| cat | 0.65 | 0.30 | 0.30 | 0.68 | 0.50 | 0.50 | 0.66 | 0.40 | 0.40 |" in text
    assert "| resnet50, the text | 224 x 224 | 2400 | 400 | 2 | IMAGENET1K_V2 | 2 min | 10.0 | 3.5 |" in text
    assert "- the text (`studies/cifar10-resnet50-paper.yaml`): `data.limit=2400`" in text
    assert "- the text: made in a test." in text
    assert (
        "1. It is good. *not supported*\n   - Share: 0.6 [0.55, 0.65] on 400 images; above 0.8 is not supported."
        in text
    )
    assert "](resnet50-paper/appendix/explain/analyses/mistakes.png)" in text
    assert "pair-01" not in text
    assert "## What is missing" in text
    assert "CHIP" in text


def test_on_a_gpu_nothing_is_missing(runs):
    for name in ("paper", "appendix"):
        file = runs / f"resnet50-paper/{name}/run.json"
        facts = json.loads(file.read_text())
        files.write_json(file, facts | {"machine": MACHINE | {"gpu": "GPU"}})
    assert "## What is missing" not in resnet50_paper.page(resnet50_paper.load())


def test_what_is_no_such_study_is_refused(runs, tmp_path):
    with pytest.raises(UserError, match="other is no name of a run: it must be paper, appendix, resnet18"):
        resnet50_paper.collect("other", str(runs / "one"))
    with pytest.raises(UserError, match=r"is no study: it has no params.yaml"):
        resnet50_paper.collect("paper", str(runs / "nowhere"))
    with pytest.raises(UserError, match="holds the study cifar10-resnet50-paper, but resnet18 is cifar10-resnet18"):
        resnet50_paper.collect("resnet18", str(runs / "one"))
    (runs / "one/reports/train/curves.csv").unlink()
    with pytest.raises(UserError, match=r"curves.csv is missing: 'dvc repro' in"):
        resnet50_paper.collect("paper", str(runs / "one"))
    assert [made.name for made in resnet50_paper.load()] == ["paper", "appendix"]  # what was there is kept


def test_without_runs_there_is_no_page(tmp_path, monkeypatch):
    monkeypatch.setattr(resnet50_paper, "RUNS", tmp_path / "none")
    with pytest.raises(UserError, match="holds no run"):
        resnet50_paper.page(resnet50_paper.load())


def test_the_papers_own_numbers_agree_with_each_other():
    for precision, recall, f1 in resnet50_paper.PAPER_REPORT.values():
        assert 2 * precision * recall / (precision + recall) == pytest.approx(f1, abs=0.011)
    precision, recall, f1 = (np.mean(column) for column in zip(*resnet50_paper.PAPER_REPORT.values(), strict=True))
    overall = resnet50_paper.PAPER_OVERALL
    assert recall == pytest.approx(overall["macro_recall"], abs=0.001)
    assert recall == pytest.approx(overall["accuracy"], abs=0.001)  # 1,000 images a class: they are the same
    assert f1 == pytest.approx(overall["macro_f1"], abs=0.0025)
    # Rounding to two digits moves a mean by less than 0.005: these do not agree, as the page says.
    assert precision == pytest.approx(0.821)
    assert abs(precision - overall["macro_precision"]) > 0.005
    assert set(resnet50_paper.PAPER_REPORT) == set(CLASSES)


def test_the_page_in_the_repository_is_what_its_files_make():
    assert resnet50_paper.page(resnet50_paper.load()) == resnet50_paper.PAGE.read_text(encoding="utf-8")
