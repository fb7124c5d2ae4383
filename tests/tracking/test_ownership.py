"""Runs of processes that were killed have an end."""

import signal
import subprocess
import time

import psutil
from tracked_stages import DATA, runs, start, wait_until_it_runs

from glassbox import tracking
from glassbox.tracking import address, ownership


def test_a_stage_killed_without_a_word_is_marked_as_killed(project):
    stage = start(project, "train", 60)
    deadline = time.monotonic() + 60
    while not runs(project, dvc_stage="train"):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    stage.send_signal(signal.SIGKILL)
    stage.wait()
    while "RUNNING" in (status := {run.info.status for run in runs(project)}):  # its recorder marks one, then the other
        assert time.monotonic() < deadline
        time.sleep(0.3)
    assert status == {"KILLED"}
    assert len(runs(project, dvc_stage="train")) == len(runs(project, kind="study")) == 1


def kill_with_recorder(stage: subprocess.Popen) -> None:
    """As when the machine goes down."""
    (recorder,) = psutil.Process(stage.pid).children()
    for process in (recorder, stage):  # it first: it would still tell of the stage's end
        process.send_signal(signal.SIGKILL)
    stage.wait()
    psutil.wait_procs([recorder], timeout=10)


def test_the_run_of_a_machine_that_went_down_is_marked_by_the_next_stage_which_goes_on_with_it(project):
    stage = start(project, "train", 60)
    wait_until_it_runs(project, "train")
    kill_with_recorder(stage)
    assert [run.info.status for run in runs(project, dvc_stage="train")] == ["RUNNING"], "nobody was left to say so"
    with tracking.stage("train") as tracked:
        tracked.begin(DATA)
        wait_until_it_runs(project, "train", times=2)
        first, second = runs(project, dvc_stage="train")
        assert (first.info.status, second.info.status) == ("KILLED", "RUNNING")
        assert runs(project, kind="study")[0].info.status == "RUNNING"
    first, second = runs(project, dvc_stage="train")
    assert (first.info.status, second.info.status) == ("KILLED", "FINISHED")
    assert second.data.tags["continues"] == first.info.run_id
    assert first.data.tags["continued_by"] == second.info.run_id
    assert second.data.tags["mlflow.note.content"] == (
        f"Goes on where run [{first.info.run_id}](#/experiments/{first.info.experiment_id}/runs/{first.info.run_id}) "
        "was killed."
    )
    (study,) = runs(project, kind="study")
    assert study.info.status == "FINISHED"
    with tracking.stage("train") as tracked:  # once more, after a whole one
        tracked.begin(DATA)
    assert "continues" not in runs(project, dvc_stage="train")[-1].data.tags
    assert list((project / address.STORE / ownership.LOCKS).iterdir()) == []


def test_a_study_that_is_never_taken_up_again_is_marked_all_the_same(project):
    stage = start(project, "train", 60)
    wait_until_it_runs(project, "train")
    kill_with_recorder(stage)
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("name: digits ", "name: another "))
    with tracking.stage("prepare") as tracked:
        tracked.begin(DATA)
    assert [run.info.status for run in runs(project, dvc_stage="train")] == ["KILLED"]
    assert sorted(run.info.status for run in runs(project, kind="study")) == ["FINISHED", "KILLED"]


def test_a_stage_at_work_is_not_taken_for_a_dead_one(project):
    stage = start(project, "train", 60)
    wait_until_it_runs(project, "train")
    with tracking.stage("evaluate") as tracked:
        tracked.begin(DATA)
    assert [run.info.status for run in runs(project, dvc_stage="train")] == ["RUNNING"]
    stage.kill()
    stage.wait()
