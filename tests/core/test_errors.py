import errno
import gc
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, environment

from glassbox.core.errors import UserError, before_imports, masked, run


def test_a_user_error_is_one_line_and_exit_code_2(capsys):
    def main() -> None:
        raise UserError("params.yaml: train.epochs is 0")

    with pytest.raises(SystemExit) as stop:
        run(main)
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: params.yaml: train.epochs is 0\n"


def test_ctrl_c_is_one_line_and_exit_code_130(capsys):
    def main() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stop:
        run(main)
    assert stop.value.code == 130
    assert "run the same command again" in capsys.readouterr().err


def test_a_mistake_of_ours_keeps_its_traceback():
    def main() -> None:
        raise KeyError("ours")

    with pytest.raises(KeyError):
        run(main)


WAIT = """
import sys, time
sys.path.insert(0, sys.argv[1])
from glassbox.core import errors
errors.before_imports()
if sys.argv[2] == "runs":
    def main():
        print("ready", flush=True)
        time.sleep(60)
    errors.run(main)
print("ready", flush=True)
time.sleep(60)  # as long as it takes to import libraries
"""


@pytest.mark.parametrize("when", ["imports", "runs"])
def test_ctrl_c_is_one_line_from_the_first_moment_on(when):
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", WAIT, str(root / "src"), when], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 130
    assert said == "stopped by the user; run the same command again to go on\n"


def test_what_runs_in_the_background_stays_deaf_to_ctrl_c():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    before_imports()
    assert signal.signal(signal.SIGINT, before) == signal.SIG_IGN
    gc.enable()


def test_garbage_is_looked_for_once_libraries_are_imported():
    found = []
    before_imports()
    assert not gc.isenabled()
    run(lambda: found.append(gc.isenabled()))
    gc.unfreeze()
    assert found == [True]
    assert gc.isenabled()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "no matter", "data/x.csv"), "data/x.csv: No space left on device"),
        (OSError(errno.ENOSPC, "no matter"), "a file cannot be written: No space left on device"),
        (PermissionError(errno.EACCES, "no matter", "models"), "models: Permission denied"),
        (OSError(errno.EROFS, "no matter", "reports"), "reports: Read-only file system"),
        (
            OSError(errno.EFBIG, "no matter", "x.npz"),
            "x.npz: File too large: there is a limit on the size of files (ulimit -f)",
        ),
        (IsADirectoryError(errno.EISDIR, "no matter", "models/model.json"), "models/model.json: Is a directory"),
        (NotADirectoryError(errno.ENOTDIR, "no matter", "data/raw/x"), "data/raw/x: Not a directory"),
        (FileExistsError(errno.EEXIST, "no matter", "data/search"), "data/search: File exists"),
        (OSError(errno.ENAMETOOLONG, "no matter", "x" * 300), f"{'x' * 300}: File name too long"),
    ],
)
def test_a_disk_that_cannot_be_written_is_one_line_and_exit_code_2(capsys, error, said):
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as stop:
        run(main)
    assert stop.value.code == 2
    assert capsys.readouterr().err == (f"error: {said}: put that right, then run the same command again to go on\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "ascii:strict"])
def test_what_the_output_cannot_hold_is_written_as_an_escape(encoding):
    """An arrow of the summary must not make a good study fail; a name that is not text is no reason either."""
    code = (
        "from glassbox.core.errors import run, UserError\n"
        "def main():\n"
        "    print('higher is better \\u2191, caf\\u00e9, \\udcff')\n"
        "    raise UserError('no \\u2191')\n"
        "run(main)"
    )
    where = environment(PYTHONIOENCODING=encoding, PYTHONPATH=str(ROOT / "src"))
    done = subprocess.run([sys.executable, "-c", code], env=where, capture_output=True, check=False)
    cafe = "café".encode("latin-1") if encoding == "latin-1" else b"caf\\xe9"
    assert done.stdout == b"higher is better \\u2191, " + cafe + b", \\udcff\n"
    assert done.stderr == b"error: no \\u2191\n"
    assert done.returncode == 2


def test_a_reader_that_goes_away_is_no_error():
    code = "from glassbox.core.errors import run; run(lambda: [print('line ' * 100) for _ in range(10_000)])"
    where = environment(PYTHONPATH=str(ROOT / "src"))
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=where, text=True
    )
    assert process.stdout.readline().startswith("line line")
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 141


@pytest.mark.parametrize("write", ["write_json('x.json', 'a' * 10_000)", "write_npz('x.npz', {'a': np.zeros(10_000)})",
                                   "write_tensors('x.safetensors', {'a': np.zeros(10_000)})"])  # fmt: skip
def test_a_limit_on_the_size_of_files_is_one_sentence_and_leaves_no_half(write, tmp_path):
    code = f"import numpy as np; from glassbox.core import errors, files; errors.run(lambda: files.{write})"
    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 4; exec "$0" -c "$1"', sys.executable, code], cwd=tmp_path, capture_output=True,
        env=environment(PYTHONPATH=str(ROOT / "src")), text=True, check=False,
    )  # fmt: skip
    (name,) = re.findall(r"x\.\w+", write)
    assert done.stderr == (
        f"error: {name}: File too large: there is a limit on the size of files (ulimit -f): put that right, then run "
        "the same command again to go on\n"
    )
    assert done.returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_another_error_of_the_system_keeps_its_traceback():
    def main() -> None:
        raise FileNotFoundError(errno.ENOENT, "ours")

    with pytest.raises(FileNotFoundError):
        run(main)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("API request to http://me:se/cr@et@host:5000/api failed", "API request to http://me:***@host:5000/api failed"),
        ("https://ghp_0123@github.com/a/b", "https://***@github.com/a/b"),
        ("postgresql+psycopg://u:p@db/x?sslmode=require", "postgresql+psycopg://u:***@db/x?sslmode=require"),
        (
            "https://bucket/x?AWSAccessKeyId=1&Signature=abc&n=2",
            "https://bucket/x?AWSAccessKeyId=***&Signature=***&n=2",
        ),
        ("postgresql+psycopg://:se:cret@db/x", "postgresql+psycopg://:***@db/x"),
        ("data/raw, me@example.org: at 12:30", "data/raw, me@example.org: at 12:30"),
    ],
)
def test_no_secret_of_an_address_is_told(text, shown):
    assert masked(text) == shown
