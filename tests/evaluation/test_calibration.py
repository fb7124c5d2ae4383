import math

import numpy as np
import pytest

from glassbox.evaluation import calibration as c


def test_log_loss_and_brier_by_hand():
    p = np.array([[0.8, 0.2], [0.5, 0.5]])
    labels = np.array([0, 1])
    assert c.log_loss(np.log(p), labels) == pytest.approx(-(math.log(0.8) + math.log(0.5)) / 2)
    assert c.brier(p, labels) == pytest.approx(((0.04 + 0.04) + (0.25 + 0.25)) / 2)


def test_log_probabilities_survive_large_logits():
    assert c.log_probabilities(np.array([[1000.0, 0.0]])).tolist() == [[0.0, -1000.0]]
    assert c.log_probabilities(np.array([[2.0, 0.0]]), 2.0)[0, 0] == pytest.approx(-math.log(1 + math.exp(-1)))


def test_reliability_and_ece_by_hand():
    # Confidences 0.55, 0.6 (a bin is closed above), 0.9 and 1.0 in five bins; right: yes, no, yes, yes.
    p = np.array([[0.55, 0.45], [0.6, 0.4], [0.9, 0.1], [1.0, 0.0]])
    table = c.reliability(p, np.array([0, 1, 0, 0]), bins=5)
    assert table["count"].tolist() == [0, 0, 2, 0, 2]
    assert table["confidence"].tolist()[2::2] == pytest.approx([0.575, 0.95])
    assert table["accuracy"].tolist()[2::2] == [0.5, 1.0]
    assert c.expected_calibration_error(table) == pytest.approx((2 * 0.075 + 2 * 0.05) / 4)
    assert math.isnan(table["accuracy"][0])


def test_temperature_finds_the_one_that_was_put_in():
    rng = np.random.default_rng(0)
    true_logits = rng.normal(size=(20_000, 5)) * 2
    p = np.exp(c.log_probabilities(true_logits))
    labels = (p.cumsum(axis=1) > rng.random((len(p), 1))).argmax(axis=1)
    assert c.fit_temperature(3 * true_logits, labels) == pytest.approx(3.0, rel=0.03)
    assert c.fit_temperature(true_logits, labels) == pytest.approx(1.0, rel=0.03)


def test_temperature_does_not_change_the_prediction_but_the_error():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 500)
    logits = rng.normal(size=(500, 3)) * 4  # confident, and at chance
    before, after = (
        c.expected_calibration_error(c.reliability(np.exp(c.log_probabilities(logits, t)), labels, 15))
        for t in (1.0, c.fit_temperature(logits, labels))
    )
    assert after < before / 5
