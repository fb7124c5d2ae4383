import json

import numpy as np
import pytest
import scipy

from glassbox.evaluation.evaluate import evaluate


def test_everything_agrees_with_itself(params):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    logits = rng.normal(size=(60, 3)) + 2 * np.eye(3)[labels]
    e = evaluate(logits, labels, logits, labels, np.arange(100, 160), ("a", "b", "c"), params.evaluate, 0)
    m = e.metrics
    assert (
        m["accuracy"]
        == pytest.approx(np.trace(e.matrix) / 60)
        == pytest.approx((e.probabilities.argmax(axis=1) == labels).mean())
    )
    assert m["accuracy_low"] < m["accuracy"] < m["accuracy_high"]
    assert m["macro_f1_low"] < m["macro_f1"] < m["macro_f1_high"]
    assert m["macro_f1_without_interval"] is None
    assert (m["images"], m["mistakes"]) == (60, 60 - np.trace(e.matrix))
    assert m["temperature"] == e.scaling.temperature
    assert m["macro_recall"] == pytest.approx(m["accuracy"])  # all classes are equally frequent
    assert json.loads(json.dumps(m)) == m
    rows = e.predictions
    assert rows["source_index"].tolist() == list(range(100, 160))
    assert (rows["true_class"] == np.array(["a", "b", "c"])[labels]).all()
    assert rows[["p(a)", "p(b)", "p(c)"]].to_numpy() == pytest.approx(e.probabilities)
    assert rows["confidence"].to_numpy() == pytest.approx(e.probabilities.max(axis=1))
    assert (rows["predicted_class"] != rows["true_class"]).sum() == m["mistakes"]
    assert e.pairs[0].total == max(pair.total for pair in e.pairs)


def test_too_few_test_images_of_a_class_leave_no_interval_of_macro_f1(params):
    labels = np.repeat([0, 1], [30, 9])
    logits = 4 * np.eye(2)[labels]
    m = evaluate(logits, labels, logits, labels, np.arange(39), ("cat", "dog"), params.evaluate, 0).metrics
    assert (m["macro_f1"], m["macro_f1_low"], m["macro_f1_high"]) == (1, None, None)
    assert m["macro_f1_without_interval"] == "dog has only 9 test images, and it takes 10 of each class"
    assert json.loads(json.dumps(m, allow_nan=False)) == m


def test_its_probabilities_are_those_after_scaling_only_where_it_is_used(params):
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    logits = rng.normal(size=(300, 3)) + 2 * np.eye(3)[labels]

    def evaluated(factor):
        given = (factor * logits, labels, factor * logits, labels, np.arange(300), ("a", "b", "c"))
        return evaluate(*given, params.evaluate, 0)

    one, five = evaluated(2.0), evaluated(5.0)  # as sure as their accuracy tells, and too sure
    assert (one.scaling.scaling_used, five.scaling.scaling_used) == (False, True)
    assert list(one.reliability_tables()) == ["as trained"]
    assert [name.partition(" (T")[0] for name in five.reliability_tables()] == [
        "as trained", "after temperature scaling"
    ]  # fmt: skip
    for e, factor in ((one, 2.0), (five, 5.0)):
        shown = scipy.special.softmax(factor * logits / e.scaling.temperature, axis=1)
        assert e.probabilities == pytest.approx(shown)
        assert e.predictions[["p(a)", "p(b)", "p(c)"]].to_numpy() == pytest.approx(shown)
        assert e.metrics["log_loss"] == pytest.approx(-np.log(shown[np.arange(300), labels]).mean())
    for name in ("log_loss", "brier", "ece"):
        assert one.metrics[name] == one.metrics[f"{name}_as_trained"]
        assert five.metrics[name] < five.metrics[f"{name}_as_trained"]
