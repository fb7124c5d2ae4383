"""What `compare` and `verify` log."""

import os
import signal

import pytest
from tracked_stages import begin, client, complete, runs, save_model

from glassbox.core.errors import UserError
from glassbox.tracking import address, comparisons, ownership
from glassbox.tracking.runs import NOTE


def test_a_comparison_has_its_outcomes_as_tags_and_its_sentences_as_description(project):
    (project / "reports" / "report").mkdir(parents=True)
    save_model(project / "models")
    complete(project)
    page = project / "page.html"
    page.write_text("<p>")
    (study,) = runs(project, kind="study")
    name = client(project).get_experiment(study.info.experiment_id).name
    numbers, outcomes = {"difference/accuracy": -0.1, "p/accuracy": 0.5}, {"outcome/accuracy": "undecided"}
    comparisons.log_comparison(name, ("slow", "fast"), numbers, outcomes, ["First.", "Second."], page)
    (run,) = runs(project, kind="comparison")
    assert run.data.metrics == numbers
    assert run.data.tags["outcome/accuracy"] == "undecided"
    assert run.data.tags[NOTE] == "First.\n\nSecond."
    assert (run.data.tags["a"], run.data.tags["b"]) == ("slow", "fast")


def kill_this_process(*_) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("how", ["refused", "ctrl-c", "killed"])
def test_a_comparison_that_does_not_come_to_its_end_has_one_in_mlflow(project, monkeypatch, how):
    import mlflow
    from mlflow.exceptions import MlflowException

    def log_artifact(*_) -> None:
        if how == "killed":
            kill_this_process()
        raise MlflowException("no room left for artifacts") if how == "refused" else KeyboardInterrupt

    begin("prepare")
    with monkeypatch.context() as changed:
        changed.setattr(mlflow.MlflowClient, "log_artifact", log_artifact)
        if how == "killed":
            if (child := os.fork()) == 0:
                comparisons.log_comparison("digits", ("slow", "fast"), {"p": 0.5}, {}, ["First."], "page.html")
            assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
            assert [run.info.status for run in runs(project, kind="comparison")] == ["RUNNING"]
            begin("report")  # or whatever comes next
        else:
            with pytest.raises((UserError, KeyboardInterrupt)) as raised:
                comparisons.log_comparison("digits", ("slow", "fast"), {"p": 0.5}, {}, ["First."], "page.html")
            assert how != "refused" or str(raised.value).endswith("failed: no room left for artifacts")
    (run,) = runs(project, kind="comparison")
    assert run.info.status == {"refused": "FAILED", "ctrl-c": "KILLED", "killed": "KILLED"}[how]
    assert list((project / address.STORE / ownership.LOCKS).glob("*")) == [] or how != "killed"
