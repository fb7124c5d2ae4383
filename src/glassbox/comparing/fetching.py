"""A finished study, fetched from MLflow, DVC or this folder."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from glassbox import tracking
from glassbox.config.yaml_file import PARAMS_FILE
from glassbox.core.errors import UserError, cut
from glassbox.provenance import fingerprint, record
from glassbox.tracking import lookup

PARAMS, DATA = Path(PARAMS_FILE), Path("data/prepared")


@contextmanager
def naming(study: str, place: Path) -> Iterator[None]:
    """In errors about a file, name its study instead of the folder that it was fetched to."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace(f"{place}/", f"{study}: ")) from None


def fetch(name: str, which: str, place: Path) -> None:
    """Copy params.yaml, reports/ and models/ of a finished study to the new folder `place`; from DVC also
    data/prepared. `name` is "A" or "B", for messages; see `compare`."""
    place.mkdir(parents=True)
    if which == ".":
        for path in (PARAMS, Path("reports"), Path("models")):
            if not path.exists():
                raise UserError(f"{name}=.: there is no {path} here: 'dvc repro' makes it")
            (place / path).symlink_to(path.resolve())
        record.check(*fingerprint.STAGES)
        return
    if tracking.is_on():
        with suppress(lookup.NoSuchStudy):  # DVC may have it
            lookup.fetch_study(which, place, name)
            return
    for path in (PARAMS, Path("reports"), Path("models"), DATA):
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        command = ["dvc", "get", ".", str(path), "--rev", which, "-o", str(place / path)]
        done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
        if done.returncode:
            error = re.search(r"^ERROR: (.*)", done.stderr, re.MULTILINE)
            reason = cut(error[1]) if error else f"dvc ended with {done.returncode}"
            raise UserError(
                f"{name}={which}: no row of MLflow is called so, and as a DVC experiment or git revision it has no "
                f"{path} ({reason})"
            )
