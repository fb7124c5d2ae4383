"""Tracking against real stores. The recorder is a process of its own, as in a stage; what it logged is read with
MLflow's own client."""

import http.server
import io
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from conftest import ROOT, environment, shell
from PIL import Image
from recorders import Recorder, origin

from glassbox import files, models, record, serving, tracking
from glassbox.data.store import Description
from glassbox.errors import UserError
from glassbox.models.cnn import Hyperparameters

DATA = Description("toy", ("cat", "dog"), 8, {"train": 4}, (0.5,) * 3, (0.2,) * 3, False, "d" * 64)
SMALL = Hyperparameters(4, 3, "relu", None, 0.0, 2, 0.1, 4, 3, "relu", None, 0.0, 2, 8, 0.0, "relu", None, 0.1, 0.9)
SPEC = models.Spec("cnn", SMALL.__dict__, "data", None)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    """A fresh database, made once by the code under test; the tests work on copies."""
    place = tmp_path_factory.mktemp("store") / tracking.STORE
    place.mkdir()
    code = f"from pathlib import Path; from glassbox import tracking; tracking._initialise(Path({str(place)!r}))"
    shell(sys.executable, "-c", code, cwd=ROOT, PYTHONPATH=str(ROOT / "src"))
    return place


@pytest.fixture(scope="module")
def recorders():
    with origin() as address:
        yield lambda: Recorder(address)


@pytest.fixture
def project(tmp_path, monkeypatch, empty_store, recorders):
    """A folder with parameters, in which stages could run; those of the test itself have recorders that begin at once,
    those in processes of their own have what every stage has."""
    monkeypatch.setattr(tracking, "start_recorder", recorders)
    for key in [key for key in os.environ if key.startswith(("DVC_", "MLFLOW_", "GLASSBOX_"))]:
        monkeypatch.delenv(key)
    place = tmp_path / "a project"
    place.mkdir()
    shutil.copy2(ROOT / "params.yaml", place)
    shutil.copytree(empty_store, place / tracking.STORE)
    monkeypatch.chdir(place)
    return place


def client(project: Path):
    import mlflow

    return mlflow.MlflowClient(f"sqlite:///{project / tracking.STORE / tracking.DATABASE}")


def runs(project: Path, **tags: str):
    store = client(project)
    experiments = [e.experiment_id for e in store.search_experiments()]
    query = " and ".join(f"tags.{key} = '{value}'" for key, value in tags.items())
    return sorted(store.search_runs(experiments, query), key=lambda r: (r.info.start_time, r.info.run_name))


def save_model(folder: Path) -> models.Classifier:
    torch.manual_seed(0)
    classifier = models.build("cnn", SMALL.__dict__, 8, 2, DATA.mean, DATA.std)
    models.save(folder, classifier, models.describe(SPEC, classifier, DATA, []))
    return classifier


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


def begin(name: str, data: Description = DATA) -> None:
    with tracking.stage(name) as tracked:
        tracked.begin(data)


OTHER_DATA = Description(**DATA.__dict__ | {"digest": "e" * 64})


def test_stages_find_their_study_by_its_state(project):
    begin("prepare")
    begin("tune")
    assert len(runs(project, kind="study")) == 1
    begin("prepare", OTHER_DATA)
    assert len(runs(project, kind="study")) == 2
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("gallery: 16 ", "gallery: 17 "))
    begin("evaluate")
    studies = runs(project, kind="study")
    assert len({run.data.tags["study_digest"] for run in studies}) == len(studies) == 3
    (project / "params.yaml").write_text(text)
    begin("report")
    assert len(runs(project, kind="study")) == 3
    first = studies[0].info.run_id
    assert [r.info.run_name for r in runs(project, kind="stage") if r.data.tags["mlflow.parentRunId"] == first] == [
        "prepare", "tune", "report",
    ]  # fmt: skip


def test_a_row_says_what_its_state_has_changed(project, monkeypatch):
    text = (project / "params.yaml").read_text()
    changed = text.replace("gallery: 16 ", "gallery: 17 ").replace("learning_rate: tuned", "learning_rate: 0.003")
    more = changed.replace("seed: 0 ", "seed: 1 ").replace("gallery: 17 ", "gallery: 3 ")
    for values, name in ((text, ""), (changed, ""), (more, "bold-idea")):
        (project / "params.yaml").write_text(values)
        monkeypatch.setenv("DVC_EXP_NAME", name)
        begin("prepare")
    rows = runs(project, kind="study")
    digests = [row.data.tags["study_digest"][:7] for row in rows]
    assert [row.info.run_name for row in rows] == [
        f"digits ({digests[0]})",
        f"digits: train.learning_rate=0.003, evaluate.gallery=17 ({digests[1]})",
        f"bold-idea: study.seed=1, evaluate.gallery=3 ({digests[2]})",
    ]
    assert "changed" not in rows[0].data.tags
    assert rows[1].data.tags["changed"] == "train.learning_rate=0.003, evaluate.gallery=17"
    (project / "params.yaml").write_text(text)
    begin("prepare", OTHER_DATA)
    assert runs(project, kind="study")[-1].data.tags["changed"] == (
        "study.seed=0, evaluate.gallery=16 and 2 more"  # the learning rate is tuned again, and the data are others
    )


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


