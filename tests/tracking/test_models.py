"""Models in MLflow: whole, registered, loadable."""

import json
import shutil
import sqlite3
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import torch
from conftest import environment
from conftest import model as model_section
from onnx_files import onnx_file
from services import end, free_port, wait_for_page
from tracked_stages import IMAGES, bundle, change, client, log_model, runs, save_model, store_uri

from glassbox import models as classifiers
from glassbox import serving
from glassbox.data.store import Description
from glassbox.tracking import address, models, ownership


def versions(project: Path) -> list:
    return client(project).search_model_versions("name = 'glassbox-digits'", order_by=["version_number ASC"])


def test_the_model_is_registered_loadable_and_in_every_row_that_uses_it_even_after_a_move(project, tmp_path):
    import mlflow

    classifier = save_model(project / "models")
    log_model()
    change(project, "gallery: 16 ", "gallery: 17 ")
    log_model("# Other card")  # of another state, whose training was restored from DVC's cache
    log_model("# Third card")  # the same once more
    first, second = runs(project, kind="study")
    (model,) = {output.model_id for study in (first, second) for output in study.outputs.model_outputs}
    assert [(v.version, v.source, v.run_id, v.description) for v in versions(project)] == [
        (1, f"models:/{model}", first.info.run_id, "# Card"),
        (2, f"models:/{model}", second.info.run_id, "# Third card"),
    ]
    assert client(project).get_logged_model(model).source_run_id == first.info.run_id

    moved = project.rename(tmp_path / "moved elsewhere")
    mlflow.set_tracking_uri(store_uri(moved))
    loaded = mlflow.pyfunc.load_model("models:/glassbox-digits/latest")
    logits = classifiers.predict(classifier, torch.from_numpy(IMAGES), 8).double()
    p = (logits / 2).softmax(dim=1).numpy()
    assert loaded.predict(IMAGES)[["p(cat)", "p(dog)"]].to_numpy() == pytest.approx(p, abs=1e-6)
    larger = IMAGES.repeat(2, axis=1).repeat(2, axis=2)
    assert loaded.predict(larger)["prediction"].tolist() == loaded.predict(IMAGES)["prediction"].tolist()
    assert loaded.metadata.signature.inputs.inputs[0].shape == (-1, -1, -1, 3)
    assert loaded.input_example is not None
    logged = [path for path in (moved / address.STORE / "artifacts").rglob("*") if path.is_file()]
    assert not [path for path in logged if path.suffix in (".pkl", ".pth", ".pt", ".pyc")]


def test_the_version_that_validated_best_is_called_best(project):
    save_model(project / "models")
    log_model()
    for gallery, validated, best in ((17, 0.75, 2), (18, 0.625, 2), (19, 0.75, 2), (20, 0.875, 5)):
        change(project, f"gallery: {gallery - 1} ", f"gallery: {gallery} ")
        log_model(validated=validated)
        found = client(project).get_model_version_by_alias("glassbox-digits", "best")
        assert (found.version, found.tags["validation_accuracy"]) == (best, f"{max(validated, 0.75):.6f}")


def test_an_onnx_model_is_logged_with_its_file_and_what_runs_it(project):
    import mlflow

    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    file = onnx_file(project / "own.onnx", n_classes=2)
    data = Description("toy", ("cat", "dog"), 8, {}, (0.5,) * 3, (0.3,) * 3, False, "0" * 64)
    asked = model_section("onnx", weights=file, normalization="half")
    classifier = classifiers.fresh(asked, data, 0, torch.device("cpu"))
    classifiers.save(project / "models", classifier, classifiers.describe(asked, classifier, data, []))
    log_model()
    logged = bundle(project).parents[1]
    assert "onnxruntime==" in next(logged.rglob("requirements.txt")).read_text()
    (project / "own.onnx").unlink()
    mlflow.set_tracking_uri(store_uri(project))
    loaded = mlflow.pyfunc.load_model("models:/glassbox-digits/latest")
    p = (classifiers.predict(classifier, torch.from_numpy(IMAGES), 8).double() / 2).softmax(dim=1).numpy()
    assert loaded.predict(IMAGES)[["p(cat)", "p(dog)"]].to_numpy() == pytest.approx(p, abs=1e-6)


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
    (weights,) = (path for path in folder.rglob("model.safetensors") if "code" not in path.parts)
    content = weights.read_bytes()
    weights.write_bytes(bytes([content[0] ^ 1]) + content[1:])


def without_a_file(folder: Path, _) -> None:
    (folder / "code/glassbox/serving.py").unlink()


@pytest.mark.parametrize("harm", [stopped_while_copying, without_its_files, one_byte_changed, without_a_file])
def test_a_model_that_is_not_whole_is_logged_again_and_is_the_latest(project, tmp_path, harm):
    """Whoever loads the latest version gets all of the model, even if files of the one before are damaged."""
    import mlflow

    save_model(project / "models")
    log_model()
    store = client(project)
    (before,) = store.search_logged_models(["1"])
    harm(bundle(project).parents[1], before)
    log_model()
    damaged, latest = versions(project)
    assert (damaged.source, damaged.description) == (f"models:/{before.model_id}", models.NOT_WHOLE)
    assert store.get_logged_model(before.model_id).status == "FAILED"
    assert latest.source != damaged.source
    mlflow.set_tracking_uri(store_uri(project))
    assert models.fetch(store, latest.source.removeprefix("models:/"), tmp_path), "it is whole"


def test_mlflow_serves_the_model(project, tmp_path):
    save_model(project / "models")
    log_model()
    address, log = f"http://127.0.0.1:{(port := free_port())}", tmp_path / "log"
    which = ("-m", "models:/glassbox-digits/latest", "--env-manager", "local", "--port", str(port))
    with log.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "models", "serve", "--host", "127.0.0.1", *which],
            cwd=project,
            env=environment(MLFLOW_TRACKING_URI=store_uri(project)),
            stdout=file,
            stderr=file,
        )
    try:
        wait_for_page(f"{address}/ping", log)
        body, headers = json.dumps({"inputs": IMAGES.tolist()}).encode(), {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{address}/invocations", body, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            rows = json.load(answer)["predictions"]
        expected = serving.Predictor(bundle(project)).predict(IMAGES)
        assert [row["prediction"] for row in rows] == expected["prediction"].tolist()
        assert [row["p(cat)"] for row in rows] == pytest.approx(expected["p(cat)"].tolist(), abs=1e-6)
    finally:
        end(server)
