"""Runs of processes that were killed have an end."""

import os
import signal
from dataclasses import asdict

from recorders import fork, killed_after
from services import wait_until
from tracked_stages import DATA, begin, begin_and_wait, change, runs, statuses

from glassbox import tracking
from glassbox.tracking import address, ownership
from glassbox.tracking.recorder import Recorder
from glassbox.tracking.writer import now


def test_a_killed_stage_is_marked_by_its_recorder(project):
    stage = fork(lambda: begin_and_wait("train"))
    wait_until(lambda: "RUNNING" in statuses(project, dvc_stage="train"))
    os.kill(stage, signal.SIGKILL)
    os.waitpid(stage, 0)
    wait_until(lambda: "RUNNING" not in statuses(project))  # it marks one run, then the other
    assert statuses(project, dvc_stage="train") == statuses(project, kind="study") == ["KILLED"]


def record() -> Recorder:
    """Begin a stage in this process, without a recorder beside it."""
    recorder = Recorder()
    recorder.sent_at = now()
    recorder.start("train")
    recorder.begin(asdict(DATA))
    return recorder


def test_the_run_of_a_machine_that_went_down_is_marked_by_the_next_stage_which_continues_it(project):
    killed_after(record)
    assert statuses(project, dvc_stage="train") == ["RUNNING"], "no process was left to mark it"
    with tracking.stage("train") as tracked:
        tracked.begin(DATA)
        wait_until(lambda: statuses(project, dvc_stage="train") == ["KILLED", "RUNNING"])
        assert statuses(project, kind="study") == ["RUNNING"]
    first, second = runs(project, dvc_stage="train")
    assert (first.info.status, second.info.status) == ("KILLED", "FINISHED")
    assert second.data.tags["continues"] == first.info.run_id
    assert first.data.tags["continued_by"] == second.info.run_id
    assert second.data.tags["mlflow.note.content"] == (
        f"Goes on where run [{first.info.run_id}](#/experiments/{first.info.experiment_id}/runs/{first.info.run_id}) "
        "was killed."
    )
    assert statuses(project, kind="study") == ["FINISHED"]
    begin("train")  # once more, after a finished one
    assert "continues" not in runs(project, dvc_stage="train")[-1].data.tags
    assert list((project / address.STORE / ownership.LOCKS).iterdir()) == []


def test_a_killed_study_that_is_never_resumed_is_marked_all_the_same(project):
    killed_after(record)
    change(project, "name: digits ", "name: another ")
    begin("prepare")
    assert statuses(project, dvc_stage="train") == ["KILLED"]
    assert sorted(statuses(project, kind="study")) == ["FINISHED", "KILLED"]


def test_a_stage_at_work_is_not_taken_for_a_killed_one(project):
    recorder = record()
    begin("evaluate")
    assert statuses(project, dvc_stage="train") == ["RUNNING"]
    recorder.end("FINISHED")
