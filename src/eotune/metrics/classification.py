"""Single-label classification: everything that follows from the confusion matrix."""

from dataclasses import dataclass

import numpy as np

from eotune.core.errors import InputError


@dataclass(frozen=True)
class ClassificationResult:
    """Figures of a classification; shares from 0 to 1.

    Attributes:
        confusion: ``(c, c)`` int64: rows are true classes, columns predicted ones.
        accuracy: Share of samples predicted right.
        precision: ``(c,)``: of what is predicted as the class, the share that is; 0 where nothing is predicted.
        recall: ``(c,)``: of the class, the share found; 0 for a class without samples.
        f1: ``(c,)``: harmonic mean of the two; 0 where both are 0.
        macro_f1: Mean of ``f1`` over classes that appear, as truth or prediction.
        support: ``(c,)``: samples of each class.
    """

    confusion: np.ndarray
    accuracy: float
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    macro_f1: float
    support: np.ndarray


def confusion_matrix(true: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Count samples by true class (rows) and predicted class (columns).

    Args:
        true: ``(n,)`` integers from 0 to ``n_classes - 1``.
        predicted: ``(n,)``, likewise.
        n_classes: c.

    Returns:
        ``(c, c)`` int64.

    Raises:
        InputError: The lengths differ, there is no sample, or a class is out of range.

    Example:
        >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    true, predicted = np.asarray(true), np.asarray(predicted)
    if true.ndim != 1 or true.shape != predicted.shape or not len(true):
        raise InputError(f"need one true and one predicted class a sample; got {true.shape} and {predicted.shape}")
    for name, classes in (("true", true), ("predicted", predicted)):
        if classes.dtype.kind not in "iu":
            raise InputError(f"{name} classes must be integers; got {classes.dtype}")
        outside = classes[(classes < 0) | (classes >= n_classes)]
        if len(outside):
            raise InputError(f"{name} class {outside[0]} is outside 0 to {n_classes - 1}")
    flat = true.astype(np.int64) * n_classes + predicted
    return np.bincount(flat, minlength=n_classes * n_classes).reshape(n_classes, n_classes)


def classification_metrics(true: np.ndarray, predicted: np.ndarray, n_classes: int) -> ClassificationResult:
    """Measure a classification.

    Args:
        true: ``(n,)`` integers from 0 to ``n_classes - 1``.
        predicted: ``(n,)``, likewise.
        n_classes: c.

    Raises:
        InputError: As :func:`confusion_matrix`.

    Example:
        >>> result = classification_metrics(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
        >>> round(result.accuracy, 3), round(result.macro_f1, 3)
        (0.667, 0.667)
    """
    confusion = confusion_matrix(true, predicted, n_classes)
    hits, support, claimed = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    f1 = _share(2 * hits, support + claimed)
    present = support + claimed > 0
    return ClassificationResult(
        confusion=confusion,
        accuracy=float(hits.sum() / support.sum()),
        precision=_share(hits, claimed),
        recall=_share(hits, support),
        f1=f1,
        macro_f1=float(f1[present].mean()),
        support=support,
    )


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
