"""A study speaks of one probability: that of a class for an image is the same number wherever it stands."""

import numpy as np
import pytest
import scipy
import torch
from PIL import Image
from tracked_stages import SMALL

from glassbox import models, serving
from glassbox.core import files
from glassbox.data import store
from glassbox.data.base import Images
from glassbox.evaluation import evaluate, predictions
from glassbox.explainers.base import Setup
from glassbox.explaining import explanations, map_tables, own_image, selection
from glassbox.models.preprocessing import Preprocessing

CLASSES = ("cat", "dog", "ship")
ROW, N = 0, 400  # the image, and how many validation images there are


@pytest.fixture
def place(tmp_path, params):
    """A study whose classifier is surer than it is right by a factor of three, evaluated: its folder, parameters of
    little work, test images and their classes."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (N + 30, 16, 16, 3), dtype=np.uint8)
    splits = np.array(["train"] * 20 + ["test"] * 10 + ["validation"] * N)
    data = store.write(tmp_path / "data", Images(pixels, np.arange(N + 30) % 3, CLASSES, splits), np.arange(N + 30), "")
    torch.manual_seed(0)
    classifier = models.build(SMALL.name, SMALL.arguments, Preprocessing(data.mean, data.std), 16, 3).eval()
    with torch.no_grad():
        for tensor in list(classifier.network.parameters())[-2:]:
            tensor.mul_(8)
    models.save(tmp_path / "models", classifier, models.describe(SMALL, classifier, data, []))
    validation, test = store.read(tmp_path / "data", "validation"), store.read(tmp_path / "data", "test")
    logits = [models.predict(classifier, split.images, 64).numpy() for split in (validation, test)]
    right = scipy.special.softmax(logits[0] / 3, axis=1)
    labels = (right.cumsum(axis=1)[:, :-1] < rng.random((N, 1))).sum(axis=1)
    found = (logits[0], labels, logits[1], test.labels.numpy(), test.index.numpy())
    made = evaluate.evaluate(*found, CLASSES, params.evaluate, 0)
    assert made.scaling.scaling_used
    assert made.scaling.temperature == pytest.approx(3, rel=0.3)
    files.write_json(tmp_path / "reports/evaluate/calibration.json", made.scaling.as_dict())
    files.write_csv(tmp_path / "predictions.csv", made.predictions)
    e = params.explain
    less = {"kernel_shap": {"coalitions": 40, "background": 2, "classes": 3}, "lime": {"samples": 40},
            "superpixels": {"segments": 16}, "partition_shap": {"evaluations": 40}, "rise": {"masks": 40},
            "gradient_shap": {"samples": 4, "background": 4}, "integrated_gradients": {"steps": 4}}  # fmt: skip
    little = {name: getattr(e, name).model_copy(update=update) for name, update in less.items()}
    settings = e.model_copy(update=little | {"explainers": ("kernel_shap",)})
    return tmp_path, params.model_copy(update={"explain": settings}), test, pixels


def test_the_probability_of_an_image_is_one_number_everywhere(place, monkeypatch):
    folder, params, test, pixels = place
    calibration, settings, seed = folder / "reports/evaluate/calibration.json", params.explain, params.study.seed
    p = predictions.read(folder / "predictions.csv", len(test), CLASSES)

    classifier, _ = models.load(folder / "models", temperature=predictions.temperature(calibration))
    picks = [selection.Pick(ROW, "chosen", "", (0,))]
    cases = selection.Cases(test.images, test.labels.numpy(), p, CLASSES, picks)
    setup = Setup(classifier, settings, torch.from_numpy(pixels[:20]), (0.5,) * 3, batch_size=64)
    results = list(explanations.explain(setup, explanations.plan(cases, settings, seed)))
    panels = map_tables.panels_table(cases, map_tables.panels_of(results)).set_index("explained_class").loc[[*CLASSES]]
    assert panels["probability"].to_numpy() == pytest.approx(p[ROW], abs=1e-9)
    sums = panels["base_value"] + panels["evidence_for"] + panels["evidence_against"]
    assert sums.to_numpy() == pytest.approx(p[ROW], abs=1e-4)
    assert panels["additivity_error"].max() < 1e-4

    monkeypatch.setattr(own_image, "EXPLAINERS", ("kernel_shap",))
    Image.fromarray(test.images[ROW].numpy()).save(folder / "photo.png")
    own = own_image.explain(folder / "photo.png", params, folder / "data", folder / "models", folder / "reports")
    assert own.probabilities == pytest.approx(p[ROW], abs=1e-6)

    settings_of_serving = {"temperature": predictions.temperature(calibration), "shape": {"size": 8}}
    files.write_json(folder / "models" / serving.SETTINGS, settings_of_serving)
    served = serving.Predictor(folder / "models").predict(test.images.numpy())
    assert served[[f"p({name})" for name in CLASSES]].to_numpy() == pytest.approx(p, abs=1e-6)

    as_trained = models.probabilities(models.load(folder / "models")[0], test.images[:1], 1).numpy()[0]
    assert np.abs(as_trained - p[ROW]).max() > 0.05  # so that the wrong one would have been seen
