import json

import pytest

from docs import runs
from glassbox.core.errors import UserError


def test_a_table_is_markdown_with_numbers_to_the_right():
    text = runs.table(["class", "paper", "ours"], [["cat", "0.65", "0.49"]])
    assert text == "| class | paper | ours |\n| :-- | --: | --: |\n| cat | 0.65 | 0.49 |"


@pytest.mark.parametrize(
    ("seconds", "text"), [(29, "0 min"), (31, "1 min"), (99 * 60, "99 min"), (100 * 60, "1 h 40 min")]
)
def test_durations_are_in_minutes(seconds, text):
    assert runs.duration(seconds) == text


def test_parameters_of_an_older_version_are_read_as_they_are(tmp_path):
    (tmp_path / "params.yaml").write_text("study: {name: old, no_longer_a_key: 1.0e-3}")
    read = runs.read_params(tmp_path / "params.yaml")
    assert read == {"study": {"name": "old", "no_longer_a_key": 1e-3}}


SPACES = {
    "today": """
    model: {arguments: {depth: [1, 2]}}
    train.optimizer: [adam, sgd]
    train.learning_rate:
      adam_lr: {low: 1.0e-4, high: 1.0e-2, log: true, when: {train.optimizer: adam}}
      sgd_lr: {low: 1.0e-3, high: 1.0e-1, log: true, when: {train.optimizer: sgd}}
""",
    "older": """
    depth: [1, 2]
    optimizer: [adam, sgd]
    adam_lr: {low: 1.0e-4, high: 1.0e-2, log: true}
    sgd_lr: {low: 1.0e-3, high: 1.0e-1, log: true}
""",
}
BEST = {
    "today": {"model.arguments.depth": 2, "train.optimizer": "sgd", "train.learning_rate": 0.01},
    "older": {"depth": 2, "optimizer": "sgd", "sgd_lr": 0.01},
}


@pytest.mark.parametrize("version", SPACES)
def test_searches_of_both_versions_are_read_by_the_labels_of_their_space(version, tmp_path):
    (tmp_path / "params.yaml").write_text(f"tune:\n  space:{SPACES[version]}")
    (tmp_path / "tune").mkdir()
    (tmp_path / "tune/best.json").write_text(json.dumps({"params": BEST[version]}))
    run = runs.Run("search", tmp_path)
    assert list(run.options) == ["depth", "optimizer", "adam_lr", "sgd_lr"]
    assert run.options["depth"]["choices"] == [1, 2]
    assert run.options["sgd_lr"]["high"] == 0.1
    assert run.found == {"depth": 2, "optimizer": "sgd", "sgd_lr": 0.01}


def test_an_unfinished_study_is_refused_by_what_it_lacks(tmp_path):
    with pytest.raises(UserError, match=r"nowhere is no study: it has no params.yaml"):
        runs.read_params(tmp_path / "nowhere/params.yaml")
    (tmp_path / "reports/train").mkdir(parents=True)
    (tmp_path / "reports/train/curves.csv").touch()
    runs.require(tmp_path, ["train/curves.csv"])
    with pytest.raises(UserError, match=r"reports/train/timing.yaml is missing: 'dvc repro' in"):
        runs.require(tmp_path, ["train/curves.csv", "train/timing.yaml"])
