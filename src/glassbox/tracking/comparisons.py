"""What `compare` and `verify` log: how a study compares with another one, or with its repetition."""

import time
from collections.abc import Mapping
from pathlib import Path

from glassbox.core.errors import UserError
from glassbox.tracking import ownership, store
from glassbox.tracking.runs import NOTE, user_name
from glassbox.tracking.writer import Writer, now, points


def log_comparison(
    study: str,
    names: tuple[str, str],
    metrics: Mapping[str, float],
    outcomes: Mapping[str, str],
    sentences: list[str],
    page: str | Path,
) -> None:
    """Log the page that compares two studies, as a run of its own in the experiment of `study`. The tests' outcomes
    become tags of the run, and the sentences its description."""
    store.check()
    client = store.connect()
    experiment = client.get_experiment_by_name(study)
    if experiment is None or experiment.lifecycle_stage != "active":
        raise UserError(f"study.name = {study!r} is no experiment in MLflow: its rows were deleted")
    owner = ownership.Owner()
    tags = {"kind": "comparison", "mlflow.user": user_name(), ownership.OWNER: owner.name, NOTE: "\n\n".join(sentences)}
    tags |= {"a": names[0], "b": names[1], **outcomes}
    with store.one_sentence("logging to"):
        ownership.mark_killed(client)
        run = client.create_run(experiment.experiment_id, tags=tags, run_name=f"{names[0]} against {names[1]}")
        status = "FAILED"
        try:
            Writer(client, parallel=False).log_batch(run.info.run_id, metrics=points(metrics, 0, now()))
            client.log_artifact(run.info.run_id, str(page))
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            client.set_terminated(run.info.run_id, status)
    owner.release()  # if this is not reached, the next process looks for a run without an end


def note_verified(study_digest: str, outcome: str) -> None:
    """Show in a study's row, if it has one, the outcome of its repetition.

    Raises:
        UserError: the store cannot be reached.
    """
    store.check()
    client = store.connect()
    condition = f"tags.kind = 'study' and tags.study_digest = '{study_digest}'"
    with store.one_sentence("logging to"):
        for row in client.search_runs(store.experiment_ids(client), condition):
            client.set_tag(row.info.run_id, "verified", f"{time.strftime('%Y-%m-%d')}: {outcome}")
