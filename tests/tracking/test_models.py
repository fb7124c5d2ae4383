"""Models in MLflow: whole, registered, loadable."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import environment
from tracked_stages import bundle, client, free_port, log_model, runs, save_model, store_uri

from glassbox import models as classifiers
from glassbox import serving
from glassbox.tracking import address, models, ownership


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
    ]
    assert store.get_logged_model(model).source_run_id == first.info.run_id

    moved = tmp_path / "moved elsewhere"
    project.rename(moved)
    mlflow.set_tracking_uri(store_uri(moved))
    loaded = mlflow.pyfunc.load_model("models:/glassbox-digits/latest")
    logits = classifiers.predict(classifier, torch.from_numpy(images), 8).double()
    p = (logits / 2).softmax(dim=1).numpy()
    assert loaded.predict(images)[["p(cat)", "p(dog)"]].to_numpy() == pytest.approx(p, abs=1e-6)
    larger = images.repeat(2, axis=1).repeat(2, axis=2)
    assert loaded.predict(larger)["prediction"].tolist() == loaded.predict(images)["prediction"].tolist()
    assert loaded.metadata.signature.inputs.inputs[0].shape == (-1, -1, -1, 3)
    assert loaded.input_example is not None
    logged = [path for path in (moved / address.STORE / "artifacts").rglob("*") if path.is_file()]
    assert not [path for path in logged if path.suffix in (".pkl", ".pth", ".pt", ".pyc")]


def stopped_while_copying(folder: Path, model) -> None:
    """As kill -9 of stage and recorder leaves a model."""
    for path in [path for path in folder.rglob("*") if path.is_file()][4:]:
        path.unlink()
    with sqlite3.connect(address.embedded_database()) as store:
        store.execute("update logged_models set status = 1 where model_id = ?", [model.model_id])
    ownership.lock_path(model.tags[ownership.OWNER]).touch()


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
    assert (damaged.source, damaged.description) == (f"models:/{before.model_id}", models.NOT_WHOLE)
    assert store.get_logged_model(before.model_id).status == "FAILED"
    mlflow.set_tracking_uri(store_uri(project))
    loaded = mlflow.pyfunc.load_model("models:/glassbox-digits/latest")  # which leaves files of its own there
    assert len(loaded.predict(images)) == 2
    assert latest.source == f"models:/{loaded.metadata.model_id}"
    log_model(project, images)
    assert len(store.search_model_versions("name = 'glassbox-digits'")) == 2, "a whole one is not logged again"


def test_mlflow_serves_the_model(project):
    save_model(project / "models")
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    log_model(project, images)
    port, store = free_port(), store_uri(project)
    which = ("-m", "models:/glassbox-digits/latest", "--env-manager", "local", "--port", str(port))
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "models", "serve", "--host", "127.0.0.1", *which],
        cwd=project,
        env=environment(MLFLOW_TRACKING_URI=store),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
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
            f"http://127.0.0.1:{port}/invocations",
            json.dumps({"inputs": images.tolist()}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            rows = json.load(answer)["predictions"]
        expected = serving.Predictor(bundle(project)).predict(images)
        assert [row["prediction"] for row in rows] == expected["prediction"].tolist()
        assert [row["p(cat)"] for row in rows] == pytest.approx(expected["p(cat)"].tolist(), abs=1e-6)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
