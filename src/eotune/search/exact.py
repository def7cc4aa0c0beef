"""Exact search: the k best of many vectors, in one pass over those that a filter lets through."""

from collections.abc import Sequence

import numpy as np

# A block of 512 numbers is 2 MiB as float32 and stays in a core's cache between its conversion and its product; at
# 256 rows calls cost as much as the work, at 8,192 memory does.
_ROWS = 1024
_GATHER = 0.25  # where a filter leaves a smaller share of a block, its rows are gathered


def top_k(
    vectors: Sequence[np.ndarray],
    queries: np.ndarray,
    k: int,
    *,
    keep: Sequence[np.ndarray | None] | None = None,
    minimum: float = -np.inf,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the rows with the greatest inner products, exactly: products in float32 of the vectors as they are stored.

    Products on CPUs are slow in float16 and the vectors too many for float32, so that block after block is converted
    and multiplied while it is in the cache.

    Args:
        vectors: Arrays ``(n_i, d)`` of float16 or float32, memory maps too; rows are numbered through all of them.
        queries: float32 ``(q, d)``.
        k: How many.
        keep: Of each array, ``(n_i,)`` bool: the rows that may be returned; None for all.
        minimum: Rows with a smaller product are left out.

    Returns:
        For each query its rows, int64 ``(m,)`` with m <= k, best first, the lower row first among equals; and their
        products, float32 ``(m,)``.

    Example:
        >>> (rows, scores), = top_k([np.eye(3, dtype=np.float16)], np.float32([[0, 2, 1]]), 2)
        >>> rows.tolist(), scores.tolist()
        ([1, 2], [2.0, 1.0])
    """
    import torch

    wanted = torch.from_numpy(np.ascontiguousarray(queries, dtype=np.float32))
    best = [_Best(k, minimum) for _ in wanted]
    buffer = torch.empty(_ROWS, wanted.shape[1])
    first = 0
    for number, array in enumerate(vectors):
        chosen = None if keep is None else keep[number]
        stored = torch.from_numpy(array)
        for start in range(0, len(array), _ROWS):
            rows = None
            block = stored[start : start + _ROWS]
            if chosen is not None:
                rows = np.flatnonzero(chosen[start : start + _ROWS])
                if not len(rows):
                    continue
                if len(rows) < _GATHER * len(block):
                    block = block[torch.from_numpy(rows)]
            products = _products(block, wanted, buffer)
            if rows is not None and len(rows) < products.shape[1]:
                products = products[:, rows]
            for one, scores in zip(best, products, strict=True):
                one.add(scores, first + start, rows)
        first += len(array)
    return [one.result() for one in best]


def _products(block, wanted, buffer):  # type: ignore[no-untyped-def]  # torch's names are not imported at start-up
    """Return float32 ``(q, n)``."""
    import torch

    converted = buffer[: len(block)].copy_(block)
    if len(wanted) == 1:
        return torch.mv(converted, wanted[0])[None].numpy()
    return (wanted @ converted.T).numpy()


class _Best:
    """The k best of what has been seen, rows coming in ascending order."""

    def __init__(self, k: int, minimum: float) -> None:
        self.k = k
        self.minimum = minimum
        self.threshold = -np.inf  # the k-th best: a later row has to be above it
        self.rows = np.zeros(0, np.int64)
        self.scores = np.zeros(0, np.float32)

    def add(self, scores: np.ndarray, first: int, rows: np.ndarray | None) -> None:
        """Take in scores of the rows from ``first`` on, or of ``first + rows``."""
        better = np.flatnonzero((scores > self.threshold) & (scores >= self.minimum))
        if not len(better):
            return
        found = np.concatenate([self.scores, scores[better]])
        places = np.concatenate([self.rows, first + (better if rows is None else rows[better])])
        order = np.lexsort((places, -found))[: self.k]
        self.rows, self.scores = places[order], found[order]
        if len(order) == self.k:
            self.threshold = float(self.scores[-1])

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and scores."""
        return self.rows, self.scores
