"""How a cluster is joined."""

import sys

import pytest

from glassbox.execution.ray_cluster import connection


def test_an_environment_in_a_folder_with_a_space_is_quoted_or_noted(monkeypatch, capsys):
    """Ray begins workers by a shell, to which it does not quote the path of Python."""
    ray = pytest.importorskip("ray", reason="Ray is missing: pip install 'glassbox[cluster]'")
    joined = []
    monkeypatch.setattr(ray, "init", lambda where, runtime_env, **_: joined.append((where, runtime_env)))
    for executable, quoted in (("/a/bin/python", None), ("/a b/bin/python", "'/a b/bin/python'")):
        monkeypatch.setattr(sys, "executable", executable)
        for where in ("local", "10.0.0.1:6379"):
            connection._join(where, "folder")
            about, runtime_env = joined.pop()
            assert about == where
            assert runtime_env.get("py_executable") == (quoted if where == "local" else None)
            note = "whose path a shell does not take as one word, as with a space in it, Ray begins no workers there"
            assert (note in capsys.readouterr().err) == (quoted is not None and where != "local")
