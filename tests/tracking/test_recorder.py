"""What a recorder writes."""

from tracked_stages import DATA, client, complete, runs

from glassbox import tracking


def test_trials_are_nested_under_tune(project):
    with tracking.stage("tune") as tracked:
        tracked.begin(DATA)
        tracked.log_trial(0, "complete", {"optimizer": "adam"}, [0.5, 0.7], 2.0)
        tracked.log_trial(1, "pruned", {"optimizer": "sgd"}, [0.2], 1.0)
        tracked.log_trial(2, "failed", {"optimizer": "sgd"}, [], 1.0)
    (tune,) = runs(project, kind="stage")
    trials = sorted(runs(project, kind="trial"), key=lambda run: run.info.run_name)
    assert [run.info.run_name for run in trials] == ["trial-000", "trial-001", "trial-002"]
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {tune.info.run_id}
    assert [run.info.status for run in trials] == ["FINISHED", "FINISHED", "FAILED"]
    assert [run.data.tags["trial_state"] for run in trials] == ["complete", "pruned", "failed"]
    assert trials[0].data.metrics == {"validation_accuracy": 0.7, "best_validation_accuracy": 0.7}
    assert trials[0].info.end_time - trials[0].info.start_time == 2000


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
