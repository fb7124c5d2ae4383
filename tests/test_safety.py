"""No file that is read can run code, no secret is stored or printed, and files get the user's umask."""

import ast
import http.server
import os
import pickle
import re
import sys
import threading
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT, environment, shell

from glassbox import models, tracking
from glassbox.config import parameters
from glassbox.core import files
from glassbox.core.errors import UserError, run
from glassbox.data import store
from glassbox.models import weights as stored
from glassbox.provenance import resume

CODE = [path for folder in ("src", "stages", "benchmarks", "docs") for path in (ROOT / folder).rglob("*.py")]
# Modules and calls by which a file can run code, or write where it likes.
MODULES = {"dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
CALLS = re.compile(r"eval|exec|compile|__import__|.*\.(read_pickle|to_pickle|extractall|system|popen)")


def unsafe_lines(source: str) -> list[int]:
    """Lines of a source file that could open a pickle or run the content of a file."""
    found = []
    for node in ast.walk(ast.parse(source)):
        unsafe = False
        if isinstance(node, ast.Import):
            unsafe = any(alias.name.partition(".")[0] in MODULES for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            unsafe = (node.module or "").partition(".")[0] in MODULES | {"pickle"}
        elif isinstance(node, ast.Attribute):
            unsafe = ast.unparse(node.value) == "pickle" and node.attr != "UnpicklingError"
        elif isinstance(node, ast.Call):
            name, given = ast.unparse(node.func), {option.arg: ast.unparse(option.value) for option in node.keywords}
            unsafe = bool(CALLS.fullmatch(name)) or bool(
                {given.get("allow_pickle"), given.get("shell")} - {"False", None}
            )
            unsafe |= name == "torch.load" and given.get("weights_only") != "True"
            unsafe |= name.endswith("YAML") and given.get("typ", "'rt'") not in ("'rt'", "'safe'")
        found += [node.lineno] if unsafe else []
    return found


def test_no_code_opens_a_pickle_or_runs_the_content_of_a_file():
    assert {path: lines for path in CODE if (lines := unsafe_lines(path.read_text()))} == {}


UNSAFE = """\
import joblib
from pickle import load
pickle.loads(b"")
torch.load("x")
torch.load("x", weights_only=False)
np.load("x", allow_pickle=True)
pd.read_pickle("x")
eval("1")
os.system("ls")
YAML(typ="unsafe")
subprocess.run("ls", shell=True)
tarfile.open("x").extractall()
"""


def test_the_search_for_such_code_finds_every_line():
    assert sorted(unsafe_lines(UNSAFE)) == list(range(1, 13))


class Trap:
    """Its pickle creates a file when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_no_file_of_a_study_can_run_code(tmp_path):
    mark, forms = tmp_path / "loaded", tmp_path / "forms"
    forms.mkdir()
    (forms / "plain").write_bytes(pickle.dumps(Trap(mark)))
    torch.save({"weight": Trap(mark)}, forms / "torch")
    torch.save({"weight": Trap(mark)}, forms / "old", _use_new_zipfile_serialization=False)
    np.save(forms / "array", np.array([Trap(mark)], object))
    pickle.loads((forms / "plain").read_bytes())  # noqa: S301 (the trap works)
    mark.unlink()
    for form in forms.iterdir():
        content, place = form.read_bytes(), tmp_path / form.stem
        place.mkdir()
        for weights in ("own.pth", "own.pt", "own.safetensors"):
            (place / weights).write_bytes(content)
            with pytest.raises(UserError, match=r"own\.\w+"):
                stored.read(str(place / weights))
        (place / "model.safetensors").write_bytes(content)
        card = {"weights_sha256": files.sha256(place / "model.safetensors"), "name": "cnn"}
        files.write_json(place / "model.json", card)
        with pytest.raises(UserError, match=r"model.safetensors cannot be read"):
            models.load(place)
        (place / "train.safetensors").write_bytes(content)
        files.write_json(place / "data.json", {"files": {}})
        with pytest.raises(UserError, match=r"data.json"):
            store.read(place, "train")
        checkpoint = resume.Checkpoint("train", "key", place)
        checkpoint.path.write_bytes(resume._sealed(content))  # with a digest that fits
        assert checkpoint.load() is None
        (place / "table.csv").write_bytes(content)
        with pytest.raises(UserError, match=r"table.csv cannot be read"):
            files.read_csv(place / "table.csv")
        (place / "maps.npz").write_bytes(content)
        with suppress(ValueError):  # another archive can be opened, but what is in it is bytes
            maps = np.load(place / "maps.npz")
            assert all(isinstance(maps[inside], bytes) for inside in maps.files)
    assert not mark.exists()


@pytest.mark.parametrize("tag", ["object/apply:os.system ['touch {}']", "name:os.system\nx: {}"])
def test_parameters_cannot_run_code(tag, tmp_path):
    (tmp_path / "params.yaml").write_text(f"study: !!python/{tag.format(tmp_path / 'loaded')}")
    with pytest.raises(UserError):
        parameters.read(tmp_path / "params.yaml")
    assert not (tmp_path / "loaded").exists()


@pytest.mark.parametrize("mask", [0o002, 0o022, 0o027, 0o077])
def test_files_get_the_users_umask(mask, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "UMASK", mask)
    before = os.umask(mask)
    try:
        files.write_json(tmp_path / "x.json", {})
        files.write_csv(tmp_path / "x.csv", pd.DataFrame({"a": [1]}))
        files.write_npz(tmp_path / "x.npz", {"a": np.zeros(2)})
        files.write_tensors(tmp_path / "x.safetensors", {"a": torch.zeros(2)})
        files.write_tensors(tmp_path / "y.safetensors", {"a": np.zeros(2)})
        resume.Checkpoint("train", "key", tmp_path).save({"a": 1})
        resume.Parts("explain", "key", tmp_path)("maps", lambda: {"a": np.zeros(2)})
    finally:
        os.umask(before)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 7
    assert {oct(path.stat().st_mode & 0o777) for path in written} == {oct(0o666 & ~mask)}


def test_the_users_umask_is_read_once_and_left_as_it_is():
    code = "import os; os.umask(0o027); from glassbox.core import files; assert files.UMASK == 0o027 == os.umask(0)"
    shell(sys.executable, "-c", code, cwd=ROOT, PYTHONPATH="src")


class Refuses(http.server.BaseHTTPRequestHandler):
    """A tracking server that works until it is used."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 500)
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


def test_no_secret_of_an_address_is_kept(tmp_path, monkeypatch, capfd):
    """The password of the tracking server and a token in the address of git's remote: in no file, no log, no run."""
    password, token = "correct-horse-1", "ghp_battery_staple_2"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    shell("git", "init", "-q", cwd=tmp_path)
    shell("git", "remote", "add", "origin", f"https://me:{token}@example.org/x.git", cwd=tmp_path)

    def main() -> None:
        with tracking.stage("train") as tracked:
            tracked.begin(store.Description("toy", ("a", "b"), 8, {}, (0.5,) * 3, (0.2,) * 3, False, "d" * 64))
            tracked.log_params({"data.path": f"https://me:{password}@example.org/data"})

    with patch.dict(os.environ, environment(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0"), clear=True):
        run(main)
        with http.server.HTTPServer(("127.0.0.1", 0), Refuses) as server:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            os.environ["MLFLOW_TRACKING_URI"] = f"http://me:{password}@127.0.0.1:{server.server_port}"
            with pytest.raises(SystemExit, match="2"):
                run(main)
            server.shutdown()
    printed = capfd.readouterr()
    assert "http://me:***@127.0.0.1" in printed.err
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and ".git" not in path.parts}
    assert b"https://me:***@example.org/data" in kept[tmp_path / "mlruns/mlflow.db"]
    for secret in (password, token):
        assert secret not in printed.out + printed.err
        assert [str(path) for path, content in kept.items() if secret.encode() in content] == []
