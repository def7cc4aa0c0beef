"""The cheapest assignment of points to clusters in which every cluster gets at least its size: exact.

The bound makes the assignment a minimum-cost flow. Its dual has one price a cluster,

    max_{p >= 0}  sum_i min_k (c_ki - p_k) + sum_k size_k p_k,

so every point goes to the cluster of the least reduced cost ``c_ki - p_k``. Each price is given room to move in; only
the points that lie so close to a boundary that this could change their cluster (the window) are looked at. There,
`balance` brings the prices near the optimum and `repair` finishes by successive shortest paths. When a price needs more
room, a new window is cut around the prices reached.
"""

import numpy as np
from numpy.typing import NDArray

from eotune.clustering.price_steps import balance
from eotune.clustering.reduced_costs import best_two
from eotune.clustering.shortest_paths import imbalance, repair
from eotune.core.errors import InputError

Floats = NDArray[np.floating]

_SAMPLE = 16384  # points that rooms are estimated from; fewer than these all enter the window
_FEW = 2048  # points that shortest paths alone assign in no time
_GROWTH = 16  # of the room of a price that needs more
_WINDOWS = 8  # after as many, all points enter


def assign_with_minimum_sizes(
    costs: Floats, sizes: NDArray[np.integer], prices: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the cheapest assignment that gives every cluster at least its size, and the prices that prove it.

    Each point goes to a cluster of least ``costs[k, i] - prices[k]``; a cluster above its size has price 0.

    Args:
        costs: ``(k, n)`` float32 or float64, finite, any sign; row k holds the cost of every point in cluster k.
        sizes: ``(k,)`` integers, at least 0, at most n together.
        prices: ``(k,)`` a guess of the prices, such as those of similar costs. It saves time, nothing else.

    Returns:
        ``(n,)`` labels and ``(k,)`` prices, at least 0.

    Raises:
        InputError: Shapes disagree, a cost is not finite, or the sizes cannot be met.

    Example:
        >>> costs = np.array([[0.0, 0.0, 0.0], [9.0, 4.0, 5.0]])
        >>> labels, prices = assign_with_minimum_sizes(costs, np.array([1, 1]))
        >>> labels.tolist(), prices.tolist()
        ([0, 1, 0], [0.0, 4.0])
    """
    costs, sizes = np.asarray(costs), np.asarray(sizes)
    if sizes.dtype.kind not in "iu":
        raise InputError(f"sizes must be whole numbers; got {sizes.dtype}")
    if costs.ndim != 2 or sizes.shape != costs.shape[:1] or not len(costs):
        raise InputError(f"costs must be (k, n) and sizes (k,); got {costs.shape} and {sizes.shape}")
    if costs.dtype not in (np.float32, np.float64):
        costs = costs.astype(np.float64)
    if not np.isfinite(costs.sum(dtype=np.float64)) and not np.isfinite(costs).all():
        raise InputError("costs hold NaN or infinity", remedy="remove those points")
    if sizes.min() < 0 or sizes.sum() > costs.shape[1]:
        raise InputError(
            f"{len(sizes)} clusters of at least {sizes.min()} to {sizes.max()} points need {sizes.sum()} points; "
            f"there are {costs.shape[1]}",
            remedy="lower the sizes or the number of clusters",
        )
    guess = None if prices is None else np.asarray(prices, dtype=np.float64)
    return assign(costs, sizes.astype(np.int64), guess)


def assign(
    costs: Floats, sizes: NDArray[np.int64], prices: NDArray[np.float64] | None = None, *, sample: int = _SAMPLE
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Do as `assign_with_minimum_sizes` without checks; ``sample`` is the number of points for estimates."""
    k, n = costs.shape
    prices = np.zeros(k) if prices is None else np.maximum(prices, 0.0)
    labels, excess = _nearest(costs, sizes, prices)
    if np.abs(excess).sum() > n / 64 and n > _FEW:  # far off, so start anew from a sample, which does likewise
        part = np.ascontiguousarray(costs[:, ::4])
        prices = assign(part, sizes * part.shape[1] // n, sample=sample)[1]
        labels, excess = _nearest(costs, sizes, prices)
    down, up = np.zeros(k), np.zeros(k)
    for cut in range(_WINDOWS + 1):
        if not excess.any():
            break
        if n <= sample or cut == _WINDOWS:
            near, down, up = np.arange(n), np.full(k, np.inf), np.full(k, np.inf)
        else:
            room = _room(np.ascontiguousarray(costs[:, :: n // sample]), prices, excess / n)
            down, up = np.maximum(room[0], down), np.maximum(room[1], up)
            near = _window(costs, prices, labels, down, up)
        inside = costs.take(near, axis=1).astype(np.float64)
        fixed = np.bincount(labels, minlength=k) - np.bincount(labels[near], minlength=k)
        lower, upper = prices - down, prices + up
        prices = balance(inside, fixed, sizes, prices, lower, upper)
        low, high = (prices <= lower) & (prices > 0), prices >= upper
        if low.any() or high.any():
            labels[near] = best_two(inside, prices)[0]
        else:
            labels[near], prices, low, high = repair(inside, fixed, sizes, prices, lower, upper)
        excess = imbalance(np.bincount(labels, minlength=k), sizes, prices)
        down, up = np.where(low, _GROWTH * down, down), np.where(high, _GROWTH * up, up)
    return labels.astype(np.int64), prices


def _nearest(
    costs: Floats, sizes: NDArray[np.int64], prices: NDArray[np.float64]
) -> tuple[NDArray[np.unsignedinteger], NDArray[np.int64]]:
    """Return the cluster of the least reduced cost of every point, and the imbalance that this leaves."""
    labels = best_two(costs, prices)[0]
    return labels, imbalance(np.bincount(labels, minlength=len(sizes)), sizes, prices)


def _room(
    part: Floats, prices: NDArray[np.float64], shares: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how far each price may fall and rise: twice as far as balance takes in a sample, and a little.

    Args:
        part: ``(k, m)`` costs of a sample.
        prices: ``(k,)`` prices.
        shares: ``(k,)`` share of all points that a cluster has too many, or too few where negative.
    """
    k, m = part.shape
    labels, best, second = best_two(part, prices)
    down, up = np.zeros(k), np.zeros(k)
    for cluster in range(k):
        own = labels == cluster
        leaving = (second - best)[own]
        joining = (part[cluster] - prices[cluster].astype(part.dtype) - best)[~own]
        for room, distances, share in ((down, leaving, shares[cluster]), (up, joining, -shares[cluster])):
            rank = min(int(m * (1 / (64 * k) + 2 * max(share, 0))), len(distances) - 1)
            if rank >= 0:
                room[cluster] = np.partition(distances, rank)[rank]
    return down, up


def _window(
    costs: Floats,
    prices: NDArray[np.float64],
    labels: NDArray[np.unsignedinteger],
    down: NDArray[np.float64],
    up: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Return the points whose label changes for some prices within these limits.

    A point in u stays for certain where ``c_v - p_v - up_v >= c_u - p_u + down_u`` for every other v.
    """
    winners, best, second = best_two(costs, prices + up)
    # Reduced costs carry the rounding of the costs' type; within the window everything is computed in float64.
    rounding = 8 * np.finfo(costs.dtype).eps * (max(costs.max(), -costs.min()) + np.max(prices + up))
    second -= best
    return np.flatnonzero((winners != labels) | (second <= (down + up + rounding).astype(costs.dtype)[labels]))
