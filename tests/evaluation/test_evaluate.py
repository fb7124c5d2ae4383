import json

import numpy as np
import pytest
import scipy
import torch

from glassbox.config.augment import Augment
from glassbox.config.parameters import Params
from glassbox.data.store import Split
from glassbox.evaluation.evaluate import Evaluation, augmented_accuracy, evaluate, mirrored_accuracy
from glassbox.models import predict


def evaluated(
    logits: np.ndarray, labels: np.ndarray, params: Params, classes: tuple[str, ...] = ("a", "b", "c")
) -> Evaluation:
    """The same images for validation and test."""
    source_index = np.arange(100, 100 + len(labels))
    return evaluate(logits, labels, logits, labels, source_index, classes, params.evaluate, 0)


def test_metrics_matrix_and_predictions_agree(params):
    labels = np.arange(60) % 3
    e = evaluated(np.random.default_rng(0).normal(size=(60, 3)) + 2 * np.eye(3)[labels], labels, params)
    m, rows = e.metrics, e.predictions
    assert m["accuracy"] == pytest.approx(np.trace(e.matrix) / 60)
    assert m["accuracy"] == (e.probabilities.argmax(axis=1) == labels).mean()
    assert m["accuracy_low"] < m["accuracy"] < m["accuracy_high"]
    assert m["macro_f1_low"] < m["macro_f1"] < m["macro_f1_high"]
    assert m["macro_f1_without_interval"] is None
    assert (m["images"], m["mistakes"]) == (60, 60 - np.trace(e.matrix))
    assert m["temperature"] == e.scaling.temperature
    assert m["macro_recall"] == pytest.approx(m["accuracy"])  # all classes are equally frequent
    assert json.loads(json.dumps(m)) == m
    assert rows["source_index"].tolist() == list(range(100, 160))
    assert (rows["true_class"] == np.array(["a", "b", "c"])[labels]).all()
    assert rows["confidence"].to_numpy() == pytest.approx(e.probabilities.max(axis=1))
    assert (rows["predicted_class"] != rows["true_class"]).sum() == m["mistakes"]
    assert e.pairs[0].total == max(pair.total for pair in e.pairs)


def test_too_few_test_images_of_a_class_leave_no_interval_of_macro_f1(params):
    labels = np.repeat([0, 1], [30, 9])
    m = evaluated(4 * np.eye(2)[labels], labels, params, ("cat", "dog")).metrics
    assert (m["macro_f1"], m["macro_f1_low"], m["macro_f1_high"]) == (1, None, None)
    assert m["macro_f1_without_interval"] == "dog has only 9 test images, and it takes 10 of each class"
    assert json.loads(json.dumps(m, allow_nan=False)) == m


@pytest.mark.parametrize(
    ("factor", "tables"),
    [
        (2.0, ["as trained"]),  # as sure as its accuracy
        (5.0, ["as trained", "after temperature scaling"]),  # too sure
    ],
)
def test_probabilities_are_those_after_scaling_only_if_it_is_used(params, factor, tables):
    labels = np.arange(300) % 3
    logits = factor * (np.random.default_rng(0).normal(size=(300, 3)) + 2 * np.eye(3)[labels])
    e = evaluated(logits, labels, params)
    assert e.scaling.scaling_used == (len(tables) == 2)
    assert [name.partition(" (T")[0] for name in e.reliability_tables()] == tables
    expected = scipy.special.softmax(logits / e.scaling.temperature, axis=1)
    assert e.probabilities == pytest.approx(expected)
    assert e.predictions[["p(a)", "p(b)", "p(c)"]].to_numpy() == pytest.approx(expected)
    assert e.metrics["log_loss"] == pytest.approx(-np.log(expected[np.arange(300), labels]).mean())
    for name in ("log_loss", "brier", "ece"):
        value, as_trained = e.metrics[name], e.metrics[f"{name}_as_trained"]
        assert value < as_trained if e.scaling.scaling_used else value == as_trained


def test_half_of_lopsided_images_are_mistaken_when_mirrored(linear):
    # Class 1 where the left is brighter than the right: true of every image here, until it is mirrored.
    left_or_right = linear(np.tile([1.0, 1.0, -1.0, -1.0], (4, 1)))
    images = torch.zeros(400, 4, 4, 3, dtype=torch.uint8)
    images[:, :, :2] = 200
    test = Split(images, torch.ones(400, dtype=torch.int64), None, torch.arange(400), None)
    strengths = dict.fromkeys(("crop", "brightness", "contrast", "saturation", "cutout"), 0)
    same = Augment(flip=False, padding="black", resize_first=False, validation_and_test=True, **strengths)
    done = []
    assert augmented_accuracy(left_or_right, test, same, 0, 64, done.append) == 1
    assert sum(done) == 400
    mirrored = same.model_copy(update={"flip": True})
    shares = [augmented_accuracy(left_or_right, test, mirrored, seed, 64) for seed in (0, 0, 1, 2)]
    assert 0.4 < shares[0] < 0.6
    assert shares[0] == shares[1]
    assert len(set(shares)) > 1
    assert left_or_right.training


def test_the_mean_of_an_image_and_its_mirror_image_by_hand(linear):
    # Class 1 where the left is brighter than the right; what the mirror image says is as sure, and the opposite.
    left_or_right = linear(np.tile([1.0, 1.0, -1.0, -1.0], (4, 1)))
    images = torch.zeros(4, 4, 4, 3, dtype=torch.uint8)
    images[:, :, :2] = 5
    test = Split(images, torch.ones(4, dtype=torch.int64), None, torch.arange(4), None)
    logits = predict(left_or_right, images, 64).numpy()
    done = []
    assert mirrored_accuracy(left_or_right, test, logits + np.array([0.0, 0.1]), 64, done.append) == 1
    assert mirrored_accuracy(left_or_right, test, logits - np.array([0.0, 0.1]), 64) == 0
    assert sum(done) == 4


def test_a_network_may_have_more_outputs_than_the_data_have_classes(params):
    labels, rng = np.arange(40) % 2, np.random.default_rng(0)
    logits = rng.normal(size=(40, 50)) + 9 * np.eye(50)[labels]
    logits[3] += 99 * np.eye(50)[30]
    classes = tuple(f"class {number}" for number in range(50))
    e = evaluate(logits, labels, logits, labels, labels, classes, params.evaluate, 0, n_classes=2)
    assert e.classes == ("class 0", "class 1", "class 30")
    assert e.matrix.tolist() == [[20, 0, 0], [0, 19, 1], [0, 0, 0]]
    assert (e.metrics["accuracy"], e.metrics["images"]) == (39 / 40, 40)
    assert e.metrics["macro_recall"] == pytest.approx((1 + 19 / 20) / 2)  # of the classes of the data
    assert e.metrics["macro_f1_without_interval"] == "class 30 has only 0 test images, and it takes 10 of each class"
    assert e.predictions["predicted_class"][3] == "class 30"
    assert e.probabilities.shape == (40, 50)
    assert list(e.tables(5)["confusion_matrix"]) == ["true_class", *e.classes]
    scores = e.tables(5)["scores"].set_index("score")
    assert scores.loc["accuracy"].tolist() == [e.metrics[f"accuracy{end}"] for end in ("", "_low", "_high")]
    assert scores.loc["calibration error", "value"] == e.metrics["ece"]
    assert scores.loc["calibration error", ["low", "high"]].isna().all()
    assert "class_order" not in e.metrics
