"""Folders with odd names and environments with odd variables: `dvc repro prepare` there gives the bytes that it gives
anywhere, and its run in MLflow. Only `make faults` runs them."""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import clone, environment, nightly
from harness import digests, runs

pytestmark = nightly

FOLDERS = [
    "a?b", "pct%41 b", "it's", 'say "hi"', "a#b", "a&b", "a;b", "a|b", "a$HOME", "$(true)", "`true`", "a*b",
    "[a]", "{a,b}", "(a)", "<a>", "a\\b", "back\\", "~", "~root", "-a", "--help", "a b  c", " a", "a ", "a.", "...",
    "a..b", ".hidden", "a=b", "a:b", "a@b", "a+b", "a,b", "a!b", "a^b", "100%", "%", "%%s", "%(x)s", "{0}", "${x}",
    "äöü", "a\u0308o\u0308", "日本語", "ж", "עברית", "\u202eabc", "😀", "\u00a0", "a\u2028b", "tab\tb", "CON", "nul",
    "sqlite:", "http:", "file:", "mlruns", "src", "n" * 200,
]  # fmt: skip

Changes = dict[str, str | None]
ENVIRONMENTS: dict[str, Changes] = {
    "LANG=C": {"LANG": "C", "LC_ALL": "C"}, "LC_ALL of nowhere": {"LC_ALL": "xx_YY.UTF-8"},
    "German numbers": {"LC_ALL": "de_DE.UTF-8"}, "no LANG": {"LANG": None, "LC_ALL": None, "LANGUAGE": None},
    "output in ASCII": {"PYTHONIOENCODING": "ascii"}, "Latin-1": {"PYTHONIOENCODING": "latin-1"},
    "no UTF-8 mode": {"PYTHONUTF8": "0", "LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0"},
    "hash seed": {"PYTHONHASHSEED": "1"}, "optimised": {"PYTHONOPTIMIZE": "1"}, "unbuffered": {"PYTHONUNBUFFERED": "1"},
    "no bytecode": {"PYTHONDONTWRITEBYTECODE": "1"}, "other path": {"PYTHONPATH": "/nowhere"},
    "no user site": {"PYTHONNOUSERSITE": "1"}, "no HOME": {"HOME": None}, "HOME is gone": {"HOME": "/nowhere"},
    "HOME is a file": {"HOME": "/etc/passwd"}, "no USER": {"USER": None, "LOGNAME": None, "USERNAME": None},
    "odd USER": {"USER": "a/b ü", "LOGNAME": "a/b ü"}, "no TERM": {"TERM": None}, "dumb": {"TERM": "dumb"},
    "narrow": {"COLUMNS": "1", "LINES": "1"}, "no width": {"COLUMNS": "0"}, "width in words": {"COLUMNS": "wide"},
    "far east": {"TZ": "Pacific/Kiritimati"}, "no time zone": {"TZ": "nowhere"},
    "TMPDIR is gone": {"TMPDIR": "/nowhere"},
    "a screen": {"MPLBACKEND": "TkAgg", "DISPLAY": ":99"}, "matplotlib's folder": {"MPLCONFIGDIR": "/proc/nowhere"},
    "caches": {"XDG_CACHE_HOME": "/proc/nowhere", "TORCH_HOME": "/proc/nowhere"},
    "settings": {"XDG_CONFIG_HOME": "/proc/nowhere"}, "one thread": {"OMP_NUM_THREADS": "1"},
    "threads in words": {"OMP_NUM_THREADS": "many"}, "no GPU": {"CUDA_VISIBLE_DEVICES": ""},
    "a proxy": dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9"),
    "another MLflow run": {"MLFLOW_RUN_ID": "0" * 32, "MLFLOW_EXPERIMENT_NAME": "other"},
    "MLflow's log": {"MLFLOW_LOGGING_LEVEL": "DEBUG"}, "a cluster": {"RAY_ADDRESS": "10.255.255.1:6379"},
    "git's date": {"GIT_AUTHOR_DATE": "1 Jan 1970"}, "no PATH for git": {"PATH": str(Path(sys.executable).parent)},
    "warnings": {"PYTHONWARNINGS": "always"},
}  # fmt: skip
LIMITS: dict[str, Callable[[], object]] = {
    "files for me alone": lambda: os.umask(0o077),
    "256 open files": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)),
    "no core": lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    "last in line": lambda: os.nice(19),
}


def prepare(
    project: Path, changes: Changes | None = None, limit: Callable[[], object] | None = None
) -> subprocess.CompletedProcess:
    """`make study` as far as *prepare*."""
    wanted = environment() | (changes or {})
    command = "python -m glassbox check && python -m dvc repro prepare"
    return subprocess.run(
        ["/bin/sh", "-c", f"PATH={Path(sys.executable).parent}:$PATH PYTHONPATH=src:$PYTHONPATH; "
         f"export PATH PYTHONPATH; {command}"],
        cwd=project, env={key: value for key, value in wanted.items() if value is not None},
        capture_output=True, text=True, errors="replace", timeout=300, preexec_fn=limit, check=False,
    )  # fmt: skip


def check(project: Path, result: subprocess.CompletedProcess, expected: dict[str, str]) -> None:
    """The same bytes and a run that has an end, or a sentence; never a traceback."""
    said = result.stdout + result.stderr
    assert "Traceback" not in said, said
    assert [path for path in project.rglob(".*.partial*") if ".dvc" not in path.parts] == []
    assert result.returncode == 0, said
    assert digests(project) == expected
    found = {run["name"]: run["status"] for run in runs(project)}
    assert found["prepare"] == "FINISHED", found


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    project = clone(tmp_path_factory.mktemp("plain") / "project")
    result = prepare(project)
    assert result.returncode == 0, result.stdout + result.stderr
    expected = digests(project)
    assert "data/prepared/data.json" in expected
    return expected


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_may_have_any_name_without_braces(plain, tmp_path, name):
    """DVC itself takes braces for placeholders, so they are refused before anything is made."""
    project = clone(tmp_path / "in" / name)
    result = prepare(project)
    if set("{}") & set(name):
        assert result.returncode == 2
        assert f"error: {project} has braces in its path, which DVC takes for placeholders: rename" in result.stderr
        assert not (project / "data/prepared").exists()
    else:
        check(project, result, plain)
    assert [path.name for path in (tmp_path / "in").iterdir()] == [name], "nothing is made beside it"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return clone(tmp_path_factory.mktemp("shared") / "project")


@pytest.mark.parametrize("name", [*ENVIRONMENTS, *LIMITS])
def test_an_environment_may_have_any_variables(plain, shared, name):
    for left in ("mlruns/mlflow.db", "dvc.lock", ".dvc/cache", ".dvc/tmp", "data/prepared", "reports"):
        path = shared / left
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    result = prepare(shared, ENVIRONMENTS.get(name), LIMITS.get(name))
    if name == "HOME is a file":
        assert result.returncode == 2
        assert "error: HOME is /etc/passwd, which is no folder" in result.stderr
    else:
        check(shared, result, plain)
