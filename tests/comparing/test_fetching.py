import pytest

from glassbox.comparing import fetching
from glassbox.core.errors import UserError


def test_an_error_about_a_fetched_file_names_the_study(tmp_path):
    sentence = r"^A=slow: reports/report/sources.zip is not what was written$"
    with pytest.raises(UserError, match=sentence), fetching.naming("A=slow", tmp_path / "A"):
        raise UserError(f"{tmp_path / 'A'}/reports/report/sources.zip is not what was written")


def test_a_study_that_is_nowhere_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("GLASSBOX_TRACKING", "off")
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    sentence = "B=x: no row of MLflow is called so, and as a DVC experiment"
    with pytest.raises(UserError, match=sentence):
        fetching.fetch("B", "x", tmp_path / "new")