def complete(project: Path) -> None:
    """Fill the row of a study that explained two images by LIME."""
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, "PNG")
    with tracking.stage("report") as tracked:
        tracked.begin(DATA)
        tracked.complete_study(
            [{"key": "train.learning_rate", "value": 0.002, "source": "tune, trial 3"},
             {"key": "train.epochs", "value": 15, "source": "params.yaml"},
             {"key": "train.rho", "value": None, "source": "not used"}],
            {"test_accuracy": 0.9}, [{"epoch": 1, "validation_loss": 0.5}, {"epoch": 2, "validation_loss": 0.4}],
            "**about** ![a](artifact:evaluate/confusion_matrix.png)", "LIME", "the view", "reports",
        )  # fmt: skip
        tracked.log_images([(key, step, content.getvalue()) for key in ("a/LIME", "a/image") for step in (7, 9)])


def test_report_completes_the_row_from_the_files_and_twice_is_as_once(project):
    (project / "reports" / "evaluate").mkdir(parents=True)
    (project / "reports" / "photos").mkdir()
    (project / "reports" / "photos" / "of mine.png").write_bytes(b"png")
    (project / "reports" / "index.html").write_text("<p>")
    (project / "reports" / "evaluate" / "confusion_matrix.png").write_bytes(b"png")
    for _ in range(2):
        complete(project)
    (parent,) = runs(project, kind="study")
    assert parent.data.params["train.learning_rate"] == "0.002"
    assert "train.rho" not in parent.data.params
    assert parent.data.metrics["test_accuracy"] == 0.9
    address = f"get-artifact?run_uuid={parent.info.run_id}&path=evaluate/confusion_matrix.png"
    assert parent.data.tags["mlflow.note.content"] == f"**about** ![a]({address})"
    assert parent.data.tags["best_explainer"] == "LIME"
    assert (
        client(project).get_experiment(parent.info.experiment_id).tags["mlflow.sharedViewState.glassbox"] == "the view"
    )
    store = client(project)
    assert [(m.step, m.value) for m in store.get_metric_history(parent.info.run_id, "validation_loss")] == [
        (1, 0.5),
        (2, 0.4),
    ]
    assert [a.path for a in store.list_artifacts(parent.info.run_id)] == [
        "evaluate", "images", "index.html",
    ]  # fmt: skip
    images = [a.path.partition("+timestamp")[0] for a in store.list_artifacts(parent.info.run_id, "images")]
    keys = [f"images/a~{key}+step+{row}" for key in ("LIME", "image") for row in (7, 9)]
    assert sorted(images) == sorted(2 * keys)  # of each a small one besides
    assert [a.path for a in store.list_artifacts(parent.info.run_id, "evaluate")] == ["evaluate/confusion_matrix.png"]


def test_images_that_a_kill_left_out_are_logged_the_next_time(project):
    (project / "reports").mkdir()
    complete(project)
    small = sorted((project / "mlruns").rglob("*.webp"))
    assert [file.name.partition("+timestamp")[0] for file in small] == [
        "a~LIME+step+7", "a~LIME+step+9", "a~image+step+7", "a~image+step+9"
    ]  # fmt: skip
    small[1].unlink()
    complete(project)
    again = sorted((project / "mlruns").rglob("*.webp"))
    assert [file.name.partition("+timestamp")[0] for file in again] == [
        "a~LIME+step+7", "a~LIME+step+9", "a~image+step+7", "a~image+step+9"
    ]  # fmt: skip
    assert {*again} & {*small} == {small[0], *small[2:]}


def log_model(project: Path, images: np.ndarray, card: str = "# Card") -> None:
    with tracking.stage("report") as tracked:
        tracked.begin(DATA)
        tracked.log_model("models", {"temperature": 2.0, "resize": "crop"}, DATA.classes, images[:2], card)


