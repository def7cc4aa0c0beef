"""De-biased centres of classes and the targets calibrated towards them: debLoRA, arXiv 2410.04546.

Letters: n samples of d features, C classes, K clusters. ``n_c`` is the number of samples of class c, ``n_k`` that of
cluster k, ``n_kc`` that of class c in cluster k, and ``ir_c = max_c' n_c' / n_c`` the imbalance ratio of class c.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from eotune.core.errors import InputError, shown

Integers = NDArray[np.integer]
Floats = NDArray[np.floating]


def composition(clusters: Integers, labels: Integers, n_clusters: int, n_classes: int) -> NDArray[np.int64]:
    """Return ``(K, C)`` the samples of every class in every cluster, ``n_kc``; noise (-1) is in no row.

    Args:
        clusters: ``(n,)`` cluster of every sample, -1 to K - 1.
        labels: ``(n,)`` class of every sample, 0 to C - 1.
        n_clusters: K.
        n_classes: C.

    Raises:
        InputError: The lengths differ, or a number is out of its range.

    Example:
        >>> composition(np.array([0, 0, 1, -1]), np.array([0, 1, 1, 1]), n_clusters=2, n_classes=2).tolist()
        [[1, 1], [0, 1]]
    """
    clusters, labels = np.asarray(clusters), _classes(labels, n_classes)
    if clusters.shape != labels.shape:
        raise InputError(f"each sample needs a cluster and a class; got {clusters.shape} and {labels.shape}")
    if len(clusters) and not -1 <= clusters.min() <= clusters.max() < n_clusters:
        raise InputError(f"clusters must be -1 to {n_clusters - 1}; got {clusters.min()} to {clusters.max()}")
    kept = clusters >= 0
    flat = np.bincount(clusters[kept] * n_classes + labels[kept], minlength=n_clusters * n_classes)
    return flat.reshape(n_clusters, n_classes)


def tail_weights(counts: Integers, share: Literal["class", "cluster"] = "class") -> NDArray[np.float64]:
    """Return ``(K, C)`` the weight of every cluster in the centre of every class; columns sum to 1, or to 0.

    ``class`` takes ``w_kc = n_kc / n_c``, the share of the class that lies in the cluster, where ``n_c`` leaves out
    noise. ``cluster`` takes ``n_kc / n_k``, the share of the cluster that the class holds, scaled to sum to 1 over the
    clusters: the source's sentence can be read both ways. A class that is in no cluster has weights 0.

    Args:
        counts: ``(K, C)`` from `composition`.
        share: Which reading.

    Raises:
        InputError: The reading has another name.

    Example:
        >>> tail_weights(np.array([[6, 1], [2, 1]])).tolist()
        [[0.75, 0.5], [0.25, 0.5]]
    """
    counts = np.asarray(counts)
    if share == "class":
        weights = counts.astype(np.float64)
    elif share == "cluster":
        weights = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    else:
        raise InputError(f"share must be 'class' or 'cluster'; got {shown(share)}")
    totals = weights.sum(axis=0)
    return np.divide(weights, totals, out=np.zeros_like(weights), where=totals > 0)


def debiased_centres(
    features: Floats, labels: Integers, weights: NDArray[np.float64], cluster_centres: Floats
) -> NDArray[np.float64]:
    """Return ``(C, d)`` the de-biased centre of every class, ``mu_hat_c = sum_k w_kc mu_k``.

    A class without weights (all its samples are noise) gets the mean of its own features.

    Args:
        features: ``(n, d)`` of the training samples.
        labels: ``(n,)`` their classes.
        weights: ``(K, C)`` from `tail_weights`.
        cluster_centres: ``(K, d)``, ``mu_k``.

    Raises:
        InputError: Shapes disagree, or a class has neither weights nor samples.

    Example:
        >>> features = np.array([[0.0], [2.0], [10.0]])
        >>> weights = np.array([[1.0, 0.0]])
        >>> debiased_centres(features, np.array([0, 0, 1]), weights, np.array([[1.0]])).tolist()
        [[1.0], [10.0]]
    """
    weights = np.asarray(weights, dtype=np.float64)
    cluster_centres = np.asarray(cluster_centres, dtype=np.float64)
    features, labels = np.asarray(features), _classes(labels, weights.shape[1])
    if len(features) != len(labels) or weights.shape[0] != len(cluster_centres):
        raise InputError(
            f"got {len(features)} features for {len(labels)} labels, and weights of {weights.shape[0]} clusters for "
            f"{len(cluster_centres)} centres"
        )
    if features.shape[1:] != cluster_centres.shape[1:]:
        raise InputError(f"features {features.shape} and cluster centres {cluster_centres.shape} differ in width")
    centres = weights.T @ cluster_centres  # mu_hat_c = sum_k w_kc mu_k
    for label in np.flatnonzero(weights.sum(axis=0) == 0):
        if not (own := labels == label).any():
            raise InputError(f"class {label} has no samples", remedy="leave it out of the classes")
        centres[label] = features[own].mean(axis=0, dtype=np.float64)
    return centres


def calibration_alpha(counts: Integers, threshold: float = 10.0) -> NDArray[np.float64]:
    """Return ``(C,)`` how much of its own feature a sample of each class keeps, ``alpha_c = min(1, threshold / ir_c)``.

    Args:
        counts: ``(C,)`` samples of every class, ``n_c``, at least 1.
        threshold: The imbalance ratio up to which a class keeps its features; the source's is 10.

    Raises:
        InputError: A class has no samples, or the threshold is not above 0.

    Example:
        >>> calibration_alpha(np.array([3890, 1710, 814, 315, 242])).round(3).tolist()
        [1.0, 1.0, 1.0, 0.81, 0.622]
    """
    counts = np.asarray(counts)
    if counts.ndim != 1 or not len(counts) or counts.min() < 1:
        raise InputError(f"every class needs at least one sample; got counts {shown(counts.tolist())}")
    if not threshold > 0:
        raise InputError(f"threshold must be above 0; got {threshold}")
    ratios = counts.max() / counts  # ir_c = max_c' n_c' / n_c
    return np.minimum(1.0, threshold / ratios)


def calibrate(
    features: Floats, labels: Integers, centres: NDArray[np.float64], alpha: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return ``(n, d)`` the targets ``z~ = alpha_c z + (1 - alpha_c) mu_hat_c``.

    Args:
        features: ``(n, d)``, ``z``.
        labels: ``(n,)`` their classes.
        centres: ``(C, d)`` from `debiased_centres`.
        alpha: ``(C,)`` from `calibration_alpha`.

    Raises:
        InputError: Shapes disagree or a label is out of range.

    Example:
        >>> calibrate(np.array([[2.0], [2.0]]), np.array([0, 1]), np.zeros((2, 1)), np.array([1.0, 0.5])).tolist()
        [[2.0], [1.0]]
    """
    features, centres, alpha = np.asarray(features), np.asarray(centres), np.asarray(alpha)
    labels = _classes(labels, len(alpha))
    if len(centres) != len(alpha) or features.shape != (len(labels), *centres.shape[1:]):
        raise InputError(
            f"features {features.shape}, labels {labels.shape}, centres {centres.shape} and alpha {alpha.shape} "
            "do not fit together"
        )
    kept = alpha[labels, None]
    return kept * features + (1 - kept) * centres[labels]  # z~ = alpha_c z + (1 - alpha_c) mu_hat_c


