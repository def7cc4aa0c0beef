"""Clusterings by density, which leave points out as noise: DBSCAN and HDBSCAN of scikit-learn."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.cluster import DBSCAN, HDBSCAN
from sklearn.neighbors import NearestNeighbors

from eotune.clustering.points import checked_points
from eotune.core.errors import InputError

Clusters = tuple[NDArray[np.int64], NDArray[np.float64]]


def dbscan(points: ArrayLike, *, eps: float | None = None, min_samples: int = 5) -> Clusters:
    """Return labels and centres of DBSCAN (Ester et al., KDD 1996).

    Args:
        points: ``(n, d)``; memory grows with the pairs closer than ``eps``.
        eps: Two points closer than this are neighbours. Without it, `neighbour_distance` chooses.
        min_samples: A point with as many neighbours, itself included, is the core of a cluster.

    Returns:
        ``(n,)`` labels, -1 for noise, and ``(k, d)`` means of the clusters; k may be 0.

    Raises:
        InputError: The points or a setting are wrong.

    Example:
        >>> labels, centres = dbscan([[0.0], [0.1], [5.0], [5.1], [99.0]], eps=0.5, min_samples=2)
        >>> labels.tolist(), centres.round(2).tolist()
        ([0, 0, 1, 1, -1], [[0.05], [5.05]])
    """
    values = checked_points(points)
    _check_count("min_samples", min_samples, len(values), least=1)
    if eps is None:
        eps = neighbour_distance(values, min_samples)
    if not 0 < eps < np.inf:
        raise InputError(f"eps must be above 0 and finite; got {eps}")
    labels = DBSCAN(eps=eps, min_samples=min_samples).fit(values).labels_
    return labels.astype(np.int64), _centres(values, labels)


def neighbour_distance(points: ArrayLike, min_samples: int = 5, quantile: float = 0.9) -> float:
    """Return an ``eps`` for `dbscan`: the distance within which this share of the points is a core.

    That is a quantile of the distance to the neighbour that makes a point a core (the sorted k-distance graph of the
    DBSCAN paper, section 4.2). In many dimensions distances crowd together and a few per cent of eps decide between all
    noise and one cluster: sweep it around this value.

    Args:
        points: ``(n, d)``.
        min_samples: As for `dbscan`.
        quantile: The share.

    Raises:
        InputError: The points or a setting are wrong, or so many points coincide that the distance is 0.

    Example:
        >>> round(neighbour_distance([[0.0], [0.1], [5.0], [5.1], [99.0]], min_samples=2, quantile=0.75), 3)
        0.1
    """
    values = checked_points(points)
    _check_count("min_samples", min_samples, len(values), least=1)
    if not 0 < quantile < 1:
        raise InputError(f"quantile must lie between 0 and 1; got {quantile}")
    distances = NearestNeighbors(n_neighbors=min_samples).fit(values).kneighbors(values)[0][:, -1]
    distance = float(np.quantile(distances, quantile))
    if not distance > 0:
        raise InputError(
            f"{quantile:.0%} of the points lie on {min_samples - 1} others, so no eps follows from their distances",
            remedy="set eps, or a larger min_samples",
        )
    return distance


def hdbscan(points: ArrayLike, *, min_cluster_size: int = 5, min_samples: int | None = None) -> Clusters:
    """Return labels and centres of HDBSCAN (Campello et al., PAKDD 2013): clusters of different densities, no eps.

    Args:
        points: ``(n, d)``; time grows with the square of n in many dimensions.
        min_cluster_size: Smaller groups are noise.
        min_samples: As for `dbscan`; as ``min_cluster_size`` if not given.

    Returns:
        ``(n,)`` labels, -1 for noise, and ``(k, d)`` means of the clusters; k may be 0.

    Raises:
        InputError: The points or a setting are wrong.

    Example:
        >>> labels, _ = hdbscan([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]], min_cluster_size=3)
        >>> len(set(labels.tolist()))
        2
    """
    values = checked_points(points)
    _check_count("min_cluster_size", min_cluster_size, len(values), least=2)
    if min_samples is not None:
        _check_count("min_samples", min_samples, len(values), least=1)
    labels = HDBSCAN(min_cluster_size=min_cluster_size, min_samples=min_samples, copy=True).fit(values).labels_
    return labels.astype(np.int64), _centres(values, labels)


def _check_count(name: str, value: int, n: int, *, least: int) -> None:
    if not least <= value <= n:
        raise InputError(f"{name} must be {least} to {n}, the number of points; got {value}")


def _centres(points: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the mean of every cluster."""
    means = [points[labels == cluster].mean(axis=0, dtype=np.float64) for cluster in range(labels.max() + 1)]
    return np.array(means).reshape(len(means), points.shape[1])
