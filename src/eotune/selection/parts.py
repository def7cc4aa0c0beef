"""Clusters cut into parts of neighbours, so that what compares all pairs stays within a bound of time and memory."""

from collections.abc import Iterator

import numpy as np

from eotune.core.seeds import generator
from eotune.selection.vectors import Floats, Integers, Vectors, blocks, read_units

_AXES = 8
_SAMPLE = 4096


def parts(vectors: Vectors, rows: Integers, size: int) -> Iterator[Integers]:
    """Yield the rows in parts of at most ``size``: halves at the median of the widest direction, again and again.

    The directions are the principal ones of a sample. Within a part, rows stay in the order given.

    Args:
        vectors: ``(n, d)`` embeddings, of which the cosine counts.
        rows: Some of the rows.
        size: Of the largest part.

    Example:
        >>> vectors = np.array([[1, 0], [0, 1], [1, 0.1], [0.1, 1]])
        >>> [part.tolist() for part in parts(vectors, np.arange(4), 2)]
        [[0, 2], [1, 3]]
    """
    if len(rows) <= size:
        if len(rows):
            yield rows
        return
    projected = _projected(vectors, rows)
    open_ = [np.arange(len(rows))]
    while open_:
        places = open_.pop()
        if len(places) <= size:
            yield rows[places]
            continue
        values = projected[places, projected[places].std(axis=0).argmax()]
        halves = np.split(np.argsort(values, kind="stable"), [len(places) // 2])
        open_ += [places[np.sort(half)] for half in reversed(halves)]


def _projected(vectors: Vectors, rows: Integers) -> Floats:
    """Return the rows' ``(m, _AXES)`` coordinates in the principal directions of a sample of them."""
    count = min(_SAMPLE, len(rows))
    chosen = np.sort(generator("parts", len(rows)).choice(len(rows), count, replace=False))
    sample = read_units(vectors, rows[chosen])
    axes = np.linalg.eigh(np.atleast_2d(np.cov(sample, rowvar=False)))[1][:, ::-1][:, :_AXES].astype(np.float32)
    return np.concatenate([read_units(vectors, rows[part]) @ axes for part in blocks(len(rows))])