def test_the_model_is_registered_loadable_and_in_every_row_that_uses_it_even_after_a_move(project, tmp_path):
    import mlflow

    classifier = save_model(project / "models")
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    log_model(project, images)
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("gallery: 16 ", "gallery: 17 "))
    log_model(project, images, "# Other card")  # of another state, whose training was restored from DVC's cache
    log_model(project, images, "# Third card")  # the same once more
    first, second = runs(project, kind="study")
    (model,) = {output.model_id for study in (first, second) for output in study.outputs.model_outputs}
    store = client(project)
    versions = store.search_model_versions("name = 'glassbox-digits'", order_by=["version_number ASC"])
    assert [(v.version, v.source, v.run_id, v.description) for v in versions] == [
        (1, f"models:/{model}", first.info.run_id, "# Card"),
        (2, f"models:/{model}", second.info.run_id, "# Third card"),
    ]  # fmt: skip
    assert store.get_logged_model(model).source_run_id == first.info.run_id

    moved = tmp_path / "moved elsewhere"
    project.rename(moved)
    mlflow.set_tracking_uri(f"sqlite:///{moved / tracking.STORE / tracking.DATABASE}")
    loaded = mlflow.pyfunc.load_model("models:/glassbox-digits/latest")
    logits = models.predict(classifier, torch.from_numpy(images), 8).double()
    p = (logits / 2).softmax(dim=1).numpy()
    assert loaded.predict(images)[["p(cat)", "p(dog)"]].to_numpy() == pytest.approx(p, abs=1e-6)
    larger = images.repeat(2, axis=1).repeat(2, axis=2)
    assert loaded.predict(larger)["prediction"].tolist() == loaded.predict(images)["prediction"].tolist()
    assert loaded.metadata.signature.inputs.inputs[0].shape == (-1, -1, -1, 3)
    assert loaded.input_example is not None
    logged = [path for path in (moved / tracking.STORE / "artifacts").rglob("*") if path.is_file()]
    assert not [path for path in logged if path.suffix in (".pkl", ".pth", ".pt", ".pyc")]


def stopped_while_copying(folder: Path, model) -> None:
    """As kill -9 of stage and recorder leaves a model."""
    for path in [path for path in folder.rglob("*") if path.is_file()][4:]:
        path.unlink()
    with sqlite3.connect(tracking.root() / tracking.STORE / tracking.DATABASE) as store:
        store.execute("update logged_models set status = 1 where model_id = ?", [model.model_id])
    (tracking._signs() / f"{model.tags.get(tracking.SIGN)}-{tracking._store()}").touch()


def without_its_files(folder: Path, _) -> None:
    shutil.rmtree(folder.parents[3])  # mlruns/artifacts


def one_byte_changed(folder: Path, _) -> None:
    (weights,) = folder.rglob("model.safetensors")
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)


def without_a_file(folder: Path, _) -> None:
    (folder / "code/glassbox/serving.py").unlink()


@pytest.mark.parametrize("harm", [stopped_while_copying, without_its_files, one_byte_changed, without_a_file])
def test_a_model_that_is_not_whole_is_logged_again_and_is_the_latest(project, harm):
    """Whoever loads the latest version gets all of the model, whatever has befallen the files of the one before."""
    import mlflow

    save_model(project / "models")
    images = np.zeros((2, 8, 8, 3), np.uint8)
    log_model(project, images)
    store = client(project)
    (before,) = store.search_logged_models(["1"])
    harm(bundle(project).parents[1], before)
    log_model(project, images)
    damaged, latest = store.search_model_versions("name = 'glassbox-digits'", order_by=["version_number ASC"])
    assert (damaged.source, damaged.description) == (f"models:/{before.model_id}", tracking.NOT_WHOLE)
    assert store.get_logged_model(before.model_id).status == "FAILED"
    mlflow.set_tracking_uri(f"sqlite:///{project / tracking.STORE / tracking.DATABASE}")
    loaded = mlflow.pyfunc.load_model("models:/glassbox-digits/latest")  # which leaves files of its own there
    assert len(loaded.predict(images)) == 2
    assert latest.source == f"models:/{loaded.metadata.model_id}"
    log_model(project, images)
    assert len(store.search_model_versions("name = 'glassbox-digits'")) == 2, "a whole one is not logged again"


def test_a_study_is_fetched_from_its_row_and_what_is_damaged_there_is_named(project, tmp_path):
    save_model(project / "models")
    (project / "reports/report").mkdir(parents=True)
    (project / "reports/summary.json").write_text("{}")
    for name in record.BESIDE[1:]:
        (project / name).touch()
    recorded = {"study": "digits", "study_digest": "d" * 16, "machine": {}, "files": record.digests()}
    files.write_json(project / "reports/report" / record.RECORD, recorded)
    files.write_bytes(project / "reports/report" / record.SOURCES, record._zipped([Path(n) for n in record.BESIDE]))
    complete(project)
    log_model(project, np.zeros((2, 8, 8, 3), np.uint8))
    (row,) = runs(project, kind="study")
    tracking.fetch_study(row.info.run_id, tmp_path / "whole", "A")
    assert record.digests().items() <= record.digests(tmp_path / "whole").items()
    assert (tmp_path / "whole/params.yaml").read_bytes() == (project / "params.yaml").read_bytes()

    advice = (
        "is missing in MLflow or is not what was recorded: run 'dvc repro --force report' where that study was made"
    )
    damaged = [("reports/summary.json", next((project / tracking.STORE).rglob("summary.json"))),
               ("models/model.json", bundle(project) / "model.json")]  # fmt: skip
    for number, (name, file) in enumerate(damaged):
        content = file.read_bytes()
        file.write_bytes(content + b"\n")
        with pytest.raises(
            UserError, match=re.escape(f"A={row.info.run_id}: {name} of the row {row.info.run_name} {advice}")
        ):
            tracking.fetch_study(row.info.run_id, tmp_path / f"{number}", "A")
        file.write_bytes(content)


