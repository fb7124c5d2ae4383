"""Safe by construction: nothing that is read can run code, no secret is told, files are those of the user."""

import ast
import pickle
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import environment, shell

from glassbox import models
from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.data import store
from glassbox.models import weights as stored
from glassbox.provenance import resume

ROOT = Path(__file__).resolve().parent.parent
CODE = [path for folder in ("src", "stages", "benchmarks", "docs") for path in sorted((ROOT / folder).rglob("*.py"))]

# Calls and modules by which a file can run code, or write where it likes.
MODULES = {"dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
CALLS = {"read_pickle", "to_pickle", "extractall", "system", "popen"}


def faults(source: str) -> list[str]:
    """What of a source file could open a pickle or run what a file says, by line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += [f"{line}: {name}" for name in names if name.partition(".")[0] in MODULES]
            found += [f"{line}: from pickle" for name in names[-1:] if name == "pickle"]
        elif isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "pickle":
            found += [f"{line}: pickle.{node.attr}"] if node.attr != "UnpicklingError" else []
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            owner = getattr(getattr(node.func, "value", None), "id", "")
            given = {keyword.arg: getattr(keyword.value, "value", keyword.value) for keyword in node.keywords}
            if name in (BUILTINS if isinstance(node.func, ast.Name) else CALLS):
                found.append(f"{line}: {name}")
            if (owner, name) == ("torch", "load") and given.get("weights_only") is not True:
                found.append(f"{line}: torch.load")
            if name == "YAML" and given.get("typ", "rt") not in ("safe", "rt"):
                found.append(f"{line}: YAML({given['typ']})")
            if given.get("allow_pickle", False) is not False or given.get("shell", False) is not False:
                found.append(f"{line}: {name}")
    return found


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_code_opens_a_pickle_or_runs_what_a_file_says(path):
    assert faults(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import joblib", "from pickle import load", "import pickle\npickle.loads(b'')", "import torch\ntorch.load('x')",
        "import torch\ntorch.load('x', weights_only=False)", "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import pandas as pd\npd.read_pickle('x')", "eval('1')", "import os\nos.system('ls')", "YAML(typ='unsafe')",
        "import subprocess\nsubprocess.run('ls', shell=True)", "import tarfile\ntarfile.open('x').extractall()",
    ],
)  # fmt: skip
def test_the_search_for_such_code_finds_it(source):
    assert len(faults(source)) == 1


class Trap:
    """A pickle of this writes a file when it is opened."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.fixture
def trap(tmp_path):
    """Pickles in every form, and the mark that one of them leaves once it was opened."""
    mark = tmp_path / "opened"
    forms = {"plain.pkl": pickle.dumps(Trap(mark))}
    torch.save({"weight": Trap(mark)}, tmp_path / "torch.pth")
    forms["torch.pth"] = (tmp_path / "torch.pth").read_bytes()
    torch.save({"weight": Trap(mark)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    forms["old.pth"] = (tmp_path / "old.pth").read_bytes()
    np.save(tmp_path / "array.npy", np.array([Trap(mark)], object))
    forms["array.npy"] = (tmp_path / "array.npy").read_bytes()
    return forms, mark


def test_no_file_of_a_study_can_run_code(trap, tmp_path, small_cnn):
    forms, mark = trap
    pickle.loads(forms["plain.pkl"])  # noqa: S301 (the trap does work)
    assert mark.exists()
    mark.unlink()
    opened = []
    for name, content in forms.items():
        place = tmp_path / name.replace(".", "-")
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
        checkpoint.path.write_bytes(resume._sealed(content))  # whole by its digest
        try:
            assert checkpoint.load() is None
        except (RuntimeError, EOFError, ValueError) as error:  # no form that it knows
            opened.append(f"{name}: {error}")
        (place / "table.csv").write_bytes(content)
        with pytest.raises(UserError, match=r"table.csv cannot be read"):
            files.read_csv(place / "table.csv")
        (place / "maps.npz").write_bytes(content)
        with suppress(ValueError):  # an archive of something else is opened, and what is in it is bytes
            maps = np.load(place / "maps.npz")
            assert all(isinstance(maps[inside], bytes) for inside in maps.files)
    assert opened == []
    assert not mark.exists()


def test_parameters_cannot_run_code(tmp_path):
    from glassbox.config import parameters

    mark = tmp_path / "opened"
    for text in (f"study: !!python/object/apply:os.system ['touch {mark}']", f"!!python/name:os.system\nx: {mark}"):
        (tmp_path / "params.yaml").write_text(text)
        with pytest.raises(UserError):
            parameters.read(tmp_path / "params.yaml")
    assert not mark.exists()


MASKS = (0o002, 0o022, 0o027, 0o077)
# Each mask in a process of its own, since it is read once; all of them forks of one that has the libraries.
WRITE = f"""
import numpy as np, os, pandas as pd, sys, torch
sys.path.insert(0, sys.argv[1])
for mask in {MASKS}:
    if os.fork():
        assert os.wait()[1] == 0
        continue
    os.umask(mask)
    os.mkdir(str(mask))
    os.chdir(str(mask))
    from glassbox.core import files; from glassbox.provenance import resume
    files.write_json("x.json", {{}})
    files.write_csv("x.csv", pd.DataFrame({{"a": [1]}}))
    files.write_npz("x.npz", {{"a": np.zeros(2)}})
    files.write_tensors("x.safetensors", {{"a": torch.zeros(2)}})
    files.write_tensors("y.safetensors", {{"a": np.zeros(2)}})
    with files.exclusive("x.lock", "testing"):
        resume.Checkpoint("train", "key", ".").save({{"a": 1}})
        resume.Parts("explain", "key", ".")("maps", lambda: {{"a": np.zeros(2)}})
    os._exit(0)
"""


def test_files_are_made_with_the_users_umask(tmp_path):
    subprocess.run([sys.executable, "-c", WRITE, str(ROOT / "src")], cwd=tmp_path, check=True, env=environment())
    for mask in MASKS:
        made = [path for path in (tmp_path / str(mask)).rglob("*") if path.is_file() and path.suffix != ".lock"]
        assert len(made) >= 7
        assert {oct(path.stat().st_mode & 0o777) for path in made} == {oct(0o666 & ~mask)}


def test_no_secret_of_an_address_is_kept(tmp_path):
    """The password of the tracking server and a token in the address of git's remote: in no file, no log, no run."""
    import http.server
    import threading

    password, token = "correct-horse-1", "ghp_battery_staple_2"

    class Refuses(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/health" else 500)
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *_):
            pass

    project = tmp_path / "project"
    project.mkdir()
    (project / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    shell("git", "init", "-q", cwd=project)
    shell("git", "remote", "add", "origin", f"https://me:{token}@example.org/x.git", cwd=project)
    code = (
        "from glassbox import tracking\nfrom glassbox.data.store import Description\n"
        "from glassbox.core.errors import run\ndef main():\n"
        "  with tracking.stage('train') as t:\n"
        "    t.begin(Description('toy', ('a', 'b'), 8, {}, (0.5,) * 3, (0.2,) * 3, False, 'd' * 64))\n"
        f"    t.log_params({{'data.path': 'https://me:{password}@example.org/data'}})\n"
        "run(main)"
    )
    where = environment(PYTHONPATH=str(ROOT / "src"), MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=where, capture_output=True, text=True, check=True
    )
    server = http.server.HTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://me:{password}@127.0.0.1:{server.server_port}"
    failed = subprocess.run([sys.executable, "-c", code], cwd=project, env=where | {"MLFLOW_TRACKING_URI": address},
                            capture_output=True, text=True, check=False)  # fmt: skip
    server.shutdown()
    server.server_close()
    assert failed.returncode == 2
    assert "http://me:***@127.0.0.1" in failed.stderr
    told = [text for result in (done, failed) for text in (result.stdout, result.stderr)]
    kept = {path: path.read_bytes() for path in project.rglob("*") if path.is_file() and ".git" not in path.parts}
    assert any(path.name == "mlflow.db" for path in kept)
    assert b"https://me:***@example.org/data" in kept[project / "mlruns/mlflow.db"]
    for secret in (password, token):
        assert [text for text in told if secret in text] == []
        assert [str(path) for path, content in kept.items() if secret.encode() in content] == []
