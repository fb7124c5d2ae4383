"""All sections together, for code that deals with a study as a whole. A stage uses `loading`."""

from collections.abc import Iterable
from pathlib import Path

from glassbox.config import yaml_file
from glassbox.config.audit import Audit
from glassbox.config.augment import Augment
from glassbox.config.compute import Compute
from glassbox.config.data import Data
from glassbox.config.evaluate import Evaluate
from glassbox.config.explain import Explain
from glassbox.config.messages import checked
from glassbox.config.model import Model
from glassbox.config.repair import Repair
from glassbox.config.score import Score
from glassbox.config.section import Sections
from glassbox.config.study import Study
from glassbox.config.train import Train
from glassbox.config.tune import Tune
from glassbox.config.yaml_file import PARAMS_FILE


class Params(Sections):
    study: Study
    compute: Compute
    data: Data
    augment: Augment
    tune: Tune
    model: Model
    train: Train
    evaluate: Evaluate
    explain: Explain
    score: Score
    audit: Audit
    repair: Repair


def read(file: str | Path = PARAMS_FILE) -> Params:
    """Validate a whole parameter file.

    Raises:
        UserError: the file is missing, not YAML, or holds a wrong, missing or unknown key.
    """
    return checked(Params, yaml_file.read(file), file)


def parse(text: str, file: str | Path = PARAMS_FILE) -> Params:
    """Validate the text of a parameter file, as `read` does; `file` is its name for messages."""
    return checked(Params, yaml_file.parse(text, file), file)


def edit(file: str | Path, changes: Iterable[str]) -> str:
    """The text of a parameter file with changes; see `yaml_file.edit`. It must be valid before and after."""
    read(file)
    text = yaml_file.edit(Path(file).read_text(encoding="utf-8"), changes, file)
    parse(text, file)
    return text
