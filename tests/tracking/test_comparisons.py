"""What `compare` and `verify` log."""

import os
import signal

import pytest
from recorders import killed_after
from tracked_stages import begin, runs, statuses

from glassbox.core.errors import UserError
from glassbox.tracking import address, comparisons, ownership
from glassbox.tracking.runs import NOTE

NUMBERS, OUTCOMES = {"difference/accuracy": -0.1, "p/accuracy": 0.5}, {"outcome/accuracy": "undecided"}


def log_comparison() -> None:
    comparisons.log_comparison("digits", ("slow", "fast"), NUMBERS, OUTCOMES, ["First.", "Second."], "params.yaml")


def test_a_comparison_has_its_outcomes_as_tags_and_its_sentences_as_description(project):
    begin("prepare")
    log_comparison()
    (run,) = runs(project, kind="comparison")
    assert (run.info.status, run.data.metrics) == ("FINISHED", NUMBERS)
    assert run.data.tags["outcome/accuracy"] == "undecided"
    assert run.data.tags[NOTE] == "First.\n\nSecond."
    assert (run.data.tags["a"], run.data.tags["b"]) == ("slow", "fast")


@pytest.mark.parametrize(("ending", "status"), [("refused", "FAILED"), ("ctrl-c", "KILLED")])
def test_a_comparison_that_is_not_logged_is_marked_so(project, monkeypatch, ending, status):
    import mlflow
    from mlflow.exceptions import MlflowException

    def log_artifact(*_) -> None:
        raise MlflowException("no room left for artifacts") if ending == "refused" else KeyboardInterrupt

    begin("prepare")
    monkeypatch.setattr(mlflow.MlflowClient, "log_artifact", log_artifact)
    with pytest.raises((UserError, KeyboardInterrupt)) as raised:
        log_comparison()
    assert ending != "refused" or str(raised.value).endswith("failed: no room left for artifacts")
    assert statuses(project, kind="comparison") == [status]


def test_a_comparison_that_is_killed_is_marked_by_the_next_process(project, monkeypatch):
    begin("prepare")
    with monkeypatch.context() as changed:
        changed.setattr("mlflow.MlflowClient.log_artifact", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        killed_after(log_comparison)
    assert statuses(project, kind="comparison") == ["RUNNING"]
    begin("report")  # or whatever comes next
    assert statuses(project, kind="comparison") == ["KILLED"]
    assert list((project / address.STORE / ownership.LOCKS).glob("*")) == []
