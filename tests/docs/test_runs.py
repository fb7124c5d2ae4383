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


def test_an_unfinished_study_is_refused_by_what_it_lacks(tmp_path):
    with pytest.raises(UserError, match=r"nowhere is no study: it has no params.yaml"):
        runs.read_params(tmp_path / "nowhere/params.yaml")
    (tmp_path / "reports/train").mkdir(parents=True)
    (tmp_path / "reports/train/curves.csv").touch()
    runs.require(tmp_path, ["train/curves.csv"])
    with pytest.raises(UserError, match=r"reports/train/timing.yaml is missing: 'dvc repro' in"):
        runs.require(tmp_path, ["train/curves.csv", "train/timing.yaml"])
