"""How classes lie in a feature space: how far apart, how wide, and whether training saw them where the test does."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from eotune.core.errors import InputError


@dataclass(frozen=True)
class ClassGeometry:
    """Cosine distances (1 - cosine, from 0 to 2) of classes; NaN where a class has no samples.

    Attributes:
        between: ``(c, c)``: distances between the centres of classes; 0 on the diagonal.
        intra: ``(c,)``: mean distance of a class's m samples to its centre, times m / (m - 1): they made the centre, so
            few samples lie close to it. NaN for a class of one.
    """

    between: np.ndarray
    intra: np.ndarray

    def inter_by_group(self, groups: Mapping[str, np.ndarray]) -> dict[tuple[str, str], float]:
        """Return the mean distance between centres, by the groups that the two classes are in.

        Args:
            groups: Name -> class numbers.

        Returns:
            For each unordered pair of groups, in their order: the mean over pairs of different classes, one of each
            group. A pair of groups without such classes is left out.
        """
        names = list(groups)
        means = {}
        for i, first in enumerate(names):
            for second in names[i:]:
                block = self.between[np.ix_(groups[first], groups[second])]
                different = np.asarray(groups[first])[:, None] != np.asarray(groups[second])
                known = block[different & np.isfinite(block)]
                if len(known):
                    means[first, second] = float(known.mean())
        return means

    def intra_by_group(self, groups: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Return the mean of ``intra`` over each group's classes; a group without samples is left out."""
        known = {name: self.intra[members][np.isfinite(self.intra[members])] for name, members in groups.items()}
        return {name: float(values.mean()) for name, values in known.items() if len(values)}


def class_geometry(features: np.ndarray, labels: np.ndarray, n_classes: int) -> ClassGeometry:
    """Measure distances between and within classes.

    A centre is the mean of a class's features as they are, not of unit length: what a linear probe and the de-biased
    centres of debLoRA see (arXiv 2410.04546). A zero vector has distance 1 to everything.

    Args:
        features: ``(n, d)``.
        labels: ``(n,)`` integers from 0 to ``n_classes - 1``.
        n_classes: c.

    Raises:
        InputError: The features are not a finite matrix, or the labels do not fit.

    Example:
        >>> result = class_geometry(np.array([[1.0, 0], [2.0, 0], [0, 1.0]]), np.array([0, 0, 1]), 2)
        >>> result.between.tolist(), result.intra.tolist()
        ([[0.0, 1.0], [1.0, 0.0]], [0.0, nan])
    """
    features = np.asarray(features)
    labels = np.asarray(labels)
    centres = class_centres(features, labels, n_classes)
    directions = _unit(centres)
    between = np.clip(1 - directions @ directions.T, 0, 2)
    known = np.isfinite(centres).all(axis=1)
    between[known, known] = 0
    intra = np.full(n_classes, np.nan)
    for k in np.flatnonzero(known):
        distances = 1 - _unit(features[labels == k].astype(np.float64)) @ directions[k]
        if len(distances) > 1:  # rounding may leave a hair below 0
            intra[k] = np.clip(distances.sum() / (len(distances) - 1), 0, 2)
    return ClassGeometry(between, intra)


def centre_mismatch(
    train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], n_classes: int
) -> np.ndarray:
    """Return the cosine distance between each class's centre in training and in the test, ``(c,)``.

    Large for tail classes whose few training samples do not stand for the class. Part of it is chance: a mean of three
    samples lies off by about ``intra / 3`` even if nothing is biased.

    Args:
        train: Features ``(n, d)`` and labels ``(n,)``.
        test: Features ``(m, d)`` and labels ``(m,)``.
        n_classes: c.

    Returns:
        From 0 to 2; NaN for a class that has no samples in one of the two.

    Raises:
        InputError: As :func:`class_geometry`, or the two differ in width.

    Example:
        >>> samples = np.eye(2), np.array([0, 1])
        >>> centre_mismatch(samples, (np.array([[5.0, 0], [1, 1]]), np.array([0, 1])), 2).round(3).tolist()
        [0.0, 0.293]
    """
    first, second = (class_centres(*part, n_classes) for part in (train, test))
    if first.shape != second.shape:
        raise InputError(f"training features are {first.shape[1]} wide, test features {second.shape[1]}")
    return np.clip(1 - (_unit(first) * _unit(second)).sum(axis=1), 0, 2)


def class_centres(features: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the mean of each class's features, ``(c, d)`` float64; a row of NaN for a class without samples.

    Raises:
        InputError: As :func:`class_geometry`.

    Example:
        >>> class_centres(np.array([[1.0], [3.0]]), np.array([1, 1]), 2).tolist()
        [[nan], [2.0]]
    """
    features, labels = np.asarray(features), np.asarray(labels)
    if features.ndim != 2 or labels.shape != features.shape[:1] or labels.dtype.kind not in "iu":
        raise InputError(f"need features (n, d) and integer labels (n,); got {features.shape} and {labels.shape}")
    if 0 in features.shape or not np.isfinite(features).all():
        raise InputError(f"features must be finite numbers, at least one; got {features.shape}")
    outside = labels[(labels < 0) | (labels >= n_classes)]
    if len(outside):
        raise InputError(f"label {outside[0]} is outside 0 to {n_classes - 1}")
    centres = np.full((n_classes, features.shape[1]), np.nan)
    for k in np.unique(labels):
        centres[k] = features[labels == k].mean(axis=0, dtype=np.float64)
    return centres


def _unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths == 0, 1, lengths)
