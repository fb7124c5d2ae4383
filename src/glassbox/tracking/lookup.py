"""Find the row of a study by any of its names, and fetch what was logged of that study."""

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glassbox.config.yaml_file import PARAMS_FILE
from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.provenance import record
from glassbox.tracking import models, store

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

FETCHED = ("models", "reports/prepare", "reports/evaluate", "reports/report", "reports/summary.json")


class NoSuchStudy(UserError):
    """No row has this name."""


def find_study(client: "MlflowClient", which: str, argument: str = "RUN") -> "Run":
    """The row of a study.

    Args:
        client: the store's client.
        which: the first digits of the study's digest, the row's name or id, its DVC experiment, or the id of a run
            under it.
        argument: the name of the user's argument, for messages.

    Raises:
        NoSuchStudy: there is none.
        UserError: there is more than one, or this cannot be a name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][^'\"\\%\n]*", which):
        raise UserError(f"{argument}={which}: it must be a study digest, or the name or id of a run in MLflow")
    experiment_ids = store.experiment_ids(client)

    def search(condition: str) -> list["Run"]:
        return client.search_runs(experiment_ids, f"tags.kind = 'study' and {condition}", max_results=1000)

    conditions = (
        f"tags.study_digest LIKE '{which}%'",
        f"attributes.run_name = '{which}'",
        f"tags.dvc_exp_name = '{which}'",
    )
    rows = next(filter(None, map(search, conditions)), []) or _row_of_run(client, which)
    if len(rows) != 1:
        names = ", ".join(sorted(row.info.run_name for row in rows or search("attributes.run_name != ''"))) or "none"
        kind, what = (UserError, "several rows are") if rows else (NoSuchStudy, "no row is")
        raise kind(f"{argument}={which}: {what} called so; there are: {names}")
    return rows[0]


def _row_of_run(client: "MlflowClient", run_id: str) -> list["Run"]:
    """The row that a run is, or is nested under; none if no run has this id."""
    from mlflow.exceptions import MlflowException

    with suppress(MlflowException):
        run = client.get_run(run_id)
        while run.data.tags.get("kind") != "study" and "mlflow.parentRunId" in run.data.tags:
            run = client.get_run(run.data.tags["mlflow.parentRunId"])
        return [run]
    return []


def fetch_record(which: str, place: str | Path) -> None:
    """Copy the record of a study and its sources from its row to `place`.

    Raises:
        UserError: there is no such row, or it has no record.
    """
    from mlflow.exceptions import MlflowException

    store.check()
    client = store.connect()
    row = find_study(client, which)
    for name in (record.RECORD, record.SOURCES):
        try:
            copied = client.download_artifacts(row.info.run_id, f"report/{name}", str(place))
            Path(copied).replace(Path(place) / name)  # stores differ in whether folders are made
        except (MlflowException, OSError):
            raise UserError(
                f"RUN={which}: the row {row.info.run_name} has no report/{name}: its study did not come to its report"
            ) from None


def fetch_study(which: str, place: str | Path, argument: str) -> None:
    """Copy params.yaml, reports/ and models/ of a study from its row to `place`; see `find_study`.

    Raises:
        NoSuchStudy: there is no such row.
        UserError: there are several, or the row is incomplete.
    """
    place = Path(place)
    store.check()
    client = store.connect()
    with store.one_sentence("reading from"):
        row = find_study(client, which, argument)
        model_ids = [output.model_id for output in row.outputs.model_outputs] if row.outputs else []
        logged = [file.path for file in client.list_artifacts(row.info.run_id)]
        if "summary.json" not in logged or not model_ids:
            raise UserError(
                f"{argument}={which}: the row {row.info.run_name} is of a study that did not come to its report"
            )
        (place / "reports").mkdir(parents=True)
        for name in logged:
            if f"reports/{name}" in FETCHED:
                client.download_artifacts(row.info.run_id, name, str(place / "reports"))
        files.write_bytes(place / PARAMS_FILE, record.parameters(place / "reports/report"))
        recorded = record.read(place / "reports/report")
        _fetch_recorded_model(client, model_ids, recorded, place)
    _check_fetched(recorded, place, f"{argument}={which}", row.info.run_name)


def _fetch_recorded_model(client: "MlflowClient", model_ids: list[str], recorded: dict[str, Any], place: Path) -> None:
    """Copy the model that the record names from the models of a row, if it is whole."""
    for model_id in model_ids:
        logged_model = models.fetch(client, model_id, place / "logged" / model_id)
        folder = logged_model and next(logged_model.rglob(models.SERVING)).parent
        if folder and models.weights_digest(folder) == recorded["files"]["models/model.safetensors"]:
            (place / "models").symlink_to(folder.resolve())
            return


def _check_fetched(recorded: dict[str, Any], place: Path, argument: str, row_name: str) -> None:
    """Compare the files that were fetched to `place` with their digests in the record.

    Raises:
        UserError: a file is missing, or is not what was recorded; `argument` and `row_name` are named.
    """
    for file in record.compare(recorded, place):
        is_of_row = any(Path(file.name).is_relative_to(part) for part in FETCHED)
        if is_of_row and file.recorded and not file.agrees:
            raise UserError(
                f"{argument}: {file.name} of the row {row_name} is missing in MLflow or is not what was recorded: run "
                "'dvc repro --force report' where that study was made, to log it again"
            )
