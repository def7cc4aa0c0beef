"""Head, middle and tail: F1 by group of classes, with intervals over test samples."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eotune.core.errors import InputError
from eotune.core.seeds import generator
from eotune.metrics.calibration import check_probabilities, expected_calibration_error
from eotune.metrics.classification import ClassificationResult, classification_metrics
from eotune.metrics.intervals import percentile_interval

Groups = Mapping[str, np.ndarray]

_RESAMPLES_AT_ONCE = 64  # fixed: bounds memory, and no setting may change what is drawn


@dataclass(frozen=True)
class LongTailResult:
    """Figures of a classification with their 95 % intervals; shares from 0 to 1.

    Attributes:
        values: ``accuracy``, ``macro_f1``, ``macro_f1_GROUP`` for each group with test samples, and ``ece`` where
            probabilities were given.
        intervals: Lower and upper end for each of ``values``.
        classification: The whole confusion matrix and what follows from it.
        f1_intervals: ``(c, 2)``: of each class's F1.
    """

    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    classification: ClassificationResult
    f1_intervals: np.ndarray

    def class_table(self, classes: Sequence[str], groups: Groups) -> list[dict[str, str | int | float]]:
        """Return one row a class: group, test samples, precision, recall, F1 with its interval."""
        group_of = {int(k): name for name, members in groups.items() for k in members}
        result = self.classification
        return [
            {
                "class": name,
                "group": group_of.get(k, ""),
                "support": int(result.support[k]),
                "precision": float(result.precision[k]),
                "recall": float(result.recall[k]),
                "f1": float(result.f1[k]),
                "f1_low": float(self.f1_intervals[k, 0]),
                "f1_high": float(self.f1_intervals[k, 1]),
            }
            for k, name in enumerate(classes)
        ]


@dataclass(frozen=True)
class Difference:
    """A figure of one method less that of another, on the same test samples.

    Attributes:
        value: First less second.
        low: Lower end of the 95 % interval.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def group_f1(result: ClassificationResult, groups: Groups) -> dict[str, float]:
    """Return the mean F1 of each group's classes, each F1 from the whole confusion matrix.

    A sample of another group that is predicted as one of the group's classes is a false positive and lowers the
    group's figure; F1 computed on the group's own samples only would not see it.

    Args:
        result: Of :func:`eotune.metrics.classification.classification_metrics`.
        groups: Name -> ``(k,)`` class numbers, no class in two groups.

    Returns:
        Name -> mean over the group's classes that appear, as truth or prediction (what ``macro_f1`` does for all). A
        group without test samples is left out: nothing measures it.

    Raises:
        InputError: A group is empty, names a class that is not there, or shares one with another group.

    Example:
        >>> result = classification_metrics(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), 2)
        >>> {name: round(f1, 3) for name, f1 in group_f1(result, {"head": [0], "tail": [1]}).items()}
        {'head': 0.8, 'tail': 0.667}
    """
    measured = _measured(groups, result.support)
    claimed = result.confusion.sum(axis=0)
    return {name: float(_mean_f1(result.f1, result.support + claimed, k)) for name, k in measured.items()}


