"""A stage at work, against a real store. The recorder is a process of its own, as in a stage; what it logged is read
with MLflow's own client."""

import shutil
import subprocess
import sys
import time

import pytest
from conftest import ROOT, environment
from tracked_stages import DATA, STAGE, begin, client, runs, start

from glassbox import tracking
from glassbox.core.errors import UserError
from glassbox.tracking import address


def test_a_stage_is_a_run_nested_under_its_study(project, monkeypatch):
    monkeypatch.setenv("DVC_STAGE", "train")
    monkeypatch.setenv("DVC_EXP_NAME", "bold-idea")
    (project / "out").mkdir()
    (project / "out" / "curves.csv").write_text("epoch\n1\n")
    with tracking.stage("train") as tracked:
        tracked.begin(DATA)
        tracked.log_params({"train.epochs": 3, "model.leaky_relu_alpha_1": None})
        for epoch in (1, 2, 3):
            tracked.log_metrics({"validation_loss": 1 / epoch}, epoch)
        tracked.log_headline({"best_epoch_validation_accuracy": 0.75})
        tracked.log_files("out")
    (parent,), (stage,) = runs(project, kind="study"), runs(project, kind="stage")
    assert stage.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (parent.info.status, stage.info.status) == ("FINISHED", "FINISHED")
    digest = parent.data.tags["study_digest"]
    assert (parent.info.run_name, stage.info.run_name) == (f"bold-idea ({digest[:7]})", "train")
    # The parent carries all parameters; those that the search will find are not known yet.
    assert parent.data.params["tune.space.adam_lr.high"] == "0.01"
    assert "train.learning_rate" not in parent.data.params
    assert stage.data.params == {"train.epochs": "3", "model.leaky_relu_alpha_1": "None"}
    history = client(project).get_metric_history(stage.info.run_id, "validation_loss")
    assert [(m.step, m.value) for m in history] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert parent.data.metrics == {"best_epoch_validation_accuracy": 0.75}
    for run in (parent, stage):
        assert run.data.tags["data_digest"] == DATA.digest
        assert run.data.tags["dvc_exp_name"] == "bold-idea"
        assert {"study_digest", "code_digest", "git_commit", "git_dirty"} <= set(run.data.tags)
        assert run.inputs.dataset_inputs[0].dataset.name == "toy"
        assert run.inputs.dataset_inputs[0].dataset.digest == DATA.digest[:8]
    assert stage.data.tags["dvc_stage"] == "train"
    assert [a.path for a in client(project).list_artifacts(stage.info.run_id)] == ["curves.csv"]
    assert client(project).get_experiment(parent.info.experiment_id).name == "digits"


def test_a_failing_stage_is_marked_as_failed_and_its_error_goes_on(project):
    with pytest.raises(UserError, match="broken"), tracking.stage("train") as tracked:
        tracked.begin(DATA)
        raise UserError("broken")
    assert [run.info.status for run in runs(project, dvc_stage="train")] == ["FAILED"]
    assert runs(project, kind="study")[0].info.status == "FAILED"


def test_ctrl_c_is_marked_as_killed(project):
    with pytest.raises(KeyboardInterrupt), tracking.stage("train") as tracked:
        tracked.begin(DATA)
        raise KeyboardInterrupt
    assert [run.info.status for run in runs(project, dvc_stage="train")] == ["KILLED"]


DVC = """
import os, subprocess, sys
command = "'%s' -c \\"$STAGE\\" tune 0; echo ended" % sys.executable
subprocess.run(["sh", "-c", command], env=os.environ | {"DVC_STAGE": "tune"})
"""


def test_a_stage_whose_dvc_was_killed_is_done_again_and_has_one_finished_run(project):
    """DVC has not heard of its end and runs it once more: the run of that goes on with the first."""
    waits = "open('begun', 'w')\n    while not os.path.exists('killed'): time.sleep(0.05)"
    code = STAGE.replace("time.sleep(float(sys.argv[2]))", waits)
    dvc = subprocess.Popen(
        [sys.executable, "-c", DVC],
        cwd=project,
        env=environment(PYTHONPATH=str(ROOT / "src"), STAGE=code),
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (project / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    dvc.kill()
    dvc.wait()
    (project / "killed").touch()
    assert dvc.stdout.read() == "ended\n"
    begin("tune")
    first, second = runs(project, dvc_stage="tune")
    assert (first.info.status, second.info.status) == ("KILLED", "FINISHED")
    assert second.data.tags["continues"] == first.info.run_id
    assert first.data.metrics == {"loss": 1.0}, "all of it was logged"
    assert runs(project, kind="study")[0].info.status == "FINISHED"


def test_a_stage_in_a_temporary_copy_logs_to_the_original(project, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy2(project / "params.yaml", copy)
    assert start(copy, "explain", 0.0, DVC_ROOT=str(project)).wait(timeout=120) == 0
    assert [run.info.run_name for run in runs(project, kind="stage")] == ["explain"]
    assert not (copy / address.STORE).exists()


def test_off_means_off(project, monkeypatch):
    monkeypatch.setenv("GLASSBOX_TRACKING", "off")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with tracking.stage("train") as tracked:
        tracked.begin(DATA)
        tracked.log_metrics({"loss": 1.0})
    assert runs(project, kind="stage") == []


@pytest.mark.parametrize("calls", [0, 600])
def test_a_failure_stops_the_stage_at_its_next_call_or_else_at_its_end(project, calls):
    begin("train")
    store = client(project)
    store.delete_experiment(store.get_experiment_by_name("digits").experiment_id)
    called = 0
    refused = r"study.name = 'digits' is a deleted experiment in MLflow: restore it there, or choose another name"
    with pytest.raises(UserError, match=refused), tracking.stage("train") as tracked:
        tracked.begin(DATA)
        for _ in range(calls):
            time.sleep(0.1)
            tracked.log_headline({"a": 1.0})
            called += 1
    assert called < 600
