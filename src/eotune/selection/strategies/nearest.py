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
        targets = read_units(targets, slice(None))
        rows = np.flatnonzero(columns.available)
        total = min(total, len(rows))
        score = np.full(len(columns.ranks), np.nan, np.float32)
        for part, similarities in _similarities(vectors, rows, targets):
            score[part] = similarities.max(axis=0)
        kept = np.zeros(len(columns.ranks), bool)
        depth = 2 * -(-total // len(targets))
        # Lists as long as all samples would not fit into memory, so they grow until the turns can be taken.
        while total and not _take_turns(_lists(vectors, rows, targets, columns.ranks, depth), kept, total):
            kept[:] = False
            depth *= 2
        return base.explained(columns, kept, score)


def _similarities(vectors: Vectors, rows: Integers, targets: Floats) -> Iterator[tuple[Integers, Floats]]:
    """Yield rows and their ``(m, b)`` cosines to the targets."""
    for part in blocks(len(rows), max(1, min(BLOCK, _SIMILARITIES // len(targets)))):
        yield rows[part], targets @ read_units(vectors, rows[part]).T


def _lists(vectors: Vectors, rows: Integers, targets: Floats, ranks: Integers, depth: int) -> list[Integers]:
    """Return every target's ``depth`` or more most similar rows, best first, of equal ones the first id."""
    limits = np.full(len(targets), -np.inf, np.float32)
    if depth < len(rows):
        best = np.empty((len(targets), 0), np.float32)
        for _, similarities in _similarities(vectors, rows, targets):
            best = np.concatenate([best, similarities], axis=1)
            if best.shape[1] > depth:
                best = np.partition(best, -depth, axis=1)[:, -depth:]
        limits = best.min(axis=1)
    owners: list[Integers] = []
    found: list[Integers] = []
    values: list[NDArray[np.float32]] = []
    for part, similarities in _similarities(vectors, rows, targets):
        owner, place = np.nonzero(similarities >= limits[:, None])
        owners.append(owner)
        found.append(part[place])
        values.append(similarities[owner, place])
    whose, which, value = np.concatenate(owners), np.concatenate(found), np.concatenate(values)
    order = np.lexsort((ranks[which], -value, whose))
    return np.split(which[order], np.searchsorted(whose[order], np.arange(1, len(targets))))


def _take_turns(lists: list[Integers], kept: NDArray[np.bool_], total: int) -> bool:
    """Mark in ``kept`` what the targets take; return whether the lists sufficed."""
    ways = [iter(rows.tolist()) for rows in lists]
    left = total
    while True:
        for way in ways:
            row = next((row for row in way if not kept[row]), None)
            if row is None:
                return False
            kept[row] = True
            left -= 1
            if not left:
                return True
