"""Near duplicates inside clusters: of samples as similar as the threshold or more, the first stays.

In the order of ids, a sample is dropped where its cosine similarity to one that stays is at least the threshold, so
every dropped sample has one that stands for it, and no two that stay are duplicates. The answer is that of comparing
all pairs; three things make it fast:

- a block of rows is compared with those that stay alone, so that thousands of templated texts cost one comparison each;
- first comes a lower bound of the distance from a few principal directions P and the length of what is outside them,
  ``|x - y|^2 >= |Px - Py|^2 + (|Rx| - |Ry|)^2``. Only pairs that it lets through are compared in full;
- rows are binned by the same directions, and bins farther apart than the threshold allows never meet.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eotune.core.errors import InputError
from eotune.core.seeds import generator
from eotune.selection.vectors import Floats, Integers, Vectors, blocks, members, read_units

_BLOCK = 1024  # rows that are decided at a time
_DIRECTIONS = 28  # with the rest's length and two numbers for the products, a row takes 31 floats
_SAMPLE = 4096  # rows that the directions are computed from
_BIN = 2048  # rows of a bin, where that makes no more bins than
_BINS = 128
_PAIRS = 16_384  # candidate pairs that are compared in full at a time
_SLACK = 1e-5  # what rounding may take from a bound
_ROUNDING = 1e-6  # and from a cosine


def exact_duplicates(keys: Iterable[Hashable], ranks: Integers) -> Integers:
    """Return for every sample the row of the first one with the same key, or -1 where it is the first itself.

    Args:
        keys: n of them, such as hashes of text and pixels; None is the same as nothing.
        ranks: ``(n,)`` order of the ids.

    Example:
        >>> exact_duplicates(["a", "b", "a", None, None], np.array([2, 1, 0, 3, 4])).tolist()
        [2, -1, -1, -1, -1]
    """
    first: dict[Hashable, int] = {}
    keys = list(keys)
    for row, key in enumerate(keys):
        if key is not None and (key not in first or ranks[row] < ranks[first[key]]):
            first[key] = row
    return np.array([-1 if key is None or first[key] == row else first[key] for row, key in enumerate(keys)], np.int64)


def near_duplicates(
    vectors: Vectors,
    clusters: NDArray[np.integer],
    ranks: Integers,
    *,
    threshold: float,
    which: NDArray[np.bool_] | None = None,
) -> Integers:
    """Return for every sample the row of the one that stands for it, or -1 where it stays.

    Of several that it duplicates, the first in the order of ids stands for it. Memory: about 150 bytes for each row of
    the largest cluster, and some blocks.

    Args:
        vectors: ``(n, d)`` embeddings of any length; similarity is the cosine. An embedding of zeros has no duplicate.
        clusters: ``(n,)`` only samples of one cluster are compared; those below 0 are left alone.
        ranks: ``(n,)`` order of the ids (`eotune.selection.order.id_ranks`).
        threshold: Least cosine similarity of duplicates, above 0 and at most 1, to within 1e-6.
        which: ``(n,)`` which samples count; the others are left alone, and stand for none.

    Raises:
        InputError: The threshold is outside its range, or an embedding holds NaN.

    Example:
        >>> vectors = np.array([[1, 0], [0.99, 0.1], [0, 1]])
        >>> near_duplicates(vectors, np.zeros(3, int), np.arange(3), threshold=0.95).tolist()
        [-1, 0, -1]
    """
    if not 0 < threshold <= 1:
        raise InputError(f"the similarity of near duplicates must be above 0 and at most 1; got {threshold}")
    stand_in = np.full(vectors.shape[0], -1, np.int64)
    for _, rows in members(clusters, which):
        _in_cluster(vectors, rows, ranks, threshold, stand_in)
    return stand_in


def _in_cluster(vectors: Vectors, rows: Integers, ranks: Integers, threshold: float, stand_in: Integers) -> None:
    """Fill ``stand_in`` for the rows of one cluster."""
    rows = rows[np.argsort(ranks[rows])]
    stay = _Stay(vectors, rows, threshold) if len(rows) > _BLOCK else None
    for part in blocks(len(rows), _BLOCK):
        block = _units(vectors, rows[part])
        places = np.arange(part.start, part.stop)
        found = np.full(len(block), -1)
        if stay is not None and part.start:
            found = stay.first_neighbours(block, places)
        open_ = np.flatnonzero(found < 0)
        within = _greedy(block[open_], threshold)
        found[open_[within >= 0]] = places[open_[within[within >= 0]]]
        stand_in[rows[part][found >= 0]] = rows[found[found >= 0]]
        if stay is not None:
            stay.add(places[found < 0])


def _units(vectors: Vectors, rows: Integers) -> Floats:
    """Read rows by ascending number, which a disk likes better, and return them in the order asked for."""
    order = np.argsort(rows)
    block = np.empty((len(rows), vectors.shape[1]), np.float32)
    block[order] = read_units(vectors, rows[order])
    return block


def _greedy(units: Floats, threshold: float) -> Integers:
    """Return for every row the first earlier one that stays and is a duplicate of it, or -1."""
    near = np.triu(units @ units.T >= threshold - _ROUNDING, k=1)
    found = np.full(len(units), -1, np.int64)
    for row in np.flatnonzero(near.any(axis=1)):
        if found[row] < 0:
            later = np.flatnonzero(near[row])
            found[later[found[later] < 0]] = row
    return found


class _Stay:
    """The samples of a large cluster that stay, by bin, and the search for neighbours among them.

    ``places`` number the cluster's rows in the order of ids. A distance bound is one product: with ``a`` the projected
    row, ``|a - b|^2 <= r^2`` means ``[a, -|a|^2 / 2, 1] [b, 1, -|b|^2 / 2] >= -r^2 / 2``, and r^2 / 2 = 1 - threshold.
    """

    def __init__(self, vectors: Vectors, rows: Integers, threshold: float) -> None:
        self._vectors, self._rows, self._threshold = vectors, rows, threshold
        directions = _directions(vectors, rows)
        projected = np.concatenate([directions.project(_units(vectors, rows[part])) for part in blocks(len(rows))])
        self._bins = _binned(projected)
        self._reach = _reach(projected, self._bins, 2 * (1 - threshold) + 4 * _SLACK)
        half = -np.einsum("ij,ij->i", projected, projected)[:, None] / 2
        self._asked = np.concatenate([projected, half, np.ones_like(half)], axis=1)
        # Every bin has room for all of its rows, so that those that stay lie side by side.
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(self._bins))])
        self._counts = np.zeros(len(self._starts) - 1, np.int64)
        self._kept = np.empty_like(self._asked)
        self._places = np.empty(len(rows), np.int64)

    def add(self, places: Integers) -> None:
        """Let these rows stay."""
        order = places[np.argsort(self._bins[places], kind="stable")]
        numbers, firsts, counts = np.unique(self._bins[order], return_index=True, return_counts=True)
        for number, first, count in zip(numbers, firsts, counts, strict=True):
            at = self._starts[number] + self._counts[number]
            added = order[first : first + count]
            self._kept[at : at + count] = self._asked[added]
            # The rows' own codes end in (-|a|^2 / 2, 1); what they are compared with has these two the other way round.
            self._kept[at : at + count, -2:] = self._asked[added][:, :-3:-1]
            self._places[at : at + count] = added
            self._counts[number] += count

    def first_neighbours(self, units: Floats, places: Integers) -> Integers:
        """Return for every row the first place that stays and is a duplicate of it, or -1."""
        none = len(self._rows)
        found = np.full(len(units), none)
        waiting: list[tuple[Integers, Integers]] = []
        for number in np.unique(self._bins[places]):
            asking = np.flatnonzero(self._bins[places] == number)
            codes = self._asked[places[asking]]
            for other in self._reach[number]:
                part = slice(self._starts[other], self._starts[other] + self._counts[other])
                near = np.flatnonzero((codes @ self._kept[part].T).ravel() >= self._threshold - 1 - _SLACK)
                if len(near):
                    who, whom = np.divmod(near, self._counts[other])
                    waiting.append((asking[who], self._places[part][whom]))
                if sum(len(who) for who, _ in waiting) > _PAIRS:
                    self._compare(units, waiting, found)
        self._compare(units, waiting, found)
        found[found == none] = -1
        return found

    def _compare(self, units: Floats, waiting: list[tuple[Integers, Integers]], found: Integers) -> None:
        """Compare candidate pairs in full; put the first place into ``found``."""
        who = np.concatenate([np.empty(0, np.int64), *(pair[0] for pair in waiting)])
        whom = np.concatenate([np.empty(0, np.int64), *(pair[1] for pair in waiting)])
        waiting.clear()
        for part in blocks(len(who), _PAIRS):
            numbers, which = np.unique(whom[part], return_inverse=True)
            others = _units(self._vectors, self._rows[numbers])
            cosines = np.einsum("ij,ij->i", units[who[part]], others[which])
            near = cosines >= self._threshold - _ROUNDING
            np.minimum.at(found, who[part][near], whom[part][near])


@dataclass(frozen=True)
class _Directions:
    """The principal directions of some unit vectors: ``mean`` (d,) and ``axes`` (d, m)."""

    mean: Floats
    axes: Floats

    def project(self, units: Floats) -> Floats:
        """Return ``(n, m + 1)`` coordinates and length of the rest: distances in them are never too large."""
        moved = units - self.mean
        inside = moved @ self.axes
        rest = np.einsum("ij,ij->i", moved, moved) - np.einsum("ij,ij->i", inside, inside)
        return np.concatenate([inside, np.sqrt(np.maximum(rest, 0))[:, None]], axis=1)


def _directions(vectors: Vectors, rows: Integers) -> _Directions:
    chosen = np.sort(generator("directions").choice(rows, min(_SAMPLE, len(rows)), replace=False))
    units = read_units(vectors, chosen)
    mean = units.mean(axis=0)
    axes = np.linalg.eigh(np.atleast_2d(np.cov(units, rowvar=False)))[1][:, ::-1][:, :_DIRECTIONS]
    return _Directions(mean, np.ascontiguousarray(axes, dtype=np.float32))


def _binned(projected: Floats) -> Integers:
    """Return every row's bin: halves at the median of the widest direction, again and again."""
    size = max(_BIN, -(-len(projected) // _BINS))
    bins = np.empty(len(projected), np.int64)
    open_, done = [np.arange(len(projected))], 0
    while open_:
        rows = open_.pop()
        if len(rows) <= size:
            bins[rows] = done
            done += 1
            continue
        widest = projected[rows[:: max(1, len(rows) // 1000)]].std(axis=0).argmax()
        order = np.argpartition(projected[rows, widest], len(rows) // 2)
        open_ += [rows[order[: len(rows) // 2]], rows[order[len(rows) // 2 :]]]
    return bins


def _reach(projected: Floats, bins: Integers, squared_distance: float) -> list[Integers]:
    """Return for every bin the bins whose boxes are no farther from its own."""
    boxes = [(projected[rows].min(axis=0), projected[rows].max(axis=0)) for _, rows in members(bins)]
    low, high = (np.array(side) for side in zip(*boxes, strict=True))
    gaps = (np.maximum(0, np.maximum(low - above, below - high)) for below, above in boxes)
    return [np.flatnonzero((gap**2).sum(axis=1) <= squared_distance) for gap in gaps]
