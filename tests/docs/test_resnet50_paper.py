import shutil

import numpy as np
import pytest

from docs import resnet50_paper
from docs.cnn_paper import CLASSES
from glassbox.core import files
from glassbox.core.errors import UserError

from .conftest import commit

COLLECTED = resnet50_paper.RUNS / "paper"  # the files of a real study


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """That study in a repository of its own, and an empty folder for collected runs."""
    monkeypatch.setattr(resnet50_paper, "RUNS", tmp_path / "runs")
    root = tmp_path / "study"
    shutil.copytree(COLLECTED, root / "reports")
    shutil.copy(COLLECTED / "params.yaml", root)
    commit(root)
    return root


def test_a_collected_run_is_on_the_page(finished, tmp_path):
    resnet50_paper.collect("paper", str(finished), "made in a test")
    for path in COLLECTED.rglob("*.*"):
        copy = tmp_path / "runs/paper" / path.relative_to(COLLECTED)
        assert path.name == "run.json" or copy.read_bytes() == path.read_bytes()
    text = resnet50_paper.page(resnet50_paper.load())
    assert "- the text: made in a test." in text
    assert "## What is missing" in text
    assert "explain/analyses" not in text  # nothing was explained
    facts = files.read_json(tmp_path / "runs/paper/run.json")
    assert facts["machine"] == files.read_json(COLLECTED / "train/timing.yaml")["machine"]
    files.write_json(tmp_path / "runs/paper/run.json", facts | {"machine": facts["machine"] | {"gpu": "GPU"}})
    assert "## What is missing" not in resnet50_paper.page(resnet50_paper.load())


def test_a_wrong_name_and_an_unfinished_study_are_refused(finished):
    resnet50_paper.collect("paper", str(finished))
    with pytest.raises(UserError, match="other is no name of a run: it must be paper, appendix, transfer, resnet18"):
        resnet50_paper.collect("other", str(finished))
    with pytest.raises(UserError, match="holds the study cifar10-resnet50-paper, but resnet18 is cifar10-resnet18"):
        resnet50_paper.collect("resnet18", str(finished))
    (finished / "reports/train/curves.csv").unlink()
    with pytest.raises(UserError, match=r"curves.csv is missing: 'dvc repro' in"):
        resnet50_paper.collect("paper", str(finished))
    assert [run.name for run in resnet50_paper.load()] == ["paper"]  # the old files are kept


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
