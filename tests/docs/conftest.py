import subprocess
from pathlib import Path


def commit(root: Path) -> None:
    """Make a folder a repository whose last commit changes no code."""
    (root / "src").mkdir()
    (root / "src/code.py").touch()
    author = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    for command in ("init -q", "add src", "commit -qm code", "commit -qm parameters --allow-empty"):
        subprocess.run(["git", *author, *command.split()], cwd=root, check=True)
