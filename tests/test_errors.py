import errno
import gc
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from glassbox.errors import UserError, before_imports, run


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
from glassbox import errors
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
    root = Path(__file__).resolve().parent.parent
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
    ],
)
def test_a_disk_that_cannot_be_written_is_one_line_and_exit_code_2(capsys, error, said):
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as stop:
        run(main)
    assert stop.value.code == 2
    assert capsys.readouterr().err == (f"error: {said}: put that right, then run the same command again to go on\n")


def test_another_error_of_the_system_keeps_its_traceback():
    def main() -> None:
        raise FileNotFoundError(errno.ENOENT, "ours")

    with pytest.raises(FileNotFoundError):
        run(main)
