"""The stages of the study, each run by DVC as `python -m stages.NAME` from the repository's root.

Importing this package puts the repository's own src/ first: in a second clone that shares an environment, or in the
temporary copy of `dvc exp run --temp`, the installed glassbox is another clone's.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any


def check_study(**options: Any) -> None:
    """Whether the study as a whole can be made, before hours of work; see `glassbox.checks.check_study`. It decides no
    result, so that no stage depends on it."""
    importlib.import_module("glassbox.checks").check_study(**options)


sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

_missing = [name for name in ("torch", "pydantic", "mlflow", "dvc") if importlib.util.find_spec(name) is None]
if _missing:
    print(
        f"error: {sys.executable} has no {', '.join(_missing)}: run 'make setup', then 'source .venv/bin/activate'",
        file=sys.stderr,
    )
    sys.exit(2)

if sys.argv[0] == "-m":  # as long as Python looks for the stage that it was asked to run
    from glassbox.core import errors

    errors.before_imports()

    from glassbox import tracking

    tracking.start_early()
