"""Newton steps on the prices of clusters: from far off to a few misplaced points."""

import numpy as np
from numpy.typing import NDArray

from eotune.clustering.shortest_paths import imbalance

_ROUNDS = 30
_HALVINGS = 6
_TINY = 1e-30  # in place of 0, where it would divide


def balance(
    costs: NDArray[np.float64],
    fixed: NDArray[np.int64],
    sizes: NDArray[np.int64],
    prices: NDArray[np.float64],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return prices between ``lower`` and ``upper`` with a larger dual value, near the optimum if it lies there.

    The dual's gradient is ``sizes - counts``. Its second derivative is minus the Laplacian of the graph whose edge
    (k, l) weighs the density of points on the boundary of clusters k and l, which is estimated from the points nearest
    to it. The counts are steps, so this ends near the optimum and not at it; `shortest_paths.repair` does the rest.

    Args:
        costs: ``(a, k)`` of the points in the window.
        fixed: ``(k,)`` points outside the window by cluster.
        sizes: ``(k,)`` least sizes.
        prices: ``(k,)`` prices to begin with.
        lower: ``(k,)`` least prices for which the window holds every point that may move.
        upper: ``(k,)`` largest such prices.
    """
    k = costs.shape[1]
    trust, least, slow = 2.0, np.inf, 0
    scratch = np.empty_like(costs)
    best, second, gaps, value = _state(costs, fixed, sizes, prices, scratch)
    for _ in range(_ROUNDS):
        residual = -imbalance(fixed + np.bincount(best, minlength=k), sizes, prices)
        wrong = int(np.abs(residual).sum())
        slow = slow + 1 if wrong > 0.75 * least else 0
        least = min(wrong, least)
        if wrong <= 2 * k or slow == 2:  # moving the last points one by one is faster
            break
        free = (prices > 0) | (residual > 0)
        laplacian, reach = _laplacian(best, second, gaps, k, max(4 * wrong, 64 * k))
        step = np.zeros(k)
        step[free] = np.linalg.solve(laplacian[np.ix_(free, free)], residual[free].astype(np.float64))
        for _ in range(_HALVINGS):
            # The densities say nothing beyond the points that they were counted from, so a step ends not far from them.
            trial = np.maximum(prices + np.clip(step, -trust * reach, trust * reach), 0)
            trial = np.clip(trial, lower, upper)
            state = _state(costs, fixed, sizes, trial, scratch)
            if state[3] > value:
                break
            step, trust = step / 2, trust / 2
        else:
            break
        prices, (best, second, gaps, value), trust = trial, state, 2 * trust
    return prices


def _state(
    costs: NDArray[np.float64],
    fixed: NDArray[np.int64],
    sizes: NDArray[np.int64],
    prices: NDArray[np.float64],
    scratch: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], float]:
    """Return the best and second-best cluster of every point, the gap between them, and the dual value."""
    reduced = np.subtract(costs, prices, out=scratch)
    rows = np.arange(len(reduced))
    best = reduced.argmin(axis=1)
    least = reduced[rows, best]
    reduced[rows, best] = np.inf
    second = reduced.argmin(axis=1)
    value = float(least.sum() + (sizes - fixed) @ prices)
    return best, second, reduced[rows, second] - least, value


def _laplacian(
    best: NDArray[np.int64], second: NDArray[np.int64], gaps: NDArray[np.float64], k: int, neighbours: int
) -> tuple[NDArray[np.float64], float]:
    """Return the Laplacian of the boundaries' densities, and the largest of the gaps that it was estimated from."""
    neighbours = min(neighbours, len(gaps) - 1)
    reach = max(float(np.partition(gaps, neighbours)[neighbours]), _TINY)
    near = gaps <= reach
    pairs = np.bincount(best[near] * k + second[near], minlength=k * k).reshape(k, k)
    # Gaps of both signs, of k against l and of l against k, fill an interval of length 2 reach.
    density = (pairs + pairs.T) / (2 * reach)
    laplacian: NDArray[np.float64] = np.diag(density.sum(axis=1)) - density
    # A cluster without neighbours, or all clusters priced together, would make it singular.
    return laplacian + np.eye(k) * max(1e-6 * float(laplacian.max()), _TINY), reach
