import json

import numpy as np
import pytest

from glassbox.evaluation import evaluate


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
    assert (m["images"], m["mistakes"]) == (60, 60 - np.trace(e.matrix))
    assert m["calibrated_log_loss"] <= m["log_loss"]
    assert m["macro_recall"] == pytest.approx(m["accuracy"])  # all classes are equally frequent
    assert json.loads(json.dumps(m)) == m
    rows = e.predictions
    assert rows["source_index"].tolist() == list(range(100, 160))
    assert (rows["true_class"] == np.array(["a", "b", "c"])[labels]).all()
    assert rows[["p(a)", "p(b)", "p(c)"]].to_numpy() == pytest.approx(e.probabilities)
    assert rows["confidence"].to_numpy() == pytest.approx(e.probabilities.max(axis=1))
    assert (rows["predicted_class"] != rows["true_class"]).sum() == m["mistakes"]
    assert e.pairs[0].total == max(pair.total for pair in e.pairs)
