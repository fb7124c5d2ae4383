"""What the pages about the papers share: the small files of finished studies, and tables of them in Markdown."""

import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML

from glassbox.config import space
from glassbox.core import files
from glassbox.core.errors import UserError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class Run:
    """The files of one finished study."""

    name: str
    folder: Path

    @property
    def facts(self) -> dict[str, Any]:
        return files.read_json(self.folder / "run.json")

    @property
    def params(self) -> dict[str, Any]:
        return read_params(self.folder / "params.yaml")

    def json(self, name: str) -> Any:
        return files.read_json(self.folder / name)

    def csv(self, name: str) -> pd.DataFrame:
        return files.read_csv(self.folder / name)

    @property
    def options(self) -> dict[str, dict[str, Any]]:
        """How each hyperparameter was drawn, by its label: `choices`, or `low`, `high` and `log`; its `key`, and the
        condition `when`. In older versions the keys of the space are the labels, without conditions."""
        given = self.params["tune"]["space"]
        if not given.keys() & set(space.SEARCHED):
            return {key: ({"choices": o} if isinstance(o, list) else o) | {"key": key} for key, o in given.items()}
        return {
            name or key.rpartition(".")[2]: option | {"key": key}
            for key, named in space.parsed(given).items()
            for name, option in named.items()
        }

    @property
    def found(self) -> dict[str, Any]:
        """What the best trial of a search drew, by the labels of `options`."""
        params = self.json("tune/best.json")["params"]
        return {
            label: params[option["key"]]
            for label, option in self.options.items()
            if option["key"] in params and all(params.get(k) == v for k, v in option.get("when", {}).items())
        }

    def as_trained(self, name: str) -> float:
        """A score of the probabilities as trained, without temperature scaling: log_loss, brier or ece. Older versions
        keep it under its plain name."""
        metrics = self.json("evaluate/metrics.json")
        return metrics.get(f"{name}_as_trained", metrics[name])


def read_params(file: Path) -> dict[str, Any]:
    """Parameters as they stand in a file, not validated: a run keeps the keys of its own version.

    Raises:
        UserError: there is no such file.
    """
    if not file.exists():
        raise UserError(f"{file.parent} is no study: it has no {file.name}")
    return YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))


def require(root: Path, taken: Iterable[str]) -> None:
    """Refuse a study that is not finished.

    Args:
        root: the study's repository.
        taken: files that have to be in its reports/.
    """
    missing = [file for file in taken if not (root / "reports" / file).exists()]
    if missing:
        raise UserError(f"{root / 'reports' / missing[0]} is missing: 'dvc repro' in {root} makes it")


def keep(to: Path, root: Path, taken: Iterable[str], machine: dict[str, Any], note: str) -> None:
    """Copy a study's parameters and some of its reports, with its commit, the machine and a note.

    Args:
        to: folder, made anew.
        root: the study's repository.
        taken: files of its reports/.
        machine: that it ran on, of `compute.machine`.
        note: a sentence about the run, for the page.
    """
    # The last commit of the code: those that only change parameters or keep results exist in that repository alone.
    command = ["git", "log", "-1", "--format=%H", "--", "src", "stages"]
    commit = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    files.fresh_folder(to)
    shutil.copy2(root / "params.yaml", to / "params.yaml")
    for file in taken:
        (to / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / "reports" / file, to / file)
    files.write_json(to / "run.json", {"commit": commit.stdout.strip(), "machine": machine, "note": note})


def duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def table(head: list[str], rows: list[list[str]], text: int = 1) -> str:
    """Markdown; the first columns, `text` of them, are left-aligned, the others right."""
    lines = [head, [":--"] * text + ["--:"] * (len(head) - text), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
