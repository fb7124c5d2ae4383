import os
from pathlib import Path

import pytest

from glassbox.core.errors import UserError
from glassbox.data import user_paths


def test_a_path_is_shown_on_one_line_and_as_text():
    path = Path(os.fsdecode("a\nb\x1b[0m/猫 \u2028\u200d".encode() + b"\xff"))
    assert user_paths.text_of(path) == "a\nb\x1b[0m/猫 \u2028\u200d\\xff"
    assert user_paths.shown(path) == "a\\nb\\x1b[0m/猫 \\u2028\u200d\\xff"


def test_a_folder_that_a_user_names(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a b").mkdir()
    assert user_paths.folder("data.path", "~/a b", "images") == tmp_path / "a b"
    assert user_paths.folder("data.path", tmp_path, "images") == tmp_path


LONG, SHORTENED = "a" * 5000 + "b" * 5000, f"{'a' * 150}…{'b' * 149}"


@pytest.mark.parametrize(
    "value", ["~nobody_of_that_name/x", "x" * 300, "\0", "\ud800", "/dev/null", "a\nb", LONG], ids=ascii
)
def test_what_is_no_folder_is_refused_on_one_line(value):
    with pytest.raises(UserError) as refused:
        user_paths.folder("data.path", value, "images")
    shown = SHORTENED if value == LONG else value
    assert str(refused.value) == f"data.path = {shown!r} is no folder: it must hold images"
    assert str(refused.value).isprintable()
