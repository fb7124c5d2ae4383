"""The file of Optuna's study. One process uses it at a time."""

import json
import os
from collections.abc import Iterator, Sequence
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
    """Optuna's journal, with a checksum in each record: JSON with one digit changed is still JSON, and could make
    another trial the best.

    Args:
        file: its path; created if missing.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(str(file), lock_obj=_lock(file))
        self.file = file

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write records; a UserError if the file cannot be written."""
        as_read = json.loads(json.dumps(logs))  # JSON turns keys that are numbers into text
        try:
            super().append_logs([log | {files.CHECKSUM: files.checksum(log)} for log in as_read])
        except OSError as error:
            raise UserError(
                f"{self.file} cannot be written ({error.strerror}): run the same command again when it can, to resume "
                "the search"
            ) from None

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """The records from this number on; a UserError at one that is damaged."""
        for number, log in enumerate(super().read_logs(log_number_from), log_number_from + 1):
            if not isinstance(log, dict) or log.pop(files.CHECKSUM, None) != files.checksum(log):
                raise UserError(damaged(self.file, f"wrong {files.CHECKSUM} in line {number}"))
            yield log


def open_study(file: Path, pruner: BasePruner, directions: Sequence[str]) -> optuna.Study:
    """The study in a file, or a new one, named like the file. An incomplete last line, left by a power failure, is
    removed.

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
            directions=directions,
            pruner=pruner,
            load_if_exists=True,
        )
    except (OSError, UserError):
        raise
    except Exception as error:  # Optuna does not check the file: a damaged one can raise anything
        raise UserError(damaged(file, f"{type(error).__name__}: {error}")) from None


def damaged(file: str | Path, why: str) -> str:
    """The error message for a damaged file."""
    return f"{file}, the record of this search, is damaged ({why}): delete it to start the search again"


def _lock(file: Path) -> filelock.FileLock:
    """Held while a process writes. The operating system releases it with its process; Optuna's own outlives kill -9 and
    delays the next process by half a minute."""
    return filelock.FileLock(file.with_suffix(".lock"))


def _cut_torn_line(file: Path) -> None:
    """Otherwise the next record would continue it. Another process that is writing holds the lock."""
    with _lock(file):
        if not file.exists():
            return
        complete = file.read_bytes().rfind(b"\n") + 1
        if complete < file.stat().st_size:
            os.truncate(file, complete)
