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
from eotune.clustering.reduced_costs import best_two, rounding
from eotune.clustering.shortest_paths import imbalance, repair
from eotune.core.errors import InputError

Floats = NDArray[np.floating]

_SAMPLE = 16384  # points that rooms, and prices far off, are estimated from; fewer than these all enter the window
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
    prices = np.zeros(k) if prices is None or k == 1 else np.maximum(prices, 0.0)
    room = np.zeros(k)
    whole, sampled = np.full(k, np.inf), False
    for cut in range(_WINDOWS + 1):
        labels = best_two(costs, prices)[0]
        counts = np.bincount(labels, minlength=k)
        excess = imbalance(counts, sizes, prices)
        if not excess.any():
            break
        if n <= sample or cut == _WINDOWS:
            near, room = np.arange(n), whole
        else:
            part = np.ascontiguousarray(costs[:, :: n // sample])
            if not sampled and np.abs(excess).sum() > n / 64:  # far off
                sampled = True
                prices = assign(part, sizes * part.shape[1] // n, prices, sample=part.shape[1])[1]
                continue
            room = np.maximum(_room(part, prices, np.abs(excess) / n), room)
            near = _window(costs, prices, labels, room)
            if 2 * len(near) > n and cut < 2:
                # Limits to the prices cost more than the other points. Closer by, a window is cut again.
                prices, room = balance(costs, np.zeros(k, np.int64), sizes, prices, -whole, whole), np.zeros(k)
                continue
        inside = costs if len(near) == n else costs.take(near, axis=1)
        fixed = counts - np.bincount(labels[near], minlength=k)
        lower, upper = prices - room, prices + room
        prices = balance(inside, fixed, sizes, prices, lower, upper)
        moved, prices, tight = repair(inside, fixed, sizes, prices, lower, upper)
        if not tight.any():
            labels[near] = moved
            break
        room = np.where(tight, 16, 1) * room
    return labels.astype(np.int64), prices


def _room(part: Floats, prices: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far each price may move: as far as it takes to gain or lose a share of all points, in a sample.

    Args:
        part: ``(k, m)`` costs of a sample.
        prices: ``(k,)`` prices.
        shares: ``(k,)`` share of all points that a cluster has too many or too few.
    """
    k, m = part.shape
    labels, best, second = best_two(part, prices)
    rows, gaps = prices.astype(part.dtype), second - best
    room = np.empty(k)
    for cluster in range(k):
        rank = int(m * (1 / (256 * k) + 2 * shares[cluster]))
        inside = labels == cluster
        joining, leaving = (part[cluster] - rows[cluster] - best)[~inside], gaps[inside]
        ranks = [(side, min(rank, len(side) - 1)) for side in (joining, leaving) if len(side)]
        room[cluster] = max(np.partition(side, at)[at] for side, at in ranks)
    # Of a cluster that lies apart and has its size, no price moves as a rule.
    return np.where(shares > 0, room, np.minimum(room, 4 * np.median(room)))


def _window(
    costs: Floats, prices: NDArray[np.float64], labels: NDArray[np.unsignedinteger], room: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return the points whose label changes for some prices within ``room`` of these.

    A point in u stays for certain where ``c_v - p_v - room_v >= c_u - p_u + room_u`` for every other v.
    """
    winners, best, second = best_two(costs, prices + room)
    rounded = rounding(best, second, prices + room)
    second -= best
    return np.flatnonzero((winners != labels) | (second <= (2 * room + rounded).astype(costs.dtype)[labels]))
