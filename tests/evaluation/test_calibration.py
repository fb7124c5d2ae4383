import math

import numpy as np
import pytest

from glassbox.evaluation import calibration as c


def drawn(logits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels for which the softmax of these logits is right."""
    p = np.exp(c.log_probabilities(logits))
    return (p.cumsum(axis=1)[:, :-1] < rng.random((len(p), 1))).sum(axis=1)


def test_log_probabilities_log_loss_and_brier_by_hand():
    p = np.array([[0.8, 0.2], [0.5, 0.5]])
    labels = np.array([0, 1])
    assert c.log_loss(np.log(p), labels) == pytest.approx(-(math.log(0.8) + math.log(0.5)) / 2)
    assert c.brier(p, labels) == pytest.approx(((0.04 + 0.04) + (0.25 + 0.25)) / 2)
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


def test_the_temperature_by_hand():
    # Two classes, 3 of 4 right with a logit of 2: the best confidence is 3/4 = 1 / (1 + exp(-2 / T)), so T = 2 / ln 3.
    logits, labels = np.tile([2.0, 0.0], (4, 1)), np.array([0, 0, 0, 1])
    assert c.fit_temperature(logits, labels) == pytest.approx(2 / math.log(3))
    assert c.fit_temperature(logits, np.zeros(4, int)) == c.LOWEST  # all right: the surer the better
    assert c.fit_temperature(logits, np.ones(4, int)) == c.HIGHEST  # all wrong


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_temperature_of_drawn_labels_is_found(temperature):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 5)) * 2
    assert c.fit_temperature(temperature * logits, drawn(logits, rng)) == pytest.approx(temperature, rel=0.03)


@pytest.mark.parametrize("scale", [2.0, 8.0])  # accuracies of 55 and 87 %
def test_scaling_is_used_for_few_classifiers_that_are_calibrated_as_trained(scale, monkeypatch):
    monkeypatch.setattr(c, "TRIED", 31)  # faster; the level of the test does not depend on it
    rng, used = np.random.default_rng(2), 0
    for number in range(100):
        logits = scale * rng.normal(size=(60, 5))
        used += c.scale(logits, drawn(logits, rng), number).scaling_used
    assert used <= 11  # of 100 at 5 %: more in 1 of 100 such tests


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_scaling_is_used_if_confidences_are_wrong(factor):
    rng = np.random.default_rng(3)
    logits = 3 * rng.normal(size=(300, 5))
    labels = drawn(logits, rng)
    scaling = c.scale(factor * logits, labels, 0)
    assert scaling.scaling_used
    assert scaling.temperature == scaling.fitted_temperature == pytest.approx(factor, rel=0.2)
    assert scaling.scaling_p < 0.05
    assert scaling.gain > 0
    assert scaling.reason.startswith("Temperature scaling is used: on 300 validation images the fitted temperature, ")
    assert not scaling.at_bound
    before, after = (
        c.expected_calibration_error(c.reliability(np.exp(c.log_probabilities(factor * logits, t)), labels, 15))
        for t in (1.0, scaling.temperature)
    )
    assert after < before / 2


def test_a_gain_that_chance_explains_is_not_used():
    rng = np.random.default_rng(4)
    logits = 3 * rng.normal(size=(300, 5))
    labels = drawn(logits, rng)
    scaling = c.scale(logits, labels, 0)
    assert scaling == c.scale(logits, labels, 0)
    assert (scaling.temperature, scaling.scaling_used) == (1.0, False)
    assert scaling.fitted_temperature != 1
    assert scaling.gain > 0
    assert f"not more than chance does (p = {scaling.scaling_p:.2g})." in scaling.reason


def test_a_temperature_at_a_limit_has_a_note():
    labels = np.arange(120) % 3
    surprising = c.scale(2 * np.eye(3)[labels], labels, 0)  # 79 % sure each, and no mistake
    assert (surprising.temperature, surprising.fitted_temperature, surprising.at_bound) == (1.0, c.LOWEST, True)
    assert surprising.scaling_p < 0.05
    assert "(mistakes: 0) falls until the lowest temperature that is tried, 0.05" in surprising.reason
    sure = c.scale(12 * np.eye(3)[labels], labels, 0)  # so sure that no mistake is no surprise
    assert (sure.temperature, sure.scaling_used, sure.at_bound) == (1.0, False, True)
    wrong = c.scale(300 * np.eye(3)[labels], (labels + 1) % 3, 0)
    assert (wrong.temperature, wrong.scaling_used, wrong.at_bound) == (c.HIGHEST, True, True)
    for scaling in (sure, wrong):
        assert scaling.reason.endswith("It is a limit of the range that is tried, 0.05 to 20.")
    for logits in (np.zeros((5, 3)), np.zeros((1, 3))):
        assert not c.scale(logits, np.zeros(len(logits), int), 0).scaling_used


def test_the_ece_that_chance_gives_a_calibrated_classifier():
    # One bin, confidence 0.8, n images: |mean of n Bernoulli - 0.8|, whose 95 % quantile is near 1.96 * 0.4 / sqrt(n).
    p = np.tile([0.8, 0.2], (400, 1))
    assert c.ece_by_chance(p, 15, 0) == pytest.approx(1.96 * 0.4 / 20, rel=0.1)
    assert c.ece_by_chance(np.eye(2), 15, 0) == 0
