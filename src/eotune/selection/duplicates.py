"""Near duplicates inside clusters: of samples as similar as the threshold or more, the first stays.

In the order of ids, a sample is dropped where its cosine similarity to one that stays is at least the threshold, so
every dropped sample has one that stands for it, and no two that stay are duplicates. The answer is that of comparing
all pairs; three things make it fast:

- a block of rows is compared with those that stay alone, so that thousands of templated texts cost one comparison each;
- first comes a lower bound of the distance from a few principal directions P and the length of what is outside them,
  ``|x - y|^2 >= |Px - Py|^2 + (|Rx| - |Ry|)^2``. Only pairs that it lets through are compared in full;
- rows lie in cells, and those in cells farther apart than the threshold allows never meet.

In a large cluster that is not enough: what a row is compared with grows with the cluster. From `COMPARED` rows on it is
compared with those of its nearest cells alone, as if the clusters were smaller there (SemDeDup, arXiv 2303.09540, has
50,000 of them, of 8,800 rows on average, half of which come before a row), but without their borders.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eotune.core.errors import InputError
from eotune.core.seeds import generator
from eotune.selection.clusters import nearest_centres
from eotune.selection.vectors import Floats, Integers, Vectors, blocks, members, read_units

COMPARED = 4096  # rows that one is compared with at least, where so many stay
_BLOCK = 1024  # rows that are decided at a time
_DIRECTIONS = 28  # with the rest's length and two numbers for the products, a row takes 31 floats
_SAMPLE = 4096  # rows that the directions are computed from
_CELL = 512  # rows of a cell, where that makes no more cells than
_CELLS = 64
_LARGE_CELL = 4096  # and of a cell where that makes more than those
_HELD = 2**30  # bytes of a cluster's rows that are kept in memory
_PAIRS = 16_384  # candidate pairs that are compared in full at a time
_DENSE = 32  # candidates that are this part of all pairs are many
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
    compared: int | None = COMPARED,
) -> Integers:
    """Return for every sample the row of the one that stands for it, or -1 where it stays.

    Of several that it duplicates, the first in the order of ids stands for it. Memory: about 300 bytes for each row of
    the largest cluster, its rows where they take less than a gibibyte, and some blocks.

    Args:
        vectors: ``(n, d)`` embeddings of any length; similarity is the cosine. An embedding of zeros has no duplicate.
        clusters: ``(n,)`` only samples of one cluster are compared; those below 0 are left alone.
        ranks: ``(n,)`` order of the ids (`eotune.selection.order.id_ranks`).
        threshold: Least cosine similarity of duplicates, above 0 and at most 1, to within 1e-6.
        which: ``(n,)`` which samples count; the others are left alone, and stand for none.
        compared: A row is compared with at least so many of those that stay in its cluster, by nearness of their cells;
            None for all of them, in a time that grows with the cluster.

    Raises:
        InputError: The threshold is outside its range, or an embedding that is compared holds NaN.

    Example:
        >>> vectors = np.array([[1, 0], [0.99, 0.1], [0, 1]])
        >>> near_duplicates(vectors, np.zeros(3, int), np.arange(3), threshold=0.95).tolist()
        [-1, 0, -1]
    """
    if not 0 < threshold <= 1:
        raise InputError(f"the similarity of near duplicates must be above 0 and at most 1; got {threshold}")
    stand_in = np.full(vectors.shape[0], -1, np.int64)
    for _, rows in members(clusters, _in_company(clusters, which)):
        rows = rows[np.argsort(ranks[rows])]
        found = _in_cluster(_Cluster(vectors, rows), threshold, compared)
        stand_in[rows[found >= 0]] = rows[found[found >= 0]]
    return stand_in


def _in_company(clusters: NDArray[np.integer], which: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """Return which samples count and are not alone in their cluster: clusters may be as many as images."""
    counted = clusters >= 0 if which is None else (clusters >= 0) & which
    rows = np.flatnonzero(counted)
    inverse, counts = np.unique(clusters[rows], return_inverse=True, return_counts=True)[1:]
    counted[rows[counts[inverse] == 1]] = False
    return counted


class _Cluster:
    """Rows of one cluster, by their place in the order of ids, as unit vectors; in memory where they fit."""

    def __init__(self, vectors: Vectors, rows: Integers) -> None:
        self._vectors, self._rows = vectors, rows
        self._held: Floats | None = None
        if 4 * len(rows) * vectors.shape[1] <= _HELD:
            held = np.empty((len(rows), vectors.shape[1]), np.float32)
            order = np.argsort(rows)  # a disk likes it better
            for part in blocks(len(rows)):
                held[order[part]] = read_units(vectors, rows[order[part]])
            self._held = held

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, places: slice | Integers) -> Floats:
        if self._held is not None:
            return self._held[places]
        rows = self._rows[places]
        order = np.argsort(rows)
        block = np.empty((len(rows), self._vectors.shape[1]), np.float32)
        block[order] = read_units(self._vectors, rows[order])
        return block


def _in_cluster(units: _Cluster, threshold: float, compared: int | None) -> Integers:
    """Return for every place the one that stands for it, or -1."""
    stand_in = np.full(len(units), -1, np.int64)
    stay = _Stay(units, threshold, compared) if len(units) > _BLOCK else None
    for part in blocks(len(units), _BLOCK):
        block = units[part]
        places = np.arange(part.start, part.stop)
        found = stand_in[part]  # a view
        if stay is not None and part.start:
            found[:] = stay.first_neighbours(block, places)
        open_ = np.flatnonzero(found < 0)
        within = _greedy(block[open_], threshold)
        found[open_[within >= 0]] = places[open_[within[within >= 0]]]
        if stay is not None:
            stay.add(places[(found < 0) & block.any(axis=1)])  # zeros are nobody's duplicate
    return stand_in


def _greedy(units: Floats, threshold: float) -> Integers:
    """Return for every row the first earlier one that stays and is a duplicate of it, or -1."""
    near = np.triu(units @ units.T >= threshold - _ROUNDING, k=1)
    found = np.full(len(units), -1, np.int64)
    for row in np.flatnonzero(near.any(axis=1)):
        if found[row] < 0:
            later = np.flatnonzero(near[row])
            found[later[found[later] < 0]] = row
    return found


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


def _directions(units: Floats) -> _Directions:
    axes = np.linalg.eigh(np.atleast_2d(np.cov(units, rowvar=False)))[1][:, ::-1][:, :_DIRECTIONS]
    return _Directions(units.mean(axis=0), np.ascontiguousarray(axes, dtype=np.float32))


class _Stay:
    """The samples of a large cluster that stay, by cell, and the search for neighbours among them.

    ``places`` number the cluster's rows in the order of ids. A distance bound is one product: with ``a`` the projected
    row, ``|a - b|^2 <= r^2`` means ``[a, -|a|^2 / 2, 1] [b, 1, -|b|^2 / 2] >= -r^2 / 2``, and r^2 / 2 = 1 - threshold.
    """

    def __init__(self, units: _Cluster, threshold: float, compared: int | None) -> None:
        self._units, self._threshold = units, threshold
        n = len(units)
        self._compared = n if compared is None else compared
        sample = units[np.sort(generator("sample").choice(n, min(_SAMPLE, n), replace=False))]
        self._cells = _Cells(sample, n, np.sqrt(2 - 2 * threshold))
        # What tells cells apart is used already, so the directions are those in which the rows of a cell differ.
        directions = _directions(sample - self._cells.centres[nearest_centres(sample, self._cells.centres)[0]])
        projected = np.empty((n, directions.axes.shape[1] + 1), np.float32)
        for part in blocks(n):
            block = units[part]
            projected[part] = directions.project(block)
            self._cells.take(part, block)
        half = -np.einsum("ij,ij->i", projected, projected)[:, None] / 2
        self._asked = np.concatenate([projected, half, np.ones_like(half)], axis=1)
        # Every cell has room for all of its rows, so that those that stay lie side by side.
        sizes = np.bincount(self._cells.labels, minlength=len(self._cells.centres))
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        self._counts = np.zeros(len(sizes), np.int64)
        self._kept = np.empty_like(self._asked)
        self._places = np.empty(n, np.int64)

    def add(self, places: Integers) -> None:
        """Let these rows stay."""
        labels = self._cells.labels[places]
        order = np.argsort(labels, kind="stable")
        places, labels = places[order], labels[order]
        numbers, firsts, counts = np.unique(labels, return_index=True, return_counts=True)
        at = (self._starts[:-1] + self._counts)[labels] + np.arange(len(places)) - np.repeat(firsts, counts)
        self._kept[at] = self._asked[places]
        self._kept[at, -2:] = self._asked[places, :-3:-1]  # what is compared has its last two the other way round
        self._places[at] = places
        self._counts[numbers] += counts

    def first_neighbours(self, units: Floats, places: Integers) -> Integers:
        """Return for every row the first place that stays and is a duplicate of it, or -1."""
        none = len(self._units)
        found = np.full(len(units), none)
        waiting: list[tuple[Integers, Integers]] = []
        count = 0
        reach = self._cells.reach(units, self._cells.labels[places], self._counts, self._compared)
        asked, by_cell = self._asked[places], np.ascontiguousarray(reach.T)
        for cell in np.flatnonzero(by_cell.any(axis=1) & (self._counts > 0)):
            asking = np.flatnonzero(by_cell[cell])
            part = slice(self._starts[cell], self._starts[cell] + self._counts[cell])
            products = asked[asking] @ self._kept[part].T
            near = np.flatnonzero(products >= self._threshold - 1 - _SLACK)
            if len(near) * _DENSE > products.size:  # one product of matrices then costs less than its pairs
                others = self._units[self._places[part]]
                near = np.flatnonzero(units[asking] @ others.T >= self._threshold - _ROUNDING)
                who, whom = np.divmod(near, self._counts[cell])
                np.minimum.at(found, asking[who], self._places[part][whom])
            elif len(near):
                who, whom = np.divmod(near, self._counts[cell])
                waiting.append((asking[who], self._places[part][whom]))
                count += len(near)
            if count > _PAIRS:
                self._compare(units, waiting, found)
                count = 0
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
            others = self._units[numbers]
            cosines = np.einsum("ij,ij->i", units[who[part]], others[which])
            near = cosines >= self._threshold - _ROUNDING
            np.minimum.at(found, who[part][near], whom[part][near])


class _Cells:
    """Rows by their nearest of some centres, and which cells a row's neighbours may lie in.

    Attributes:
        centres: ``(cells, d)``.
        labels: ``(n,)`` every row's cell.
    """

    def __init__(self, sample: Floats, n: int, radius: float) -> None:
        from sklearn.cluster import MiniBatchKMeans  # a second of every command's start

        count = min(max(min(_CELLS, -(-n // _CELL)), n // _LARGE_CELL), len(sample))
        model = MiniBatchKMeans(count, n_init=1, init="random", batch_size=1024, max_iter=5, random_state=0).fit(sample)
        self.centres: Floats = model.cluster_centers_.astype(np.float32)
        self.labels = np.empty(n, np.int64)
        self._radius = radius + 1e-3  # more than rounding takes
        self._extents = np.zeros(count, np.float32)
        self._apart = np.sqrt(_squared_distances(self.centres, self.centres))

    def take(self, part: slice, units: Floats) -> None:
        """Find the cells of some rows; all rows are taken before the first is asked for."""
        self.labels[part], squares = nearest_centres(units, self.centres)
        np.maximum.at(self._extents, self.labels[part], np.sqrt(squares))

    def reach(self, units: Floats, labels: Integers, counts: Integers, enough: int) -> NDArray[np.bool_]:
        """Return ``(m, cells)``: whether a row has to be compared with those that a cell holds.

        It has not if the row is too far from the cell's centre, or too far inside its own cell: cells are convex, and
        to the plane halfway between the centres a and b it is ``(|x - b|^2 - |x - a|^2) / (2 |a - b|)``. Of the others,
        the nearest that hold ``enough`` rows together are left.

        Args:
            units: ``(m, d)``.
            labels: ``(m,)`` their own cells.
            counts: ``(cells,)`` rows in each.
            enough: How many rows need to be compared with.
        """
        squares = _squared_distances(units, self.centres)
        own = squares[np.arange(len(labels)), labels][:, None]
        near = np.sqrt(squares) <= self._extents + self._radius
        near &= squares - own <= 2 * self._radius * self._apart[labels] + 1e-4
        if counts.sum() > enough:
            order = squares.argsort(axis=1)
            held = np.where(near, counts, 0)
            nearer = np.take_along_axis(held, order, axis=1)
            nearer = nearer.cumsum(axis=1) - nearer
            near &= np.take_along_axis(nearer, order.argsort(axis=1), axis=1) < enough
        return near


def _squared_distances(points: Floats, others: Floats) -> Floats:
    squares = np.einsum("ij,ij->i", points, points)[:, None] + np.einsum("ij,ij->i", others, others)
    return np.maximum(squares - 2 * points @ others.T, 0)