def test_mlflow_serves_the_model(project):
    save_model(project / "models")
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    log_model(project, images)
    port, store = free_port(), f"sqlite:///{project / tracking.STORE / tracking.DATABASE}"
    which = ("-m", "models:/glassbox-digits/latest", "--env-manager", "local", "--port", str(port))
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "models", "serve", "--host", "127.0.0.1", *which], cwd=project,
        env=environment(MLFLOW_TRACKING_URI=store), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5)
                break
            except OSError:
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", json.dumps({"inputs": images.tolist()}).encode(),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=60) as answer:
            rows = json.load(answer)["predictions"]
        expected = serving.Predictor(bundle(project)).predict(images)
        assert [row["prediction"] for row in rows] == expected["prediction"].tolist()
        assert [row["p(cat)"] for row in rows] == pytest.approx(expected["p(cat)"].tolist(), abs=1e-6)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def bundle(project: Path) -> Path:
    """The folder of what was logged of the model."""
    (card,) = (project / tracking.STORE / "artifacts").rglob("serving.json")
    return card.parent


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


STAGE = """
import os, sys, time
from glassbox import tracking
from glassbox.data.store import Description
with tracking.stage(sys.argv[1]) as tracked:
    tracked.begin(Description("toy", ("cat", "dog"), 8, {}, (0.5,) * 3, (0.2,) * 3, False, "d" * 64))
    tracked.log_metrics({"loss": 1.0})
    time.sleep(float(sys.argv[2]))
"""


def start(project: Path, name: str, seconds: float, **changes: str) -> subprocess.Popen:
    command = [sys.executable, "-c", STAGE, name, str(seconds)]
    return subprocess.Popen(command, cwd=project, env=environment(PYTHONPATH=str(ROOT / "src"), **changes))


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


def wait_until_it_runs(project: Path, name: str, times: int = 1) -> None:
    deadline = time.monotonic() + 60
    while len(found := runs(project, dvc_stage=name)) < times or found[-1].info.status != "RUNNING":
        assert time.monotonic() < deadline
        time.sleep(0.3)


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
    assert list((project / tracking.STORE / tracking.SIGNS).iterdir()) == []


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
        [sys.executable, "-c", DVC], cwd=project, env=environment(PYTHONPATH=str(ROOT / "src"), STAGE=code),
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
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


def test_a_study_is_found_by_its_digest_its_name_and_any_of_its_runs(project, tmp_path):
    for text in ("gallery: 16 ", "gallery: 17 "):
        params = (ROOT / "params.yaml").read_text().replace("gallery: 16 ", text)
        (project / "params.yaml").write_text(params)
        with tracking.stage("train") as tracked:
            tracked.begin(DATA)
    first, second = runs(project, kind="study")
    store, digest = client(project), first.data.tags["study_digest"]
    train = next(
        r for r in runs(project, kind="stage") if r.data.tags["mlflow.parentRunId"] == second.info.run_id
    )  # fmt: skip
    for which, study in ((digest, first), (digest[:9], first), (first.info.run_name, first),
                         (second.info.run_id, second), (train.info.run_id, second)):  # fmt: skip
        assert tracking.find_study(store, which).info.run_id == study.info.run_id
    names = ", ".join(sorted((first.info.run_name, second.info.run_name)))
    with pytest.raises(UserError, match=re.escape(f"RUN=nonsense: no row is called so; there are: {names}")):
        tracking.find_study(store, "nonsense")
    with pytest.raises(UserError, match=r"RUN=x' or 'y: it must be a study digest"):
        tracking.find_study(store, "x' or 'y")
    with pytest.raises(UserError, match=re.escape(f"the row {first.info.run_name} has no report/record.json")):
        tracking.fetch_record(digest, tmp_path)
    tracking.note_verified(digest, "3 of 3 files agree")
    assert runs(project, kind="study")[0].data.tags["verified"].endswith(": 3 of 3 files agree")
    tracking.note_verified("0" * 16, "0 of 3 files agree")  # of which there is no row