def long_tail_metrics(
    true: np.ndarray,
    predictions: np.ndarray,
    n_classes: int,
    groups: Groups,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> LongTailResult:
    """Measure a classification over all classes and by group.

    Intervals are of a bootstrap over test samples, drawn **within each true class**: how many test samples a class has
    is the test set's design, not luck, and plain draws would lose a class of three samples in one resample out of
    twenty, which changes what the macro mean is a mean of. A class with one test sample adds no spread. The draws
    depend on ``true`` and ``seed`` only, so two methods see the same ones.

    Args:
        true: ``(n,)`` integers from 0 to ``n_classes - 1``.
        predictions: ``(n, c)`` probabilities, or ``(n,)`` predicted classes (then without calibration error).
        n_classes: c.
        groups: Name (``head``, ``middle``, ``tail``) -> ``(k,)`` class numbers, see :func:`group_f1`.
        resamples: b.
        seed: Of the draws.

    Raises:
        InputError: As :func:`group_f1` and :func:`eotune.metrics.classification.confusion_matrix`; or rows of
            ``predictions`` are no probabilities; or there is no resample.

    Example:
        >>> true, predicted = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 1])
        >>> result = long_tail_metrics(true, predicted, 2, {"head": [0], "tail": [1]})
        >>> round(result.values["macro_f1_tail"], 2), [round(x, 2) for x in result.intervals["macro_f1_tail"]]
        (0.8, [0.57, 1.0])
    """
    true, predictions = np.asarray(true), np.asarray(predictions)
    predicted = predictions
    if predictions.ndim == 2:
        check_probabilities(predictions, true)
        if predictions.shape[1] != n_classes:
            raise InputError(f"{predictions.shape[1]} probabilities a sample for {n_classes} classes")
        predicted = predictions.argmax(axis=1)
    result = classification_metrics(true, predicted, n_classes)
    values = {"accuracy": result.accuracy, "macro_f1": result.macro_f1}
    values |= {f"macro_f1_{name}": f1 for name, f1 in group_f1(result, groups).items()}

    draws = _Draws(true, n_classes, resamples, seed)
    samples, class_f1 = draws.figures(predicted, groups)
    if predictions.ndim == 2:
        values["ece"] = expected_calibration_error(predictions, true)
    return LongTailResult(
        values=values,
        intervals={name: percentile_interval(drawn) for name, drawn in samples.items()},
        classification=result,
        f1_intervals=np.quantile(class_f1, [0.025, 0.975], axis=0).T,
    )


def paired_differences(
    true: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    n_classes: int,
    groups: Groups,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Difference]:
    """Compare two methods on the same test samples: accuracy, macro F1, and F1 by group, first less second.

    Each resample measures both methods on the same draw, so what an easy or hard draw does to both cancels.

    Args:
        true: ``(n,)`` integers from 0 to ``n_classes - 1``.
        first: ``(n,)`` classes predicted by one method.
        second: ``(n,)`` classes predicted by the other.
        n_classes: c.
        groups: As in :func:`long_tail_metrics`.
        resamples: b.
        seed: Of the draws.

    Returns:
        ``accuracy``, ``macro_f1`` and ``macro_f1_GROUP`` -> difference with its 95 % interval. It tells how far the
        difference depends on the test samples; how it depends on the training run is for seeds to tell.

    Raises:
        InputError: As :func:`long_tail_metrics`.

    Example:
        >>> true = np.array([0, 0, 1, 1])
        >>> paired_differences(true, true, true, 2, {"tail": [1]})["macro_f1_tail"]
        Difference(value=0.0, low=0.0, high=0.0)
    """
    true, first, second = np.asarray(true), np.asarray(first), np.asarray(second)
    draws = _Draws(true, n_classes, resamples, seed)
    figures, samples = [], []
    for predicted in (first, second):
        result = classification_metrics(true, predicted, n_classes)
        of_groups = {f"macro_f1_{name}": f1 for name, f1 in group_f1(result, groups).items()}
        figures.append({"accuracy": result.accuracy, "macro_f1": result.macro_f1} | of_groups)
        samples.append(draws.figures(predicted, groups)[0])
    one, other = figures
    return {
        name: Difference(one[name] - other[name], *percentile_interval(samples[0][name] - samples[1][name]))
        for name in one
    }


def resampled_figures(
    true: np.ndarray,
    predicted: np.ndarray,
    n_classes: int,
    groups: Groups,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Return what :func:`paired_differences` compares, ``(b,)`` each: the figures in every resample.

    Example:
        >>> true = np.array([0, 0, 1, 1])
        >>> resampled_figures(true, true, 2, {"tail": [1]}, resamples=3)["macro_f1_tail"].tolist()
        [1.0, 1.0, 1.0]
    """
    return _Draws(np.asarray(true), n_classes, resamples, seed).figures(np.asarray(predicted), groups)[0]


class _Draws:
    """Resamples of test samples within their true class; the same for whatever is measured on them."""

    def __init__(self, true: np.ndarray, n_classes: int, resamples: int, seed: int) -> None:
        if resamples < 1:
            raise InputError(f"a bootstrap needs resamples; got {resamples}")
        if true.ndim != 1 or true.dtype.kind not in "iu":
            raise InputError(f"true classes must be a vector of integers; got {true.dtype} {true.shape}")
        self.true, self.n_classes, self.resamples, self.seed = true, n_classes, resamples, seed
        self.order = np.argsort(true, kind="stable")  # samples of a class stand together
        classes, start, size = np.unique(true[self.order], return_index=True, return_counts=True)
        self.start, self.size = np.repeat(start, size), np.repeat(size, size)
        self.support = np.zeros(n_classes, dtype=np.int64)
        inside = (classes >= 0) & (classes < n_classes)  # others are refused with the confusion matrix
        self.support[classes[inside]] = size[inside]

    def weights(self) -> Iterator[np.ndarray]:
        """Yield blocks ``(n, k)`` float32: how often each sample, in ``order``, occurs in each of k resamples."""
        n = len(self.order)
        random = generator(self.seed, "stratified bootstrap", n)
        for begin in range(0, self.resamples, _RESAMPLES_AT_ONCE):
            k = min(_RESAMPLES_AT_ONCE, self.resamples - begin)
            within = (random.random((k, n)) * self.size).astype(np.int64)
            drawn = self.start + np.minimum(within, self.size - 1)  # the product may round up to the size
            drawn += np.arange(k)[:, None] * n
            yield np.bincount(drawn.ravel(), minlength=k * n).reshape(k, n).T.astype(np.float32)

    def totals(self, column: np.ndarray, value: np.ndarray, n_columns: int) -> np.ndarray:
        """Sum in each resample ``value`` ``(n,)`` of the drawn samples by their ``column`` ``(n,)``: ``(b, columns)``.

        The matrix that sums is sparse, one entry a sample: a class more costs nothing.
        """
        from scipy.sparse import csr_array

        n = len(self.order)
        entries = (value[self.order].astype(np.float32), (column[self.order], np.arange(n)))
        summing = csr_array(entries, shape=(n_columns, n))
        return np.concatenate([(summing @ weights).T for weights in self.weights()]).astype(np.float64)

    def figures(self, predicted: np.ndarray, groups: Groups) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return accuracy, macro F1 and F1 by group in each resample ``(b,)``, and F1 of each class ``(b, c)``."""
        c = self.n_classes
        # Right ones are counted in the first c columns, wrong ones, by the class predicted, in the others.
        column = np.where(predicted == self.true, predicted, predicted + c)
        counted = self.totals(column, np.ones(len(predicted)), 2 * c)
        hits, mistaken = counted[:, :c], counted[:, c:]
        appearing = self.support + hits + mistaken
        f1 = np.divide(2 * hits, appearing, out=np.zeros_like(hits), where=appearing > 0)
        samples = {
            "accuracy": hits.sum(axis=1) / len(self.true),
            "macro_f1": _mean_f1(f1, appearing, np.arange(c)),
        }
        measured = _measured(groups, self.support)
        samples |= {f"macro_f1_{name}": _mean_f1(f1, appearing, members) for name, members in measured.items()}
        return samples, f1


def _mean_f1(f1: np.ndarray, appearing: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Mean over ``members`` that appear, along the last axis."""
    present = appearing[..., members] > 0
    return (f1[..., members] * present).sum(axis=-1) / present.sum(axis=-1)


def _measured(groups: Groups, support: np.ndarray) -> dict[str, np.ndarray]:
    """Check groups; return those with test samples."""
    owner: dict[int, str] = {}
    measured = {}
    for name, members in groups.items():
        members = np.asarray(members)
        if members.ndim != 1 or not len(members) or members.dtype.kind not in "iu":
            raise InputError(f"group {name!r} must hold at least one class number")
        for k in members.tolist():
            if not 0 <= k < len(support):
                raise InputError(f"group {name!r} holds class {k}; there are {len(support)}, from 0")
            if k in owner:
                raise InputError(f"class {k} is in group {owner[k]!r} and in {name!r}")
            owner[k] = name
        if support[members].sum():
            measured[name] = members
    return measured
