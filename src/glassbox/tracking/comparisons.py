"""How a study came out beside another one, or done again: what `compare` and `verify` log."""

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
    """Log the page that compares two studies, as a run of its own in the experiment of the first one's study.

    Args:
        study: name of the experiment.
        names: of the two.
        metrics: by name.
        outcomes: of the tests, by name: tags.
        sentences: what the page begins with: the run's description.
        page: the file.
    """
    store.check()
    client = store.connect()
    experiment = client.get_experiment_by_name(study)
    if experiment is None or experiment.lifecycle_stage != "active":
        raise UserError(f"study.name = {study!r} is no experiment in MLflow: its rows were deleted")
    owner = ownership.Owner()
    tags = {
        "kind": "comparison",
        "a": names[0],
        "b": names[1],
        "mlflow.user": user_name(),
        ownership.OWNER: owner.name,
        NOTE: "\n\n".join(sentences),
        **outcomes,
    }
    with store.one_sentence("logging to"):
        ownership.mark_killed(client)
        run_name = f"{names[0]} against {names[1]}"
        run_id, status = client.create_run(experiment.experiment_id, tags=tags, run_name=run_name).info.run_id, "FAILED"
        try:
            Writer(client, parallel=False).log_batch(run_id, metrics=points(metrics, 0, now()))
            client.log_artifact(run_id, str(page))
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            client.set_terminated(run_id, status)
    owner.release()  # where this is not reached the next process looks for a run without an end


def note_verified(study_digest: str, outcome: str) -> None:
    """Show in a study's row, where it has one, how doing it again came out.

    Raises:
        UserError: the store cannot be reached.
    """
    store.check()
    client = store.connect()
    of_state = f"tags.kind = 'study' and tags.study_digest = '{study_digest}'"
    with store.one_sentence("logging to"):
        for row in client.search_runs(store.experiment_ids(client), of_state):
            client.set_tag(row.info.run_id, "verified", f"{time.strftime('%Y-%m-%d')}: {outcome}")
