"""The file that Optuna's study is kept in. One process has it at a time."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import optuna
from optuna.pruners import BasePruner
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from glassbox.core import files
from glassbox.core.errors import UserError


class Journal(JournalFileBackend):
    """Optuna's journal, each record of which carries a digest of what else is in it: JSON with one digit changed is
    JSON after all, and another trial may be the best by it.

    Args:
        file: its path; made if there is none.
    """

    def __init__(self, file: Path) -> None:
        # The operating system drops this lock with its process; Optuna's own outlives kill -9 and holds up the next
        # process for half a minute.
        super().__init__(str(file), lock_obj=filelock.FileLock(file.with_suffix(".lock")))
        self.file = file

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write records.

        Raises:
            UserError: the file cannot be written.
        """
        as_read = json.loads(json.dumps(logs))  # keys that are numbers are text in JSON
        try:
            super().append_logs([log | {files.CHECKSUM: files.checksum(log)} for log in as_read])
        except OSError as error:
            raise UserError(
                f"{self.file} cannot be written ({error.strerror}): run the same command again when it can, and the "
                "search goes on where it was"
            ) from None

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """The records from this number on.

        Raises:
            UserError: one of them is not as it was written.
        """
        for number, log in enumerate(super().read_logs(log_number_from), log_number_from + 1):
            if not isinstance(log, dict) or log.pop(files.CHECKSUM, None) != files.checksum(log):
                raise UserError(damaged(self.file, f"the {files.CHECKSUM} of its line {number} is another"))
            yield log


def open_study(file: Path, pruner: BasePruner) -> optuna.Study:
    """The study in a file, or a new one; its name is that of the file. A last line that a machine going down left
    unfinished is dropped.

    Raises:
        UserError: the file is damaged or cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.is_dir():
        raise UserError(damaged(file, "it is a folder"))
    _cut_torn_line(file)
    try:
        return optuna.create_study(
            study_name=file.stem,
            storage=JournalStorage(Journal(file)),
            direction="maximize",
            pruner=pruner,
            load_if_exists=True,
        )
    except (OSError, UserError):
        raise
    except Exception as error:  # Optuna takes the file for granted: what is wrong in it can raise anything
        raise UserError(damaged(file, f"{type(error).__name__}: {error}")) from None


def damaged(file: str | Path, why: str) -> str:
    """The sentence that says so."""
    return f"{file}, the record of this search, is damaged ({why}): delete it, and the search begins anew"


def _cut_torn_line(file: Path) -> None:
    """The next line would be joined to it."""
    if file.exists():
        whole = file.read_bytes().rfind(b"\n") + 1
        if whole < file.stat().st_size:
            os.truncate(file, whole)