def collapsed_pairs(centres: Floats, classes: Integers, threshold: float = 0.99) -> list[tuple[int, int, float]]:
    """Return the pairs of classes whose centres point the same way, most alike first, with their cosine.

    Classes that share all their clusters are pulled to one point, where no probe can tell them apart.

    Args:
        centres: ``(C, d)`` from `debiased_centres`; subtract the mean of the features where that is far from 0.
        classes: The classes compared: those that are calibrated, ``np.flatnonzero(alpha < 1)``.
        threshold: Pairs of a larger cosine are returned.

    Example:
        >>> collapsed_pairs(np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]), np.array([0, 1, 2]))
        [(0, 1, 1.0)]
    """
    chosen = np.asarray(centres, dtype=np.float64)[classes]
    lengths = np.linalg.norm(chosen, axis=1, keepdims=True)
    units = np.divide(chosen, lengths, out=np.zeros_like(chosen), where=lengths > 0)
    cosines = units @ units.T
    first, second = np.nonzero(np.triu(cosines > threshold, k=1))
    order = np.argsort(-cosines[first, second], kind="stable")
    return [
        (int(classes[i]), int(classes[j]), float(cosines[i, j]))
        for i, j in zip(first[order], second[order], strict=True)
    ]


def _classes(labels: Integers, n_classes: int) -> Integers:
    """Return the labels, checked to be classes."""
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(f"labels must be (n,) whole numbers; got {labels.shape} {labels.dtype}")
    if len(labels) and not 0 <= labels.min() <= labels.max() < n_classes:
        raise InputError(f"labels must be 0 to {n_classes - 1}; got {labels.min()} to {labels.max()}")
    return labels