def test_a_comparison_has_its_outcomes_as_tags_and_its_sentences_as_description(project):
    (project / "reports" / "report").mkdir(parents=True)
    save_model(project / "models")
    complete(project)
    page = project / "page.html"
    page.write_text("<p>")
    (study,) = runs(project, kind="study")
    name = client(project).get_experiment(study.info.experiment_id).name
    numbers, outcomes = {"difference/accuracy": -0.1, "p/accuracy": 0.5}, {"outcome/accuracy": "undecided"}
    tracking.log_comparison(name, ("slow", "fast"), numbers, outcomes, ["First.", "Second."], page)
    (run,) = runs(project, kind="comparison")
    assert run.data.metrics == numbers
    assert run.data.tags["outcome/accuracy"] == "undecided"
    assert run.data.tags[tracking.NOTE] == "First.\n\nSecond."
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
                tracking.log_comparison("digits", ("slow", "fast"), {"p": 0.5}, {}, ["First."], "page.html")
            assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
            assert [run.info.status for run in runs(project, kind="comparison")] == ["RUNNING"]
            begin("report")  # or whatever comes next
        else:
            with pytest.raises((UserError, KeyboardInterrupt)) as raised:
                tracking.log_comparison("digits", ("slow", "fast"), {"p": 0.5}, {}, ["First."], "page.html")
            assert how != "refused" or str(raised.value).endswith("failed: no room left for artifacts")
    (run,) = runs(project, kind="comparison")
    assert run.info.status == {"refused": "FAILED", "ctrl-c": "KILLED", "killed": "KILLED"}[how]
    assert list((project / tracking.STORE / tracking.SIGNS).glob("*")) == [] or how != "killed"


def test_the_record_of_a_study_is_fetched_from_its_row(project, tmp_path):
    (project / "reports" / "report").mkdir(parents=True)
    for name in (record.RECORD, record.SOURCES):
        (project / "reports" / "report" / name).write_text(name)
    save_model(project / "models")
    complete(project)
    (study,) = runs(project, kind="study")
    assert tracking.fetch_record(study.info.run_name, tmp_path) == study.info.run_id
    assert (tmp_path / record.RECORD).read_text() == record.RECORD
    assert (tmp_path / record.SOURCES).read_text() == record.SOURCES


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("API request to http://me:se/cr@et@host:5000/api failed", "API request to http://me:***@host:5000/api failed"),
        ("https://ghp_0123@github.com/a/b", "https://***@github.com/a/b"),
        ("postgresql+psycopg://u:p@db/x?sslmode=require", "postgresql+psycopg://u:***@db/x?sslmode=require"),
        (
            "https://bucket/x?AWSAccessKeyId=1&Signature=abc&n=2",
            "https://bucket/x?AWSAccessKeyId=***&Signature=***&n=2",
        ),
        ("postgresql+psycopg://:se:cret@db/x", "postgresql+psycopg://:***@db/x"),
        ("data/raw, me@example.org: at 12:30", "data/raw, me@example.org: at 12:30"),
    ],
)
def test_no_secret_of_an_address_is_told(said, shown):
    assert tracking._masked(said) == shown


