import errno
import gc
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from conftest import ROOT, environment

from glassbox.core.errors import UserError, before_imports, masked, run

AGAIN = "put that right, then run the same command again to go on"


def python(code: str, *arguments: str, cwd: Path = ROOT, **variables: str) -> subprocess.Popen:
    """A process with the code of this project, and with variables of the environment."""
    command, variables = [sys.executable, "-c", code, *arguments], environment(PYTHONPATH=f"{ROOT}/src", **variables)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd, env=variables)


def fail(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("error", [KeyError("ours"), FileNotFoundError(errno.ENOENT, "ours")], ids=repr)
def test_an_error_of_this_project_keeps_its_traceback(error):
    with pytest.raises(type(error)):
        run(partial(fail, error))


WAIT = """
import sys, time
from glassbox.core import errors
errors.before_imports()
if sys.argv[1] == "runs":
    errors.run(lambda: [print("ready", flush=True), time.sleep(60)])
print("ready", flush=True)
time.sleep(60)  # libraries are imported
"""


@pytest.mark.parametrize("when", ["imports", "runs"])
def test_ctrl_c_is_one_line_and_exit_code_130_from_the_first_moment_on(when):
    process = python(WAIT, when)
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=10)
    assert process.returncode == 130
    assert error == b"stopped by the user; run the same command again to go on\n"


def test_after_imports_garbage_is_collected_and_a_background_process_still_ignores_ctrl_c():
    enabled, before = [], signal.signal(signal.SIGINT, signal.SIG_IGN)
    before_imports()
    assert signal.signal(signal.SIGINT, before) == signal.SIG_IGN
    before_imports()
    assert not gc.isenabled()
    run(lambda: enabled.append(gc.isenabled()))
    gc.unfreeze()
    assert enabled == [True]
    assert gc.isenabled()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (UserError("params.yaml: train.epochs is 0"), "params.yaml: train.epochs is 0"),
        (OSError(errno.ENOSPC, "", "data/x.csv"), f"data/x.csv: No space left on device: {AGAIN}"),
        (OSError(errno.ENOSPC, ""), f"a file cannot be written: No space left on device: {AGAIN}"),
        (PermissionError(errno.EACCES, "", "models"), f"models: Permission denied: {AGAIN}"),
        (OSError(errno.EROFS, "", "reports"), f"reports: Read-only file system: {AGAIN}"),
        (IsADirectoryError(errno.EISDIR, "", "models/x"), f"models/x: Is a directory: {AGAIN}"),
        (NotADirectoryError(errno.ENOTDIR, "", "data/raw/x"), f"data/raw/x: Not a directory: {AGAIN}"),
        (FileExistsError(errno.EEXIST, "", "data/search"), f"data/search: File exists: {AGAIN}"),
        (OSError(errno.ENAMETOOLONG, "", "x" * 300), f"{'x' * 300}: File name too long: {AGAIN}"),
    ],
)
def test_an_error_that_a_user_can_put_right_is_one_line_and_exit_code_2(capsys, error, sentence):
    with pytest.raises(SystemExit) as stop:
        run(partial(fail, error))
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"error: {sentence}\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "ascii:strict"])
def test_a_character_that_the_output_cannot_hold_is_escaped(encoding):
    """An arrow in the summary, or a name that is not text, must not make a good study fail."""
    code = (
        "from glassbox.core.errors import run, UserError\n"
        "def main():\n"
        "    print('higher is better \\u2191, caf\\u00e9, \\udcff')\n"
        "    raise UserError('no \\u2191')\n"
        "run(main)"
    )
    process = python(code, PYTHONIOENCODING=encoding)
    cafe = "café".encode("latin-1") if encoding == "latin-1" else b"caf\\xe9"
    assert process.communicate() == (b"higher is better \\u2191, " + cafe + b", \\udcff\n", b"error: no \\u2191\n")
    assert process.returncode == 2


def test_a_closed_pipe_is_no_error():
    process = python("from glassbox.core.errors import run; run(lambda: [print('line ' * 100) for _ in range(10_000)])")
    assert process.stdout.readline().startswith(b"line line")
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141


LIMITED = """
import resource
import numpy as np
from glassbox.core import errors, files
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
for write in (
    lambda: files.write_json("x.json", "a" * 10_000),
    lambda: files.write_npz("x.npz", {"a": np.zeros(10_000)}),
    lambda: files.write_tensors("x.safetensors", {"a": np.zeros(10_000)}),
):
    try:
        errors.run(write)
    except SystemExit as stop:
        assert stop.code == 2
"""


def test_a_limit_on_the_size_of_files_is_one_sentence_and_leaves_no_partial_file(tmp_path):
    process = python(LIMITED, cwd=tmp_path)
    assert process.communicate()[1].decode().splitlines() == [
        f"error: {name}: File too large: there is a limit on the size of files (ulimit -f): {AGAIN}"
        for name in ("x.json", "x.npz", "x.safetensors")
    ]
    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("API request to http://me:se/cr@et@host:5000/api failed", "API request to http://me:***@host:5000/api failed"),
        ("https://ghp_0123@github.com/a/b", "https://***@github.com/a/b"),
        ("postgresql+psycopg://u:p@db/x?sslmode=require", "postgresql+psycopg://u:***@db/x?sslmode=require"),
        ("https://b/x?AWSAccessKeyId=1&Signature=abc&n=2", "https://b/x?AWSAccessKeyId=***&Signature=***&n=2"),
        ("postgresql+psycopg://:se:cret@db/x", "postgresql+psycopg://:***@db/x"),
        ("data/raw, me@example.org: at 12:30", "data/raw, me@example.org: at 12:30"),
    ],
)
def test_secrets_in_addresses_are_masked(text, shown):
    assert masked(text) == shown
