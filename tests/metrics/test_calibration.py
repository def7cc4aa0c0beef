import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from eotune.core.errors import InputError
from eotune.metrics.calibration import (
    calibrated_probabilities,
    expected_calibration_error,
    fit_temperature,
    reliability,
)


def softmax(logits):
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def slow_ece(probabilities, true, bins):
    """Guo et al., eq. 3, in loops."""
    total = 0.0
    for m in range(1, bins + 1):
        inside = [i for i, row in enumerate(probabilities) if (m - 1) / bins < row.max() <= m / bins]
        if inside:
            accuracy = sum(probabilities[i].argmax() == true[i] for i in inside) / len(inside)
            confidence = sum(probabilities[i].max() for i in inside) / len(inside)
            total += len(inside) * abs(accuracy - confidence)
    return total / len(true)


@pytest.mark.parametrize("bins", [1, 4, 15])
@pytest.mark.parametrize("seed", range(3))
def test_calibration_error_equals_loops(seed, bins) -> None:
    random = np.random.default_rng(seed)
    probabilities, true = softmax(2 * random.normal(size=(90, 4))), random.integers(0, 4, 90)
    probabilities[0], probabilities[1] = np.eye(4)[2], 0.25  # confidences on the edges of bins
    result = expected_calibration_error(probabilities, true, bins=bins)
    assert result == pytest.approx(slow_ece(probabilities, true, bins))


def test_bins_hold_their_mean_confidence_and_accuracy() -> None:
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6], [0.5, 0.5]])
    result = reliability(probabilities, np.array([0, 1, 1, 0]), bins=2)
    assert result.count.tolist() == [1, 3]
    np.testing.assert_allclose(result.confidence, [0.5, 2.2 / 3])
    np.testing.assert_allclose(result.accuracy, [1, 2 / 3])


def test_labels_drawn_from_the_probabilities_are_calibrated() -> None:
    random = np.random.default_rng(0)
    probabilities = softmax(1.5 * random.normal(size=(40_000, 5)))
    true = (random.random((40_000, 1)) < probabilities.cumsum(axis=1)).argmax(axis=1)
    assert expected_calibration_error(probabilities, true) < 0.01
    # Logits three times too large are three times too sure; the temperature finds the factor.
    logits = 3 * np.log(probabilities)
    assert expected_calibration_error(softmax(logits), true) > 0.1
    temperature = fit_temperature(logits, true)
    assert temperature == pytest.approx(3, rel=0.03)
    assert expected_calibration_error(calibrated_probabilities(logits, temperature), true) < 0.01


@pytest.mark.parametrize("scale", [0.05, 1.0, 20.0])
def test_the_temperature_minimises_the_likelihood(scale) -> None:
    random = np.random.default_rng(1)
    true = random.integers(0, 6, 300)
    logits = scale * (random.normal(size=(300, 6)) + 1.5 * np.eye(6)[true])

    def loss(log_temperature):
        return -np.log(softmax(logits / np.exp(log_temperature))[np.arange(300), true]).mean()

    expected = minimize_scalar(loss, bounds=(-7, 7), method="bounded", options={"xatol": 1e-9})
    temperature = fit_temperature(logits, true)
    assert temperature == pytest.approx(np.exp(expected.x), rel=1e-4)
    assert loss(np.log(temperature)) <= expected.fun + 1e-12


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_without_a_mistake_the_mean_confidence_is_that_of_one_in_n_plus_2(scale) -> None:
    logits = scale * np.eye(5)[np.arange(20) % 5]
    probabilities = calibrated_probabilities(logits, fit_temperature(logits, np.arange(20) % 5))
    np.testing.assert_allclose(probabilities.max(axis=1), 21 / 22, rtol=1e-6)
    unknown = np.concatenate([logits, np.full((20, 1), -np.inf)], axis=1)  # takes no part
    assert fit_temperature(unknown, np.arange(20) % 5) == pytest.approx(fit_temperature(logits, np.arange(20) % 5))


def test_without_a_mistake_flat_logits_are_calibrated() -> None:
    """What the strongest of equally good probes gives: right on everything, and hardly sure of it."""
    random = np.random.default_rng(0)
    true = random.integers(0, 10, 400)
    logits = 0.1 * np.eye(10)[true] + random.normal(scale=0.005, size=(400, 10))
    probabilities = calibrated_probabilities(logits[200:], fit_temperature(logits[:200], true[:200]))
    assert expected_calibration_error(probabilities, true[200:]) < 0.02


def test_data_that_decide_nothing_get_a_bound() -> None:
    true = np.array([0, 1])
    assert fit_temperature(np.ones((2, 1)), np.zeros(2, int)) == 100  # one class: nothing to be sure of
    assert fit_temperature(-5 * np.eye(2), true) == 100  # worse than a guess: as flat as allowed
    barely = np.array([[1e-3, 0.0]] * 99 + [[0.0, 1e-9]])
    assert fit_temperature(barely, np.zeros(100, int)) == 0.01


def test_classes_that_the_classifier_does_not_know_are_left_out() -> None:
    random = np.random.default_rng(2)
    true = random.integers(0, 3, 100)
    logits = random.normal(size=(100, 3)) + np.eye(3)[true]
    unknown = np.concatenate([logits, np.full((100, 1), -np.inf)], axis=1)
    with_unknown = np.concatenate([true[:-5], np.full(5, 3)])
    assert fit_temperature(unknown, true) == pytest.approx(fit_temperature(logits, true))
    assert fit_temperature(unknown, with_unknown) == pytest.approx(fit_temperature(logits[:-5], true[:-5]))
    assert (calibrated_probabilities(unknown, 2.0)[:, 3] == 0).all()
    with pytest.raises(InputError, match="no validation sample"):
        fit_temperature(unknown, np.full(100, 3))


def test_calibrating_keeps_predictions_and_type() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    result = calibrated_probabilities(logits, 3.0)
    assert result.dtype == np.float32
    assert np.array_equal(result.argmax(axis=1), logits.argmax(axis=1))
    np.testing.assert_allclose(result.sum(axis=1), 1, rtol=1e-6)


def test_wrong_input_is_refused() -> None:
    right = np.full((3, 2), 0.5)
    for probabilities, message in (
        (right * 3, "row 0 is no probability distribution: sum 3"),
        (np.array([[0.5, 0.5], [1.5, -0.5], [0, 1]]), "row 1 .* least -0.5"),
        (np.full((3, 2), np.nan), "sum nan"),
        (right[:2], "each of 3 samples"),
    ):
        with pytest.raises(InputError, match=message):
            reliability(probabilities, np.zeros(3, int))
    with pytest.raises(InputError, match="at least one bin; got 0"):
        reliability(right, np.zeros(3, int), bins=0)
    for logits, true, message in (
        (right, np.zeros(2, int), "one row of logits"),
        (right, np.array([0, 1, 2]), "from 0 to 1"),
        (right, np.array([0.0, 1, 1]), "integers"),
        (np.full((3, 2), np.nan), np.zeros(3, int), "NaN"),
    ):
        with pytest.raises(InputError, match=message):
            fit_temperature(logits, true)
    with pytest.raises(InputError, match="positive; got 0"):
        calibrated_probabilities(right, 0)
