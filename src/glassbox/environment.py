"""Create the project's environment, or find in milliseconds that it is up to date.

The Makefile runs it as `python3 src/glassbox/environment.py VENV` with any Python of the machine. It needs only the
standard library and the syntax of Python 3.6, so that an old Python gets a clear error.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

LOCK = Path("requirements.lock")
PROJECT = Path("pyproject.toml")
OLDEST, NEWEST = (3, 11), (3, 13)
LINUX_ONLY = ("cuda-", "nvidia-", "triton==")  # torch's packages for CUDA


def fail(message):
    """One sentence, exit code 2."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def wanted(platform):
    """The lines of the lock file that are meant for `platform` (as sys.platform)."""
    lines = [line.strip() for line in LOCK.read_text(encoding="utf-8").splitlines()]
    packages = [line for line in lines if line and not line.startswith("#")]
    return [line for line in packages if platform == "linux" or not line.startswith(LINUX_ONLY)]


def stamps():
    """What an environment records when it is complete, before the folder of the clone."""
    packages = hashlib.sha256("\n".join(wanted(sys.platform)).encode()).hexdigest()
    return [packages, hashlib.sha256(PROJECT.read_bytes()).hexdigest()]


def is_ready(python, have):
    """Whether the environment is up to date. Several clones may share it: each runs its own code, and the installed
    project, of which only MLflow's plug-in is used, may be any clone that still exists."""
    return python.exists() and len(have) == 3 and have[:2] == stamps() and (Path(have[2]) / "src" / "glassbox").is_dir()


def run(*command):
    """Run a command; its failure ends this one with a sentence that names it."""
    if subprocess.call(command) != 0:
        fail(f"'{' '.join(command)}' failed; what it printed stands above. Run the same command again to go on.")


def install(venv):
    """Bring `venv` up to date; whether it was not."""
    python, record = venv / "bin" / "python", venv / "glassbox-installed.txt"
    have = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
    if is_ready(python, have):
        return False

    # An environment has no pip if its creation was interrupted, or ensurepip is missing.
    if not python.exists() or subprocess.call([str(python), "-c", "import pip"], stderr=subprocess.DEVNULL) != 0:
        print(f"making the environment {venv} with Python {sys.version_info[0]}.{sys.version_info[1]}", flush=True)
        if subprocess.call([sys.executable, "-m", "venv", str(venv)]) != 0:
            fail(f"no virtual environment could be made at {venv} (on Debian and Ubuntu: apt install python3-venv)")
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install"]
    if have[:1] != stamps()[:1]:
        lines = wanted(sys.platform)
        print(f"installing {len(lines)} packages from {LOCK}: about 5 minutes and 7 GB", flush=True)
        filtered = venv / "glassbox-requirements.txt"
        filtered.write_text("\n".join(lines) + "\n", encoding="utf-8")
        run(*pip, *([] if sys.stdout.isatty() else ["--quiet"]), "--requirement", str(filtered))
    run(*pip, "--quiet", "--no-deps", "--no-build-isolation", "--editable", ".")
    record.write_text("\n".join([*stamps(), str(Path.cwd())]) + "\n", encoding="utf-8")
    return True


def main():
    if len(sys.argv) != 2 or not sys.argv[1]:
        fail("usage: python3 src/glassbox/environment.py VENV")
    version = sys.version_info[:2]
    here = f"{sys.executable} is Python {version[0]}.{version[1]}"
    if version < OLDEST:
        oldest = f"{OLDEST[0]}.{OLDEST[1]}"
        fail(f"{here}, but {oldest} or later is needed: name another one, as in 'make PYTHON=python3.12'")
    if version > NEWEST:
        print(f"note: {LOCK} is made for Python up to {NEWEST[0]}.{NEWEST[1]}, and {here}")
    if install(Path(sys.argv[1])):
        print(f"environment ready: {sys.argv[1]}")


if __name__ == "__main__":
    main()
