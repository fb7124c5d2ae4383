"""What a recorder writes."""

from dataclasses import asdict
from typing import Any

from tracked_stages import DATA, client, complete, runs

from glassbox import tracking
from glassbox.search.outcome import Trial


def trial(number: int, state: str, by_key: dict[str, Any], curve: list[float], **others: Any) -> dict[str, Any]:
    """The fields of a trial whose measure is better if it is higher."""
    value = max(curve) if state != "failed" else None
    params = {key.rpartition(".")[2]: drawn for key, drawn in by_key.items()}
    about = {"value": value, "params": params, "by_key": by_key, "curve": curve, "cost": None, "seconds": 1.0}
    return asdict(Trial(number=number, state=state, **about | {"reason": ""} | others))


def test_trials_are_nested_under_tune(project):
    with tracking.stage("tune") as tracked:
        tracked.begin(DATA)
        adam = {"train.optimizer": "adam", "train.learning_rate": 0.01, "model.arguments.drop_rate": 0.25}
        sgd = {"train.optimizer": "sgd", "augment.crop": 4}
        tracked.log_trial(trial(0, "complete", adam, [0.5, 0.7, 0.6], seconds=2.0, cost=1234.0), "validation_accuracy")
        tracked.log_trial(trial(1, "pruned", sgd, [0.2]), "validation_accuracy")
        tracked.log_trial(trial(2, "failed", sgd, []), "validation_accuracy")
    (tune,) = runs(project, kind="stage")
    trials = sorted(runs(project, kind="trial"), key=lambda run: run.info.run_name)
    assert [run.info.run_name for run in trials] == ["trial-000", "trial-001", "trial-002"]
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {tune.info.run_id}
    assert [run.info.status for run in trials] == ["FINISHED", "FINISHED", "FAILED"]
    assert [run.data.tags["trial_state"] for run in trials] == ["complete", "pruned", "failed"]
    assert trials[0].data.params == {key: str(value) for key, value in adam.items()}, "under their full keys"
    assert trials[1].data.params == {"train.optimizer": "sgd", "augment.crop": "4"}
    best = {"best_validation_accuracy": 0.7}
    assert trials[0].data.metrics == best | {"validation_accuracy": 0.6, "second_objective": 1234.0}
    assert trials[1].data.metrics == {"validation_accuracy": 0.2, "best_validation_accuracy": 0.2}
    assert trials[2].data.metrics == {}
    curve = client(project).get_metric_history(trials[0].info.run_id, "validation_accuracy")
    assert [(point.step, point.value) for point in curve] == [(1, 0.5), (2, 0.7), (3, 0.6)]
    assert trials[0].info.end_time - trials[0].info.start_time == 2000


def test_a_search_by_loss_shows_its_lowest(project):
    with tracking.stage("tune") as tracked:
        tracked.begin(DATA)
        tracked.log_trial(trial(0, "complete", {"augment.crop": 1}, [0.5, 0.3, 0.4], value=0.3), "validation_loss")
    (found,) = runs(project, kind="trial")
    assert found.data.metrics == {"validation_loss": 0.4, "best_validation_loss": 0.3}


def test_report_completes_the_row_from_the_files_and_twice_is_as_once(project):
    """The second time it logs only an image that a kill left out."""
    for file in ("index.html", "photos/of mine.png", "evaluate/confusion_matrix.png"):
        (project / "reports" / file).parent.mkdir(parents=True, exist_ok=True)
        (project / "reports" / file).write_text("content")
    complete(project)
    before = sorted((project / "mlruns").rglob("*.webp"))
    before[1].unlink()
    complete(project)
    after = sorted((project / "mlruns").rglob("*.webp"))
    keys = ["a~LIME+step+7", "a~LIME+step+9", "a~image+step+7", "a~image+step+9"]
    for files in (before, after):
        assert [file.name.partition("+timestamp")[0] for file in files] == keys
    assert {*after} & {*before} == {before[0], *before[2:]}

    (parent,), store = runs(project, kind="study"), client(project)
    assert parent.data.params["train.learning_rate"] == "0.002"
    assert "train.rho" not in parent.data.params
    assert parent.data.metrics["test_accuracy"] == 0.9
    address = f"get-artifact?run_uuid={parent.info.run_id}&path=evaluate/confusion_matrix.png"
    assert parent.data.tags["mlflow.note.content"] == f"**about** ![a]({address})"
    assert parent.data.tags["best_explainer"] == "LIME"
    assert store.get_experiment(parent.info.experiment_id).tags["mlflow.sharedViewState.glassbox"] == "the view"
    history = store.get_metric_history(parent.info.run_id, "validation_loss")
    assert [(m.step, m.value) for m in history] == [(1, 0.5), (2, 0.4)]
    assert [a.path for a in store.list_artifacts(parent.info.run_id)] == ["evaluate", "images", "index.html"]
    assert [a.path for a in store.list_artifacts(parent.info.run_id, "evaluate")] == ["evaluate/confusion_matrix.png"]
    full = [a.path for a in store.list_artifacts(parent.info.run_id, "images") if a.path.endswith(".png")]
    assert {path.partition("+timestamp")[0] for path in full} == {f"images/{key}" for key in keys}
