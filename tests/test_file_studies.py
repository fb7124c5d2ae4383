"""Studies of networks that a file holds: nothing is trained, and the whole pipeline takes them as they are."""

import html
import json

import numpy as np
import pytest
import torch
from conftest import NAMES, ROOT, SHRINK, TinyNetwork, export, table
from onnx_files import onnx_file

from glassbox import models
from glassbox.config import parameters
from glassbox.core import files
from glassbox.data import store
from glassbox.explainers.catalog import UNTRAINED
from glassbox.scoring.preparation import ANSWERS_ONLY, IN_FILE
from glassbox.serving import Predictor
from glassbox.tracking.models import SERVING

UNTRAINED_STUDY = [
    *(change for change in SHRINK if not change.startswith(("train.", "tune."))),
    "tune.space=null", "tune.n_trials=0", "train.epochs=0", "train.optimizer=adam", "train.learning_rate=0.001",
    "train.momentum=null", "train.rho=null", "model.arguments=null", "model.normalization=half", "explain.pairs=0",
    "explain.rise.masks=60", "explain.occlusion.stride=8",
]  # fmt: skip


@pytest.fixture
def project(tmp_path):
    (tmp_path / "data/weights").mkdir(parents=True)
    for name in ("dvc.yaml", "requirements.lock"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def test_an_exported_program_goes_through_the_whole_pipeline(project, run_stages):
    network = TinyNetwork(n_classes=10)
    file = export(network, project / "data/weights/own.pt2", side=32)
    changes = ["model.name=exported", "model.weights=data/weights/own.pt2", "explain.explainers=[grad_cam,rise]"]
    (project / "params.yaml").write_text(parameters.edit(ROOT / "studies/digits.yaml", UNTRAINED_STUDY + changes))
    said = run_stages(project, *NAMES)
    assert "taken as it is, nothing trained: " in said
    assert "does not name its classes" in said

    (project / file).unlink()  # the saved model needs it no more
    classifier, card = models.load(project / "models")
    images = store.read(project / "data/prepared", "test").images[:8]
    owned = models.Classifier(network, (0.5,) * 3, (0.5,) * 3)
    torch.testing.assert_close(
        models.predict(classifier, images, 8), models.predict(owned, images, 8), atol=1e-5, rtol=0
    )
    assert card.weights_digest == files.digest((project / "models/network.pt2").read_bytes())

    verdicts = json.loads((project / "reports/score/ranking.json").read_text())["verdicts"]
    assert IN_FILE in verdicts
    assert IN_FILE in (project / "reports/index.html").read_text()
    scores = table(project, "score/scorecard.csv")
    assert set(scores["kind"]) == {"explainer", "control", UNTRAINED}
    assert np.isfinite(scores[scores["metric"].isin(["emprt", "attack_sensitivity"])]["mean"]).any()

    files.write_json(project / "models" / SERVING, {"temperature": 1.0, "shape": {"size": images.shape[1]}})
    served = Predictor(project / "models").predict(images.numpy())
    assert served.shape == (8, 11)


def test_an_onnx_model_of_keras_layout_goes_through_the_whole_pipeline(project, run_stages, capfd):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    file = onnx_file(project / "data/weights/own.onnx", layout="nhwc", n_classes=10, side=32, probabilities=True)
    changes = ["model.name=onnx", "model.weights=data/weights/own.onnx"]

    def choose(*explainers: str) -> None:
        chosen = [*UNTRAINED_STUDY, *changes, f"explain.explainers=[{','.join(explainers)}]"]
        (project / "params.yaml").write_text(parameters.edit(ROOT / "studies/digits.yaml", chosen))

    choose("grad_cam", "rise")
    run_stages(project, "prepare")
    with pytest.raises(SystemExit, match="2"):
        run_stages(project, "tune")
    assert "grad_cam explains by gradients, and an ONNX model only answers" in capfd.readouterr().err

    choose("occlusion", "rise")
    said = run_stages(project, *NAMES[1:])
    assert "taken as it is, nothing trained: " in said
    assert "The ONNX model gives probabilities" in said

    (project / file).unlink()  # the saved model needs it no more
    classifier, _ = models.load(project / "models")
    images = store.read(project / "data/prepared", "test").images[:8]
    owned = models.Classifier(TinyNetwork(n_classes=10), (0.5,) * 3, (0.5,) * 3)
    answers = [models.probabilities(one, images, 8) for one in (classifier, owned)]
    torch.testing.assert_close(*answers, atol=1e-5, rtol=0)

    ranking = json.loads((project / "reports/score/ranking.json").read_text())
    assert ANSWERS_ONLY in ranking["verdicts"]
    assert ranking["emprt"] == {}
    scores = table(project, "score/scorecard.csv")
    assert set(scores["kind"]) == {"explainer", "control", "matched"}
    assert not set(scores["metric"]) & {"emprt", "attack_sensitivity"}
    assert not (project / "reports/score/randomization.png").exists()
    page = html.unescape((project / "reports/index.html").read_text())
    assert ANSWERS_ONLY in page
    assert "itself untrained" not in page
    assert "own map of an untrained network" not in page

    files.write_json(project / "models" / SERVING, {"temperature": 1.0, "shape": {"size": images.shape[1]}})
    assert Predictor(project / "models").predict(images.numpy()).shape == (8, 11)
