"""A stage that logs to a real store, which is read with MLflow's own client."""

import os
import subprocess
import sys
import time

import psutil
import pytest
from conftest import ROOT, environment
from tracked_stages import DATA, begin, client, runs, statuses

from glassbox import tracking
from glassbox.core.errors import UserError
from glassbox.tracking import client as stages


def test_a_stage_is_a_run_nested_under_its_study(project, monkeypatch):
    monkeypatch.setenv("DVC_STAGE", "train")
    monkeypatch.setenv("DVC_EXP_NAME", "bold-idea")
    (project / "out").mkdir()
    (project / "out" / "curves.csv").write_text("epoch\n1\n")
    with tracking.stage("train") as tracked:
        tracked.begin(DATA)
        tracked.log_params({"train.epochs": 3, "model.leaky_relu_alpha_1": None, "path": "two\nlines, ä"})
        for epoch in (1, 2, 3):
            tracked.log_metrics({"validation_loss": 1 / epoch}, epoch)
        tracked.log_headline({"best_epoch_validation_accuracy": 0.75})
        tracked.log_files(project / "out")
    (parent,), (stage,) = runs(project, kind="study"), runs(project, kind="stage")
    assert stage.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (parent.info.status, stage.info.status) == ("FINISHED", "FINISHED")
    digest = parent.data.tags["study_digest"]
    assert (parent.info.run_name, stage.info.run_name) == (f"bold-idea ({digest[:7]})", "train")
    # The parent has all parameters, but not yet those that the search will find.
    assert parent.data.params["tune.space.train.learning_rate.adam_lr.high"] == "0.01"
    assert "train.learning_rate" not in parent.data.params
    params = {"train.epochs": "3", "model.leaky_relu_alpha_1": "None", "path": "two\nlines, ä"}
    assert stage.data.params == params
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


@pytest.mark.parametrize(("error", "status"), [(UserError("broken"), "FAILED"), (KeyboardInterrupt(), "KILLED")])
def test_a_stage_that_fails_or_is_stopped_is_marked_so_and_its_error_goes_on(project, error, status):
    with pytest.raises(type(error), match=f"^{error}$"), tracking.stage("train") as tracked:
        tracked.begin(DATA)
        raise error
    assert statuses(project) == [status, status]


def test_a_stage_whose_dvc_was_killed_is_done_again_and_has_one_finished_run(project, monkeypatch):
    """DVC has not noticed its end and runs it again: that run continues the first."""
    dvc = subprocess.Popen(["sleep", "60"])
    with monkeypatch.context() as changed:
        changed.setattr(stages, "_running_dvc", lambda: psutil.Process(dvc.pid))
        with tracking.stage("tune") as tracked:
            tracked.begin(DATA)
            tracked.log_metrics({"loss": 1.0})
            dvc.kill()
            os.waitid(os.P_PID, dvc.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now
    dvc.wait()
    begin("tune")
    first, second = runs(project, dvc_stage="tune")
    assert (first.info.status, second.info.status) == ("KILLED", "FINISHED")
    assert second.data.tags["continues"] == first.info.run_id
    assert first.data.metrics == {"loss": 1.0}, "all of it was logged"
    assert statuses(project, kind="study") == ["FINISHED"]


def test_the_dvc_of_a_stage_is_found_behind_its_shell():
    code = "from glassbox.tracking import client; print(client._running_dvc().pid)"
    stage = ["sh", "-c", f'"{sys.executable}" -c "{code}"; true']  # without `true` the shell would become the stage
    variables = environment(PYTHONPATH=str(ROOT / "src"), DVC_STAGE="tune")
    done = subprocess.run(stage, env=variables, capture_output=True, text=True)
    assert done.stdout == f"{os.getpid()}\n", done.stderr


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
