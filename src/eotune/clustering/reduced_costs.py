"""The least and the second least of costs less prices, the inner loop of assignments with least sizes."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

_CHUNK = 16384  # points whose rows of a few clusters stay in the second-level cache


def best_two(costs: Floats, prices: NDArray[np.float64]) -> tuple[NDArray[np.unsignedinteger], Floats, Floats]:
    """Return the cluster of the least reduced cost of every point, that cost, and the second least.

    Row by row in chunks: NumPy's argmin along either axis takes twice as long and gives no second best.

    Args:
        costs: ``(k, n)``.
        prices: ``(k,)``, rounded to the type of the costs.
    """
    k, n = costs.shape
    rows = prices.astype(costs.dtype)
    labels = np.zeros(n, np.min_scalar_type(k - 1))
    bests, seconds = np.empty(n, costs.dtype), np.empty(n, costs.dtype)
    for start in range(0, n, _CHUNK):
        part, label = costs[:, start : start + _CHUNK], labels[start : start + _CHUNK]
        best, second = bests[start : start + _CHUNK], seconds[start : start + _CHUNK]
        np.subtract(part[0], rows[0], out=best)
        second.fill(np.inf)
        row, worse = np.empty_like(best), np.empty_like(best)
        less, winner = np.empty(best.shape, bool), np.empty_like(label)
        for cluster in range(1, k):
            np.subtract(part[cluster], rows[cluster], out=row)
            np.less(row, best, out=less)
            # Clusters come in rising order, so the larger number is the later winner: no masked write is needed.
            np.multiply(less, labels.dtype.type(cluster), out=winner)
            np.maximum(label, winner, out=label)
            np.maximum(best, row, out=worse)
            np.minimum(second, worse, out=second)
            np.minimum(best, row, out=best)
    return labels, bests, seconds


def rounding(best: Floats, second: Floats, prices: NDArray[np.float64]) -> float:
    """Return by how much the difference of the two least reduced costs may be off in their type."""
    largest = max(float(second.max()), -float(best.min())) + 2 * float(np.max(prices))
    return 8 * float(np.finfo(best.dtype).eps) * largest
