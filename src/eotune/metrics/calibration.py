"""Whether probabilities can be taken at their word: calibration error, and temperature scaling to lower it."""

from dataclasses import dataclass

import numpy as np

from eotune.core.errors import InputError

BINS = 15

_HIGHEST = 100.0  # temperatures are sought from 1 / _HIGHEST to _HIGHEST


@dataclass(frozen=True)
class Reliability:
    """Confidence beside accuracy, by bins of confidence.

    Attributes:
        count: ``(b,)``: samples whose confidence lies in the bin.
        confidence: ``(b,)``: their mean confidence; 0 in an empty bin.
        accuracy: ``(b,)``: the share of them predicted right; 0 in an empty bin.
    """

    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean gap between confidence and accuracy, bins weighted by samples."""
        return float((self.count * np.abs(self.accuracy - self.confidence)).sum() / self.count.sum())


def reliability(probabilities: np.ndarray, true: np.ndarray, *, bins: int = BINS) -> Reliability:
    """Sort samples into bins of equal width by the probability of their predicted class.

    Guo et al., arXiv 1706.04599, section 2: bin m of M holds confidences in ``((m - 1) / M, m / M]``.

    Args:
        probabilities: ``(n, c)``, rows of sum 1; the largest is the prediction, the first of equal ones.
        true: ``(n,)`` integers from 0 to c - 1.
        bins: M.

    Raises:
        InputError: The rows are no probabilities, or there is not one true class a row.

    Example:
        >>> result = reliability(np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 1]), bins=2)
        >>> result.count.tolist(), round(result.ece, 2)
        ([0, 2], 0.35)
    """
    if bins < 1:
        raise InputError(f"need at least one bin; got {bins}")
    check_probabilities(probabilities, true)
    confidence = probabilities.max(axis=1).astype(np.float64)
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    hit = probabilities.argmax(axis=1) == true
    count = np.bincount(place, minlength=bins)
    size = np.maximum(count, 1)
    return Reliability(
        count=count,
        confidence=np.bincount(place, weights=confidence, minlength=bins) / size,
        accuracy=np.bincount(place, weights=hit, minlength=bins) / size,
    )


def expected_calibration_error(probabilities: np.ndarray, true: np.ndarray, *, bins: int = BINS) -> float:
    """Return the expected calibration error, 0 to 1; see :func:`reliability` (Naeini et al., AAAI 2015).

    Example:
        >>> round(expected_calibration_error(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 0])), 2)
        0.25
    """
    return reliability(probabilities, true, bins=bins).ece


def check_probabilities(probabilities: np.ndarray, true: np.ndarray) -> None:
    """Refuse what is no matrix of probabilities with one true class a row.

    Raises:
        InputError: Rows are not finite, negative, not of sum 1 (to 1e-3), or not as many as the true classes.
    """
    if probabilities.ndim != 2 or 0 in probabilities.shape or len(probabilities) != len(true):
        raise InputError(f"need a row of probabilities for each of {len(true)} samples; got {probabilities.shape}")
    good = np.isclose(probabilities.sum(axis=1), 1, rtol=0, atol=1e-3) & (probabilities >= 0).all(axis=1)
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        raise InputError(
            f"row {row} is no probability distribution: sum {probabilities[row].sum():.4g}, "
            f"least {probabilities[row].min():.4g}",
            remedy="pass softmax outputs, not logits",
        )


def fit_temperature(logits: np.ndarray, true: np.ndarray) -> float:
    """Return the temperature that makes ``softmax(logits / T)`` likeliest on validation data.

    Guo et al., arXiv 1706.04599, section 4.2. The negative log-likelihood is convex in 1/T, so its slope has one zero,
    found by bracketing between 0.01 and 100. Predictions do not change: T > 0 keeps the order of logits.

    Samples of a class whose logit is -inf (a probe's class without training samples) have likelihood 0 at any T and
    are left out. Where no sample is predicted wrong, likelihood grows without bound as T falls to 0; so there the truth
    of n samples counts (n + 1) / (n + 2), as in Platt's targets (1999), and the other classes share the rest.

    Args:
        logits: ``(n, c)`` of validation samples that the classifier was not fitted on; -inf is allowed.
        true: ``(n,)`` integers from 0 to c - 1.

    Raises:
        InputError: The shapes do not fit, a label is out of range, a logit is NaN or +inf, or no sample is left.

    Example:
        >>> logits = np.array([[4.0, 0.0]] * 4)          # sure of class 0, right three times in four
        >>> round(4 / fit_temperature(logits, np.array([0, 0, 0, 1])), 3), round(np.log(3), 3).item()
        (1.099, 1.099)
    """
    from scipy.optimize import brentq

    logits, true = np.asarray(logits, dtype=np.float64), np.asarray(true)
    if logits.ndim != 2 or 0 in logits.shape or true.shape != logits.shape[:1]:
        raise InputError(f"need one row of logits a true class; got {logits.shape} and {true.shape}")
    if true.dtype.kind not in "iu" or true.min() < 0 or true.max() >= logits.shape[1]:
        raise InputError(f"true classes must be integers from 0 to {logits.shape[1] - 1}")
    if not (logits < np.inf).all():
        raise InputError("logits hold NaN or +inf")
    possible = np.isfinite(logits[np.arange(len(true)), true])
    logits, true = logits[possible], true[possible]
    if not len(true):
        raise InputError("no validation sample is of a class that the classifier knows")
    known = np.isfinite(logits)
    finite = np.where(known, logits, 0)
    target = right = logits[np.arange(len(true)), true]
    if (right == logits.max(axis=1)).all():
        others = (finite.sum(axis=1) - right) / np.maximum(known.sum(axis=1) - 1, 1)
        target = right + (others - right) / (len(true) + 2)

    def slope(inverse: float) -> float:
        """Of the mean negative log-likelihood by 1/T: the logit expected less the logit of the truth."""
        return float(((calibrated_probabilities(logits, 1 / inverse) * finite).sum(axis=1) - target).mean())

    if slope(1 / _HIGHEST) >= 0:  # no better than a guess: as flat as is allowed
        return _HIGHEST
    if slope(_HIGHEST) <= 0:
        return 1 / _HIGHEST
    return float(1 / brentq(slope, 1 / _HIGHEST, _HIGHEST, xtol=1e-12, rtol=1e-10))


def calibrated_probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Return ``softmax(logits / temperature)``, ``(n, c)``, in the logits' floating type.

    Raises:
        InputError: The temperature is not positive.

    Example:
        >>> calibrated_probabilities(np.array([[2.0, 0.0]]), 2.0).round(3).tolist()
        [[0.731, 0.269]]
    """
    if not 0 < temperature < np.inf:
        raise InputError(f"a temperature must be positive; got {temperature}")
    scaled = logits / temperature
    odds = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)
