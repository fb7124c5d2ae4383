"""The runs of a study: its row, which is a parent run, and the runs of stages and trials nested under it.

A study state (parameters, data, code) has one row; every stage finds it by the digest of that state.
"""

import getpass
import json
import os
import subprocess
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from glassbox.config import yaml_file
from glassbox.config.types import TUNED
from glassbox.core.errors import UserError, cut, masked
from glassbox.provenance import fingerprint, record
from glassbox.tracking import address, artifacts, store
from glassbox.tracking.ownership import OWNER
from glassbox.tracking.writer import Writer

if TYPE_CHECKING:
    from mlflow.entities import Run

NOTE = "mlflow.note.content"  # tag that MLflow shows as a description
VIEW = "glassbox"  # name of the arrangement of MLflow's page of a study, in addresses
MOST_CHANGES = 2  # in a row's name


class StudyRuns:
    """The row of a study and the run of one stage under it, both running.

    Args:
        params: the values in the parameter file.
        data: the description of the images, as a mapping.
        started: when the stage began, in milliseconds since 1970.
        owner: this process's name, see `ownership`.

    Attributes:
        tags: tags of all runs of this state of the study.
        row_id, stage_id: ids of the two runs.
    """

    def __init__(
        self, writer: Writer, params: dict[str, Any], data: dict[str, Any], stage: str, started: int, owner: str
    ) -> None:
        self.client, self.writer, self.owner = writer.client, writer, owner
        self.params, self.study = params, params["study"]["name"]
        self.stage, self.started = stage, started
        self.dvc_stage = os.environ.get("DVC_STAGE", stage)
        self.tags = _tags_of_state(params, data["digest"])
        self.experiment_id = self._find_or_make_experiment()
        with store.lock():
            self.row_id = self._find_row() or self._make_row(data)
        self.client.set_tag(self.row_id, OWNER, owner)
        self.client.update_run(self.row_id, status="RUNNING")
        continued = self._tags_of_continuation()
        self.stage_id = self.nested(stage, self.row_id, started, continued)
        if continued:
            self.client.set_tag(continued["continues"], "continued_by", self.stage_id)
        self._log_dataset(self.stage_id, data)

    def nested(self, name: str, parent_id: str, start_time: int, tags: Mapping[str, str]) -> str:
        """Create a run under another one, and return its id."""
        of_stage = {
            "mlflow.source.name": f"stages/{self.stage}.py",
            "mlflow.source.type": "LOCAL",
            OWNER: self.owner,
            "mlflow.parentRunId": parent_id,
            "kind": "stage",
            "dvc_stage": self.dvc_stage,
        }
        return self.client.create_run(self.experiment_id, start_time, self.tags | of_stage | tags, name).info.run_id

    def end(self, status: str, at: int) -> None:
        """End both runs."""
        # No run ends before it began, even if the clock was set back.
        self.client.set_terminated(self.stage_id, status, max(at, self.started))
        self.client.set_terminated(self.row_id, status)

    def _find_or_make_experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        name, location = self.study, artifacts.location(self.study)
        with store.lock():
            experiment = self.client.get_experiment_by_name(name)
            if experiment is None:
                try:
                    return self.client.create_experiment(name, artifact_location=location)
                except MlflowException:  # another machine was faster
                    experiment = self.client.get_experiment_by_name(name)
        if experiment is None or experiment.lifecycle_stage != "active":
            raise UserError(
                f"study.name = {name!r} is a deleted experiment in MLflow: restore it there, or choose another name"
            )
        on_server = address.is_http(address.tracking_uri())
        if not on_server and (folder := artifacts.foreign_folder(experiment.artifact_location)):
            raise UserError(
                f"study.name = {name!r}: MLflow keeps the files of this experiment in {folder}, which is a folder of "
                "another clone, or gone: choose another name, or another MLFLOW_TRACKING_URI"
            )
        return experiment.experiment_id

    def _find_row(self) -> str | None:
        condition = f"tags.study_digest = '{self.tags['study_digest']}' and tags.kind = 'study'"
        row = self._newest(condition)
        return row.info.run_id if row else None

    def _make_row(self, data: dict[str, Any]) -> str:
        values = yaml_file.flatten(self.params)
        known = {key: value for key, value in values.items() if value != TUNED}
        tuned = " ".join(sorted(values.keys() - known.keys()))
        tags = self.tags | {"kind": "study", "mlflow.source.name": "dvc.yaml", "mlflow.source.type": "LOCAL"}
        if tuned:
            tags["tuned"] = tuned
        if changes := self._changes(known, tuned):
            tags["changed"] = changes
        title = ": ".join(filter(None, (os.environ.get("DVC_EXP_NAME") or self.study, changes)))
        name = f"{title} ({tags['study_digest'][:7]})"
        row_id = self.client.create_run(self.experiment_id, run_name=name, tags=tags).info.run_id
        self.writer.log_batch(row_id, params=known)
        self._log_dataset(row_id, data)
        return row_id

    def _changes(self, known: dict[str, Any], tuned: str) -> str:
        """The changes of this state of the study since the one before it, in words; "" for the first."""
        previous = self._newest("tags.kind = 'study'")
        if previous is None:
            return ""
        old_params, old_tags = previous.data.params, previous.data.tags
        tuned_keys, old_tuned_keys = tuned.split(), old_tags.get("tuned", "").split()
        changes = [f"{key}={value}" for key, value in known.items() if old_params.get(key) != masked(str(value))]
        changes += [f"{key}={TUNED}" for key in tuned_keys if key not in old_tuned_keys]
        changes += [f"no {key}" for key in old_params if key not in known and key not in tuned_keys]
        digests = ("data_digest", "code_digest")
        changes += [f"other {key.removesuffix('_digest')}" for key in digests if old_tags[key] != self.tags[key]]
        more = f" and {len(changes) - MOST_CHANGES} more" if len(changes) > MOST_CHANGES else ""
        return ", ".join(cut(masked(change), 60) for change in changes[:MOST_CHANGES]) + more

    def _newest(self, condition: str) -> "Run | None":
        """The latest run of this experiment."""
        newest_first = ["start_time DESC"]
        runs = self.client.search_runs([self.experiment_id], condition, max_results=1, order_by=newest_first)
        return runs[0] if runs else None

    def _tags_of_continuation(self) -> dict[str, str]:
        """Tags for a run of a stage that continues the last one, if that was killed or failed."""
        of_stage = f"tags.`mlflow.parentRunId` = '{self.row_id}' and tags.dvc_stage = '{self.dvc_stage}'"
        previous = self._newest(f"{of_stage} and tags.kind = 'stage'")
        if previous is None or previous.info.status == "FINISHED":
            return {}
        run_id = previous.info.run_id
        link = f"[{run_id}](#/experiments/{self.experiment_id}/runs/{run_id})"
        ended = "failed" if previous.info.status == "FAILED" else "was killed"
        return {"continues": run_id, NOTE: f"Goes on where run {link} {ended}."}

    def _log_dataset(self, run_id: str, data: dict[str, Any]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=data["source"],
            digest=data["digest"][:8],
            source_type="local",
            source=json.dumps({"source": data["source"], "path": self.params["data"]["path"]}),
            profile=json.dumps({key: data[key] for key in ("sizes", "classes", "image_size")}),
        )
        self.client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", self.stage)])])


def _tags_of_state(params: dict[str, Any], data_digest: str) -> dict[str, str]:
    # DVC rewrites dvc.lock and reports/ while it runs: they are results, not causes.
    status = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!dvc.lock", ":!reports")
    commit = _git("rev-parse", "HEAD") or "unknown"
    tags = {
        "study_digest": record.study_digest(params, data_digest),
        "data_digest": data_digest,
        "code_digest": fingerprint.digest(*fingerprint.SCRIPTS),
        "git_commit": commit,
        "git_dirty": "unknown" if status is None else str(bool(status)).lower(),
        "dvc_exp_name": os.environ.get("DVC_EXP_NAME", ""),
        "mlflow.source.git.commit": commit,
        "mlflow.user": user_name(),
    }
    return {key: value for key, value in tags.items() if value}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None  # no git, or no repository: the tags are "unknown"
    return done.stdout.strip()


def user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container the user may have no name
        return str(os.getuid())
