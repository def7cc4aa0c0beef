"""Nearest to a target set: every target in turn takes its most similar sample left (RDS+, arXiv 2503.01807)."""

from collections.abc import Iterator
from typing import cast

import numpy as np
from numpy.typing import NDArray

from eotune.core.errors import InputError
from eotune.selection.result import Columns, SelectionResult
from eotune.selection.strategies import base
from eotune.selection.vectors import BLOCK, Floats, Integers, Vectors, blocks, read_units

_SIMILARITIES = 2**23  # in memory at a time
_LISTED = 2**24  # rows in all lists together, unless twice as many as are to be taken are more


class NearestConfig(base.StrategyConfig):
    """No settings. What matters is whose embeddings are compared; the source's are a language model's, weighted."""


class Strategy(base.Strategy):
    """Score: the largest cosine to a target. A round gives every target one sample, in the order of the targets."""

    Config = NearestConfig

    @property
    def needs(self) -> frozenset[str]:
        """Embeddings of samples and of targets."""
        return frozenset({"text_embeddings", "targets"})

    def _choose(self, columns: Columns, total: int, seed: int) -> SelectionResult:  # noqa: ARG002 - nothing is drawn
        vectors, targets = cast("Vectors", columns.text_embeddings), np.asarray(columns.targets)
        if targets.ndim != 2 or not len(targets) or targets.shape[1] != vectors.shape[1]:
            raise InputError(f"targets must be (m, {vectors.shape[1]}) with m at least 1; got {targets.shape}")
        # Equal targets share a list: they take from it in turn, as each would from one of its own.
        targets, turns, times = np.unique(
            read_units(targets, slice(None)), axis=0, return_inverse=True, return_counts=True
        )
        turns = turns.reshape(-1)  # flat in all releases of NumPy but 2.0
        rows = np.flatnonzero(columns.available)
        total = min(total, len(rows))
        score = np.full(len(columns.ranks), np.nan, np.float32)
        for part, similarities in _similarities(vectors, rows, targets):
            score[part] = similarities.max(axis=0)
        kept = np.zeros(len(columns.ranks), bool)
        taken, spare = 0, 2
        while taken < total:  # lists that cannot run out would not fit into memory: they are made anew where one does
            left = total - taken
            depths = np.minimum(left, spare * times * -(-left // len(turns)))
            lists = _lists(vectors, rows[~kept[rows]], targets, columns.ranks, depths)
            taken = _take_turns(lists, turns, kept, taken, total)
            spare = min(2 * spare, max(2, _LISTED // left))
        return base.explained(columns, kept, score)


def _similarities(vectors: Vectors, rows: Integers, targets: Floats) -> Iterator[tuple[Integers, Floats]]:
    """Yield rows and their ``(m, b)`` cosines to the targets."""
    for part in blocks(len(rows), max(1, min(BLOCK, _SIMILARITIES // len(targets)))):
        yield rows[part], targets @ read_units(vectors, rows[part]).T


def _lists(vectors: Vectors, rows: Integers, targets: Floats, ranks: Integers, depths: Integers) -> list[Integers]:
    """Return every target's most similar rows, as many as its depth, best first, of equal ones the first id."""
    best = [_Best(ranks, int(depth)) for depth in depths]
    for part, similarities in _similarities(vectors, rows, targets):
        for one, row in zip(best, similarities, strict=True):
            one.add(part, row)
    return [one.rows() for one in best]


class _Best:
    """The rows most similar to a target among those seen so far.

    Args:
        ranks: Which of equally similar rows goes first.
        depth: How many are kept; no more than about twice as many are held.
    """

    def __init__(self, ranks: Integers, depth: int) -> None:
        self._ranks, self._depth = ranks, depth
        self._limit = np.float32(-np.inf)  # the least that can be among them
        self._held: list[tuple[Integers, Floats]] = []
        self._count = 0

    def add(self, rows: Integers, similarities: Floats) -> None:
        """Take those of some rows in that may be among the best."""
        which = np.flatnonzero(similarities >= self._limit)
        if len(which):
            self._held.append((rows[which], similarities[which]))
            self._count += len(which)
        if self._count > 2 * self._depth:
            self._cut()

    def rows(self) -> Integers:
        """Return them, the most similar first."""
        self._cut()
        return self._held[0][0]

    def _cut(self) -> None:
        rows, values = (np.concatenate(column) for column in zip(*self._held, strict=True))
        order = np.lexsort((self._ranks[rows], -values))[: self._depth]
        self._held, self._count = [(rows[order], values[order])], len(order)
        if len(order) == self._depth:
            self._limit = values[order[-1]]


def _take_turns(lists: list[Integers], turns: Integers, kept: NDArray[np.bool_], taken: int, total: int) -> int:
    """Mark in ``kept`` what the targets take from turn ``taken`` on; return the first turn that finds its list empty.

    Args:
        lists: Of every different target.
        turns: ``(m,)`` whose turn it is, again and again.
        kept: ``(n,)`` what was taken before.
        taken: How many turns are over.
        total: How many there are.
    """
    ways = [iter(rows.data) for rows in lists]
    order = turns.tolist()
    while taken < total:
        row = next((row for row in ways[order[taken % len(order)]] if not kept[row]), None)
        if row is None:
            break
        kept[row] = True
        taken += 1
    return taken
