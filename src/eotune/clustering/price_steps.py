"""Newton steps on the prices of clusters: from far off to a few misplaced points."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eotune.clustering.reduced_costs import best_two
from eotune.clustering.shortest_paths import imbalance

Floats = NDArray[np.floating]
Prices = NDArray[np.float64]

_LEVELS = 12  # of smoothing, each a quarter of the one before
_STEPS = 8
_HALVINGS = 6
_REACH = 12  # widths of smoothing beyond which a cluster has no share of a point: exp(-12) is 6e-6
_TINY = 1e-30  # in place of 0, where it would divide


class Nearest(NamedTuple):
    """Where points go at some prices.

    Attributes:
        labels: ``(a,)`` the cluster of the least reduced cost.
        least: ``(a,)`` that cost.
        gaps: ``(a,)`` how much more the second costs.
    """

    labels: NDArray[np.unsignedinteger]
    least: Floats
    gaps: Floats


def balance(
    costs: Floats, fixed: NDArray[np.int64], sizes: NDArray[np.int64], prices: Prices, lower: Prices, upper: Prices
) -> Prices:
    """Return prices between ``lower`` and ``upper`` near the largest dual value, if it lies there.

    The dual's gradient, ``sizes - counts``, is made of steps. With ``-w log sum_k exp(-(c_ki - p_k) / w)`` in place of
    a point's least cost it is smooth: points within reach of a boundary are shared out, and Newton's steps are those of
    the shares. The width w shrinks from level to level, each beginning where the last one ended, as long as more than a
    few points are misplaced; `shortest_paths.repair` does the rest.

    Args:
        costs: ``(k, a)`` of the points in the window.
        fixed: ``(k,)`` points outside the window by cluster.
        sizes: ``(k,)`` least sizes.
        prices: ``(k,)`` prices to begin with.
        lower: ``(k,)`` least prices for which the window holds every point that may move.
        upper: ``(k,)`` largest such prices.
    """
    k, a = costs.shape
    nearest = _nearest(costs, prices)
    wrong = _wrong(nearest, fixed, sizes, prices)
    neighbours = min(max(8 * wrong, 64 * k), a - 1)
    width = max(float(np.partition(nearest.gaps, neighbours)[neighbours]) / 4, _TINY) if a else _TINY
    for _ in range(_LEVELS):
        if wrong <= 2 * k:  # moving the last points one by one is faster
            break
        here, trust = _smoothed(costs, fixed, sizes, prices, nearest, width), 8.0
        for _ in range(_STEPS):
            free = (prices > 0) | (here.gradient > 0)
            if np.abs(here.gradient[free]).sum() <= k:
                break
            step = np.zeros(k)
            step[free] = np.linalg.solve(here.curvature[np.ix_(free, free)], here.gradient[free])
            for _ in range(_HALVINGS):
                # The shares say nothing of points out of reach, so a step ends not far from them.
                trial = np.maximum(prices + np.clip(step, -trust * width, trust * width), 0)
                trial = np.clip(trial, lower, upper)
                there = _nearest(costs, trial)
                ahead = _smoothed(costs, fixed, sizes, trial, there, width)
                if ahead.value > here.value:
                    break
                step, trust = step / 2, trust / 2
            else:  # a limit, or rounding
                return prices
            prices, nearest, here, trust = trial, there, ahead, 2 * trust
        wrong = _wrong(nearest, fixed, sizes, prices)
        width /= 4
    return prices


def _nearest(costs: Floats, prices: Prices) -> Nearest:
    labels, least, second = best_two(costs, prices)
    return Nearest(labels, least, np.subtract(second, least, out=second))


def _wrong(nearest: Nearest, fixed: NDArray[np.int64], sizes: NDArray[np.int64], prices: Prices) -> int:
    counts = fixed + np.bincount(nearest.labels, minlength=len(sizes))
    return int(np.abs(imbalance(counts, sizes, prices)).sum())


class _Smoothed(NamedTuple):
    """The smoothed dual at some prices: its value, ``(k,)`` gradient, and ``(k, k)`` second derivative times -1."""

    value: float
    gradient: NDArray[np.float64]
    curvature: NDArray[np.float64]


def _smoothed(
    costs: Floats, fixed: NDArray[np.int64], sizes: NDArray[np.int64], prices: Prices, nearest: Nearest, width: float
) -> _Smoothed:
    k = len(costs)
    near = np.flatnonzero(nearest.gaps <= _REACH * width)
    shares = costs.take(near, axis=1)
    shares -= prices.astype(costs.dtype)[:, None]
    np.subtract(nearest.least[near], shares, out=shares)
    shares /= shares.dtype.type(width)
    np.exp(shares, out=shares)
    sums = shares.sum(axis=0)
    shares /= sums
    held = shares.sum(axis=1, dtype=np.float64)
    counts = fixed + np.bincount(nearest.labels, minlength=k) - np.bincount(nearest.labels[near], minlength=k) + held
    value = nearest.least.sum(dtype=np.float64) - width * np.log(sums).sum(dtype=np.float64) + (sizes - fixed) @ prices
    curvature = (np.diag(held) - (shares @ shares.T).astype(np.float64)) / width
    # A cluster without neighbours, or all clusters priced together, would make it singular.
    curvature += np.eye(k) * max(1e-6 * float(curvature.max()), _TINY)
    return _Smoothed(float(value), sizes - counts, curvature)