def test_three_stages_may_start_at_once_on_a_fresh_store(project):
    shutil.rmtree(project / tracking.STORE)
    started = [start(project, name, 0.0) for name in ("prepare", "tune", "train")]
    assert [process.wait(timeout=120) for process in started] == [0, 0, 0]
    assert len(runs(project, kind="study")) == 1
    assert {run.info.run_name: run.data.metrics["loss"] for run in runs(project, kind="stage")} == {
        "prepare": 1.0, "tune": 1.0, "train": 1.0,
    }  # fmt: skip
    with sqlite3.connect(project / tracking.STORE / tracking.DATABASE) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_stage_in_a_temporary_copy_logs_to_the_original(project, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy2(project / "params.yaml", copy)
    assert start(copy, "explain", 0.0, DVC_ROOT=str(project)).wait(timeout=120) == 0
    assert [run.info.run_name for run in runs(project, kind="stage")] == ["explain"]
    assert not (copy / tracking.STORE).exists()


def clone_of(project: Path, place: Path) -> Path:
    place.mkdir(parents=True)
    shutil.copy2(project / "params.yaml", place)
    (place / "out").mkdir()
    (place / "out" / "picture.txt").write_text("red and blue")
    return place


def log_picture() -> None:
    with tracking.stage("explain") as tracked:
        tracked.begin(DATA)
        tracked.log_files("out")


def pictures(where: str) -> list[bytes]:
    """What every stage run in a store has as its picture."""
    import mlflow

    mlflow.set_tracking_uri(where)
    store = mlflow.MlflowClient()
    found = store.search_runs(tracking._everywhere(store), "tags.kind = 'stage'")
    return [Path(store.download_artifacts(run.info.run_id, "picture.txt")).read_bytes() for run in found]


@pytest.mark.parametrize("given", ["absolute", "relative"])
def test_files_lie_beside_a_database_of_ones_own_from_a_temporary_copy_and_from_two_clones(
    project, tmp_path, monkeypatch, given
):
    shared = project if given == "relative" else tmp_path / "shared"
    shared.mkdir(exist_ok=True)
    shutil.copy2(project / tracking.STORE / tracking.DATABASE, shared / "own.db")
    monkeypatch.setenv(
        "MLFLOW_TRACKING_URI", "sqlite:///own.db" if given == "relative" else f"sqlite:///{shared}/own.db"
    )
    monkeypatch.setenv("DVC_ROOT", str(project))
    monkeypatch.chdir(clone_of(project, tmp_path / "temporary"))
    log_picture()
    if given == "absolute":
        another = clone_of(project, tmp_path / "another clone")
        monkeypatch.setenv("DVC_ROOT", str(another))
        monkeypatch.chdir(another)
        log_picture()
        shutil.rmtree(another)
    monkeypatch.chdir(project)
    shutil.rmtree(tmp_path / "temporary")
    assert pictures(f"sqlite:///{shared}/own.db") == [b"red and blue"] * (1 if given == "relative" else 2)
    assert len([*(shared / "artifacts/digits").rglob("picture.txt")]) == (1 if given == "relative" else 2)


@pytest.mark.parametrize(
    ("place", "refused"),
    [("a clone/mlruns/1", True), ("gone/mlruns/1", True), ("a project/mlruns/1", False), ("lab/mlruns/1", False)],
)
def test_an_experiment_whose_files_lie_in_another_clone_or_nowhere_is_refused(
    project, tmp_path, monkeypatch, place, refused
):
    """As MLflow places those that it makes by itself. A folder that is no clone may be meant for everybody."""
    clone_of(project, tmp_path / "a clone")
    (tmp_path / "lab").mkdir()
    (tmp_path / "databases").mkdir()
    shutil.copy2(project / tracking.STORE / tracking.DATABASE, tmp_path / "databases/own.db")
    where = f"sqlite:///{tmp_path}/databases/own.db"
    import mlflow

    mlflow.MlflowClient(where).create_experiment("digits", artifact_location=(tmp_path / place).as_uri())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", where)
    (project / "out").mkdir()
    (project / "out" / "picture.txt").write_text("red and blue")
    if refused:
        told = rf"study.name = 'digits': MLflow keeps the files of this experiment in {tmp_path / place}, which is"
        with pytest.raises(UserError, match=told):
            log_picture()
        assert not (tmp_path / place).exists()
    else:
        log_picture()
        assert pictures(where) == [b"red and blue"]


def test_any_name_of_a_folder_will_do(project, tmp_path, monkeypatch):
    """Some have a meaning in addresses."""
    odd = clone_of(project, tmp_path / "odd" / "a?b" / "pct%41 b" / "x#y&z=1;@:")
    monkeypatch.chdir(odd)
    log_picture()
    assert pictures(tracking.uri()) == [b"red and blue"]
    assert (odd / tracking.STORE / tracking.DATABASE).is_file()
    assert [path.name for path in (tmp_path / "odd").iterdir()] == ["a?b"], "nothing is made beside it"


class Requests:
    """In place of MLflow's client: what is asked of it. It takes files only as many at a time as are meant to be."""

    def __init__(self) -> None:
        self.batches, self.files = [], []
        self.together = threading.Barrier(tracking.REQUESTS, timeout=20)

    def log_batch(self, run_id, metrics=(), params=()):
        self.batches.append((len(params), len(metrics)))

    def log_artifact(self, run_id, path, place=None):
        self.together.wait()  # for as many others
        self.files.append((Path(path).name, place))
        if "broken" in path:
            raise OSError(f"{path} is refused")


@pytest.fixture
def recorder():
    made = tracking.Recorder.__new__(tracking.Recorder)
    made.client, made.remote = Requests(), True
    return made


@pytest.mark.parametrize(
    ("params", "metrics", "batches"),
    [
        (0, 0, []),
        (3, 4, [(3, 4)]),
        (250, 0, [(100, 0), (100, 0), (50, 0)]),
        (0, 2100, [(0, 1000), (0, 1000), (0, 100)]),
        (120, 1000, [(100, 900), (20, 100)]),
    ],
)
def test_parameters_and_metrics_go_in_as_few_batches_as_mlflow_takes(recorder, params, metrics, batches):
    recorder._log("run", {f"p{i}": i for i in range(params)}, tracking.points({f"m{i}": i for i in range(metrics)}, 0))
    assert recorder.client.batches == batches


def test_files_go_to_a_server_together_and_one_that_is_refused_is_said(recorder, tmp_path):
    (tmp_path / "figures").mkdir()
    for number in range(tracking.REQUESTS - 1):
        (tmp_path / "figures" / f"{number}.png").touch()
    (tmp_path / "a.csv").touch()
    recorder._upload("run", str(tmp_path), "explain")
    assert sorted(recorder.client.files) == [
        *((f"{number}.png", "explain/figures") for number in range(tracking.REQUESTS - 1)), ("a.csv", "explain")
    ]  # fmt: skip
    recorder.client.files.clear()
    recorder._upload("run", str(tmp_path))
    assert {place for _, place in recorder.client.files} == {None, "figures"}
    (tmp_path / "a.csv").rename(tmp_path / "broken.csv")
    with pytest.raises(OSError, match=r"broken.csv is refused"):
        recorder._upload("run", str(tmp_path))


def test_off_means_off(project, monkeypatch):
    monkeypatch.setenv("GLASSBOX_TRACKING", "off")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with tracking.stage("train") as tracked:
        tracked.begin(DATA)
        tracked.log_metrics({"loss": 1.0})
    assert runs(project, kind="stage") == []


@pytest.mark.parametrize(
    ("uri", "part"),
    [
        (
            "http://127.0.0.1:9",
            r"MLFLOW_TRACKING_URI = http://127.0.0.1:9 does not answer .* start that server, or unset",
        ),
        ("http://me:secret@127.0.0.1:9", r"http://me:\*\*\*@127.0.0.1:9 does not answer"),
        ("postgresql+psycopg://me:secret@127.0.0.1:9/x", r"me:\*\*\*@127.0.0.1:9/x does not answer \(.*refused"),
        (
            "http://[::1",
            r"MLFLOW_TRACKING_URI = http://\[::1 is no address \(Invalid IPv6 URL\): it must be one like http://127.0.0.1:5000",
        ),
        ("http://host:number", r"is no address \(nonnumeric port: 'number'\)"),
        ("http://", r"MLFLOW_TRACKING_URI = http:// does not answer \(no host given\)"),
        ("http://two words", r"is no address \(URL can't contain control characters"),
        (
            "sqlite://",
            r"MLFLOW_TRACKING_URI = sqlite:// is a database in memory, which ends with each stage: name a file",
        ),
        ("sqlite:///:memory:", r"sqlite:///:memory: is a database in memory"),
    ],
)
def test_an_unreachable_server_is_one_sentence_before_any_work(project, monkeypatch, uri, part):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    worked = False
    with pytest.raises(UserError, match=part), tracking.stage("train"):
        worked = True
    assert not worked


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("nonsense://somewhere", "unsupported URI 'nonsense://somewhere'"),
        ("sqlite:////dev/null/mlflow.db", "File exists: '/dev/null'"),
        ("sqlite:///params.yaml", "file is not a database"),
    ],
)
def test_a_store_that_cannot_be_opened_stops_the_stage_before_any_work(project, monkeypatch, uri, reason):
    """The recorder's own sentence says why, at once: MLflow tries for minutes."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    worked, began = False, time.monotonic()
    told = rf"logging to MLflow at (sqlite|nonsense).* failed: the MLflow store .* cannot be opened: .*{reason}"
    with pytest.raises(UserError, match=told), tracking.stage("train"):
        worked = True
    assert not worked
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("kind", ["postgresql+psycopg", "http"])
def test_a_server_that_takes_connections_and_says_nothing_is_given_up_after_seconds(project, monkeypatch, kind):
    monkeypatch.setattr(tracking, "ANSWER_SECONDS", 2)
    began = time.monotonic()
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{kind}://127.0.0.1:{mute.getsockname()[1]}/x")
        with pytest.raises(UserError, match=r"cannot be opened: .*timeout|does not answer \(timed out\)"):
            tracking.note_verified("0" * 16, "3 of 3 files agree")
    assert time.monotonic() - began < 30


def test_a_server_that_falls_silent_after_its_first_answer_is_given_up_after_seconds(project, monkeypatch):
    monkeypatch.setattr(tracking, "ANSWER_SECONDS", 1)
    for key in ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.setenv(key, "")  # to be put back
        monkeypatch.delenv(key)
    tracking.with_little_patience()

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def do_POST(self):
            time.sleep(5)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
    began = time.monotonic()
    with pytest.raises(UserError, match=r"cannot be opened: .*(timed out|Max retries)"):
        tracking.note_verified("0" * 16, "3 of 3 files agree")
    assert time.monotonic() - began < 30
    server.shutdown()
    server.server_close()


def test_a_stage_hears_of_a_failure_at_its_next_word_and_not_at_its_end(project):
    with tracking.stage("train") as tracked:
        tracked.begin(DATA)
    store = client(project)
    store.delete_experiment(store.get_experiment_by_name("digits").experiment_id)
    spoken = 0
    with pytest.raises(UserError, match=r"is a deleted experiment"), tracking.stage("train") as tracked:
        tracked.begin(DATA)
        for _ in range(600):
            time.sleep(0.1)
            tracked.log_headline({"a": 1.0})
            spoken += 1
    assert spoken < 600


def test_a_name_and_password_are_not_taken_for_the_host(monkeypatch):
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{server.server_port}")
    tracking.check()
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=r"http://me:\*\*\*@127.0.0.1:\d+ does not answer"):
        tracking.check()


def test_a_deleted_experiment_is_said(project):
    with tracking.stage("train") as tracked:
        tracked.begin(DATA)
    store = client(project)
    store.delete_experiment(store.get_experiment_by_name("digits").experiment_id)
    with (
        pytest.raises(UserError, match=r"study.name = 'digits' is a deleted experiment"),
        tracking.stage("train") as tracked,
    ):
        tracked.begin(DATA)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(address: str) -> None:
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{address}/health", timeout=1)
            return
        except OSError:
            time.sleep(0.25)
    pytest.fail("the server did not start")


def test_make_ui_serves_the_runs_and_takes_new_ones(project, monkeypatch):
    """The server of `make ui`: on loopback, with the artifacts of the store; a stage may also log through it."""
    (project / "out").mkdir()
    (project / "out" / "picture.txt").write_text("red and blue")
    with tracking.stage("explain") as tracked:
        tracked.begin(DATA)
        tracked.log_files("out")
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "glassbox.tracking"], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, env=environment(PYTHONPATH=str(ROOT / "src"), PORT=str(port)),
    )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        said = server.stdout.readline()
        assert (
            said == f"MLflow: {address}/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=glassbox\n"
        )
        threading.Thread(
            target=server.stdout.read, daemon=True
        ).start()  # else its log would fill the pipe, and it wait
        wait_for(address)
        (stage,) = runs(project, kind="stage")
        query = f"run_uuid={stage.info.run_id}"
        with urllib.request.urlopen(f"{address}/get-artifact?path=picture.txt&{query}") as answer:
            assert answer.read() == b"red and blue"
        with urllib.request.urlopen(f"{address}/ajax-api/2.0/mlflow/artifacts/list?{query}") as answer:
            assert [file["path"] for file in json.load(answer)["files"]] == ["picture.txt"]

        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with tracking.stage("report") as tracked:
            tracked.begin(DATA)
            tracked.log_files("out")
        assert [run.info.run_name for run in runs(project, kind="stage")] == ["explain", "report"]
        assert len(list((project / tracking.STORE / "artifacts").rglob("picture.txt"))) == 2

        save_model(project / "models")
        images = np.zeros((2, 8, 8, 3), np.uint8)
        log_model(project, images)
        log_model(project, images)
        assert len(client(project).search_model_versions("name = 'glassbox-digits'")) == 1, "it is whole"
        (bundle(project) / "model.json").unlink()
        log_model(project, images)
        assert len(client(project).search_model_versions("name = 'glassbox-digits'")) == 2, "it was logged again"
        with socket.socket() as another, pytest.raises(OSError, match="refused"):
            another.connect(("127.0.0.2", port))  # bound to one address, not to all of the machine
    finally:
        server.terminate()
        server.wait(timeout=30)


def test_ui_says_what_stands_in_its_way(project, monkeypatch):
    for port in ("abc", "70000", "0", ""):
        monkeypatch.setenv("PORT", port)
        with pytest.raises(UserError, match=rf"PORT={port}: it must be a number from 1 to 65535"):
            tracking.ui()
    monkeypatch.delenv("PORT")
    with pytest.raises(UserError, match=r"there are no runs of the study 'digits' yet: 'make study' makes them"):
        tracking.ui()
    with tracking.stage("train") as tracked:
        tracked.begin(DATA)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("PORT", str(port))
        with pytest.raises(
            UserError, match=rf"port {port} is in use: choose another one, as in 'make ui PORT={port + 1}'"
        ):
            tracking.ui()


def test_an_artifact_uri_cannot_lead_out_of_the_store(project):
    store = f"sqlite:///{project / tracking.STORE / tracking.DATABASE}"
    inside = tracking.artifact_repository("mlruns:/digits/run/artifacts", store)
    assert inside.artifact_dir == str(project / tracking.STORE / "artifacts" / "digits" / "run" / "artifacts")
    with pytest.raises(UserError, match="leads out of"):
        tracking.artifact_repository("mlruns:/../../etc", store)
    with pytest.raises(UserError, match="lies beside a SQLite database"):
        tracking.artifact_repository("mlruns:/digits", "postgresql://me:secret@db/x")
