"""k-means whose clusters all have a least size: ``min sum_i min_k |z_i - mu_k|^2`` subject to ``n_k >= min_size``."""

import math
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csc_matrix
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.cluster import kmeans_plusplus
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from eotune.clustering.minimum_sizes import assign
from eotune.clustering.points import checked_points
from eotune.core.errors import InputError, shown

Floats = NDArray[np.floating]
Integers = NDArray[np.int64]

_CHUNK = 8192  # points whose products and differences stay in the cache


class SizeConstrainedKMeans(ClusterMixin, BaseEstimator):
    """k-means with a least cluster size, every assignment step solved exactly, in time near that of plain k-means.

    The problem of Bradley, Bennett and Demiriz (Constrained k-means clustering, MSR-TR-2000-65). The prices that solve
    one assignment start the next. Deterministic for a ``random_state``. A cluster without points, which needs
    ``min_size=0``, keeps its centre.

    Args:
        n_clusters: k.
        min_size: The least number of points in a cluster; a fraction is rounded up, so ``n / (k * rho)`` can be given.
        init: ``"k-means++"`` or ``(k, d)`` centres.
        n_init: Runs from different starts, of which the best is kept; 1 where ``init`` is an array.
        max_iter: Assignment steps in a run, at most.
        tol: A run ends when its centres move by less than this times the mean variance of a feature (squared, summed
            over centres), or when no label changes.
        random_state: Seed or generator of the starts.

    Attributes:
        labels_: ``(n,)`` int64; the sizes hold for these.
        cluster_centers_: ``(k, d)`` the means of the clusters.
        inertia_: Sum of squared distances of points to the centre of their cluster.
        n_iter_: Assignment steps of the best run.

    Raises:
        InputError: From `fit`: a setting or the points are wrong, or the sizes cannot be met.

    Example:
        >>> points = np.array([[0.0], [1.0], [2.0], [9.0]])
        >>> SizeConstrainedKMeans(2, min_size=2, random_state=0).fit(points).cluster_centers_.ravel().tolist()
        [0.5, 5.5]
    """

    def __init__(
        self,
        n_clusters: int,
        *,
        min_size: float,
        init: ArrayLike = "k-means++",
        n_init: int = 1,
        max_iter: int = 100,
        tol: float = 1e-4,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.min_size = min_size
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> Self:  # noqa: N803, ARG002 (scikit-learn's names)
        """Cluster ``(n, d)`` points; integers and halves are taken as float32, float64 as it is."""
        points = checked_points(X)
        self._check_settings(points)
        size = math.ceil(self.min_size)
        mean = points.mean(axis=0, dtype=np.float64)
        tolerance = (
            self.tol * _inertia(points, mean[None], np.zeros(len(points), np.int64)) / points.size if self.tol else 0
        )
        random = check_random_state(self.random_state)
        best: tuple[Any, ...] = (math.inf,)
        for _ in range(self.n_init if isinstance(self.init, str) else 1):
            if isinstance(self.init, str):
                centres = kmeans_plusplus(points, self.n_clusters, random_state=random)[0].astype(np.float64)
            else:
                centres = np.array(self.init, dtype=np.float64)
            run = _run(points, mean, centres, size, self.max_iter, tolerance)
            if run[0] < best[0]:
                best = run
        self.inertia_, self.labels_, centres, self.n_iter_ = best
        self.cluster_centers_ = centres.astype(points.dtype)
        self.n_features_in_ = points.shape[1]
        return self

    def predict(self, X: ArrayLike) -> Integers:  # noqa: N803 (scikit-learn's name)
        """Return the nearest centre of each of ``(n, d)`` points: no least size holds, so `labels_` may differ."""
        check_is_fitted(self)
        points = checked_points(X)
        if points.shape[1] != self.n_features_in_:
            raise InputError(f"points have {points.shape[1]} features; the centres have {self.n_features_in_}")
        centres = self.cluster_centers_.astype(np.float64)
        return _costs(points, centres.mean(axis=0), centres).argmin(axis=0)

    def _check_settings(self, points: Floats) -> None:
        n, k = len(points), self.n_clusters
        for name in ("n_clusters", "n_init", "max_iter"):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or value < 1:
                raise InputError(f"{name} must be a whole number of at least 1; got {shown(value)}")
        for name in ("min_size", "tol"):
            value = getattr(self, name)
            if not (isinstance(value, int | float | np.number) and 0 <= value < math.inf):
                raise InputError(f"{name} must be a number of at least 0; got {shown(value)}")
        if n < k:
            raise InputError(f"{n} points cannot form {k} clusters", remedy=f"set n_clusters to {n} or fewer")
        if k * math.ceil(self.min_size) > n:
            raise InputError(
                f"{k} clusters of at least {math.ceil(self.min_size)} points need {k * math.ceil(self.min_size)}; "
                f"there are {n}",
                remedy=f"set min_size to {n // k} or less",
            )
        if isinstance(self.init, str):
            if self.init != "k-means++":
                raise InputError(f"init must be 'k-means++' or an array of centres; got {shown(self.init)}")
            return
        init = np.asarray(self.init, dtype=np.float64)
        if init.shape != (k, points.shape[1]) or not np.isfinite(init).all():
            raise InputError(f"init must be finite and of shape {(k, points.shape[1])}; its shape is {init.shape}")


def _run(
    points: Floats, mean: NDArray[np.float64], centres: NDArray[np.float64], size: int, max_iter: int, tolerance: float
) -> tuple[float, Integers, NDArray[np.float64], int]:
    """Return inertia, labels, centres and the number of assignment steps of one run."""
    k = len(centres)
    sizes = np.full(k, size)
    costs = np.empty((k, len(points)), points.dtype)
    prices = np.zeros(k)
    labels = np.full(len(points), -1)
    sums = np.zeros_like(centres)
    for step in range(1, max_iter + 1):  # noqa: B007 (the number of steps is returned)
        before = labels
        labels, prices = assign(_costs(points, mean, centres, costs), sizes, prices)
        changed = np.flatnonzero(labels != before)
        if not len(changed):
            break
        if 2 * len(changed) < len(points):
            part = points[changed]
            sums += _sums(part, labels[changed], k) - _sums(part, before[changed], k)
        else:
            sums = _sums(points, labels, k)
        counts = np.bincount(labels, minlength=k)[:, None]
        moved = np.where(counts > 0, sums / np.maximum(counts, 1), centres)
        shift = float(((moved - centres) ** 2).sum())
        centres = moved
        if shift <= tolerance:
            break
    return _inertia(points, centres, labels), labels, centres, step


def _costs(
    points: Floats, mean: NDArray[np.float64], centres: NDArray[np.float64], out: Floats | None = None
) -> Floats:
    """Return ``(k, n)`` squared distances less ``|x - mean|^2``, which decides nothing.

    Centres are taken from the mean, so that points far from the origin lose no digits: with ``m = centre - mean``,
    ``|x - centre|^2 - |x - mean|^2 = |m|^2 - 2 (x - mean) m``.
    """
    out = np.empty((len(centres), len(points)), points.dtype) if out is None else out
    moved = centres - mean
    offset = ((moved**2).sum(axis=1) + 2 * moved @ mean).astype(points.dtype)
    factors = np.ascontiguousarray(-2 * moved.T, dtype=points.dtype)
    for start in range(0, len(points), _CHUNK):
        part = slice(start, start + _CHUNK)
        np.add((points[part] @ factors).T, offset[:, None], out=out[:, part])
    return out


def _sums(points: Floats, labels: Integers, k: int) -> NDArray[np.float64]:
    """Return the ``(k, d)`` sums of the points by label, in float64."""
    sums = np.zeros((k, points.shape[1]))
    for start in range(0, len(points), _CHUNK):
        part = points[start : start + _CHUNK].astype(np.float64)
        ones, ends = np.ones(len(part)), np.arange(len(part) + 1)
        sums += csc_matrix((ones, labels[start : start + _CHUNK], ends), shape=(k, len(part))) @ part
    return sums


def _inertia(points: Floats, centres: NDArray[np.float64], labels: Integers) -> float:
    """Return the sum of squared distances of points to their centres."""
    total = 0.0
    rounded = centres.astype(points.dtype)
    for start in range(0, len(points), _CHUNK):
        part = points[start : start + _CHUNK] - rounded[labels[start : start + _CHUNK]]
        total += float(np.einsum("ij,ij->i", part, part).sum(dtype=np.float64))
    return total
