"""Exact search: the k best of many vectors, in one pass over those that a filter lets through."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

_ROWS = 131_072  # of a block: waking threads is dear on a busy machine, and few rows are multiplied again
_CONVERTED = 8192  # rows of a block that is converted to float32: 16 MiB of 512 numbers
_GATHER = 0.25  # where a filter leaves a smaller share of a block, its rows are gathered
_FEW = 4  # queries, up to which a pass for each costs less than converting the vectors once for all


def top_k(
    vectors: Sequence[np.ndarray],
    queries: np.ndarray,
    k: int,
    *,
    keep: Sequence[np.ndarray | None] | None = None,
    minimum: float = -np.inf,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the rows with the greatest inner products, exactly: products in float32 of the vectors as they are stored.

    A query is multiplied in float16 with every row, as fast as memory is read. Rows whose products may be among the
    best, by the bound of the rounding error, are multiplied again in float32. Many queries at once are multiplied in
    float32 only.

    Args:
        vectors: Arrays ``(n_i, d)`` of float16 or float32, memory maps too; rows are numbered through all of them.
            Rows are no longer than 1.
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

    wanted = [_Wanted(query, k, minimum) for query in torch.from_numpy(np.array(queries, dtype=np.float32))]
    first = 0
    for number, array in enumerate(vectors):
        chosen = None if keep is None else keep[number]
        stored = torch.from_numpy(array)
        roughly = stored.dtype == torch.half and len(wanted) <= _FEW
        size = _ROWS if roughly else _CONVERTED
        for start in range(0, len(array), size):
            block, rows, mask = stored[start : start + size], None, None
            if chosen is not None:
                mask = chosen[start : start + size]
                rows = np.flatnonzero(mask)
                if len(rows) < _GATHER * len(block):
                    block, mask = block.index_select(0, torch.from_numpy(rows)), None  # a third of indexing's time
                else:
                    rows = None
            if not len(block):
                continue
            if roughly:
                for one in wanted:
                    one.add(*one.near(block, mask), first + start, rows)
            else:
                _add_products(wanted, block.float(), mask, first + start, rows)
        first += len(array)
    return [(one.rows, one.scores) for one in wanted]


class _Wanted:
    """A query and the k best of what has been seen, rows coming in ascending order."""

    def __init__(self, query: "torch.Tensor", k: int, minimum: float) -> None:
        self.query, self.k, self.minimum = query, k, minimum
        self.threshold = -np.inf  # the k-th best: a later row has to be above it
        self.rows = np.zeros(0, np.int64)
        self.scores = np.zeros(0, np.float32)
        self._half = query.half()
        # By Cauchy-Schwarz, of rows no longer than 1 (and 1 % for their own rounding): the query is rounded, the
        # product is, and its sum in float32 is.
        length = float(query.norm())
        rounded = float((query - self._half.float()).norm())
        self._error = 1.01 * (rounded + length * (2.0**-11 + len(query) * 2.0**-24)) + 2.0**-24

    def near(self, block: "torch.Tensor", mask: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return products in float32 of those rows that may be among the best, and which they are."""
        import torch

        products = (block @ self._half).float().numpy()
        if mask is not None:
            products[~mask] = -np.inf
        rows = np.flatnonzero(products >= max(self.threshold, self.minimum, -1e30) - self._error)
        if len(rows) > self.k:
            good = products[rows]
            rows = rows[good >= np.partition(good, -self.k)[-self.k] - 2 * self._error]
        parts = (block[some].float() for some in torch.from_numpy(rows).split(_CONVERTED))
        # Not by BLAS, whose order of summing depends on a row's place: equal vectors have equal products.
        return torch.cat([(part * self.query).sum(dim=1) for part in parts]).numpy(), rows

    def add(self, scores: np.ndarray, places: np.ndarray, first: int, rows: np.ndarray | None) -> None:
        """Take in scores of the rows ``first + places``, or of ``first + rows[places]``."""
        better = (scores > self.threshold) & (scores >= self.minimum)
        if not better.any():
            return
        found = np.concatenate([self.scores, scores[better]])
        places = first + (places if rows is None else rows[places])
        places = np.concatenate([self.rows, places[better]])
        order = np.lexsort((places, -found))[: self.k]
        self.rows, self.scores = places[order], found[order]
        if len(order) == self.k:
            self.threshold = float(self.scores[-1])


def _add_products(
    wanted: list[_Wanted], block: "torch.Tensor", mask: np.ndarray | None, first: int, rows: np.ndarray | None
) -> None:
    import torch

    products = (torch.stack([one.query for one in wanted]) @ block.T).numpy()
    if mask is not None:
        products[:, ~mask] = -np.inf
    for one, scores in zip(wanted, products, strict=True):
        places = np.flatnonzero((scores > one.threshold) & (scores >= one.minimum))
        if len(places):
            one.add(scores[places], places, first, rows)
