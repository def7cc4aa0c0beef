"""Embeddings that may lie on disk: rows of them as float32, checked, a block at a time."""

import itertools
import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from eotune.core.errors import InputError

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

BLOCK = 8192  # rows that are read and compared at a time
_STORED = np.dtype(np.float16)


class Vectors(Protocol):
    """``(n, d)`` embeddings: an array, a memory map, or anything that hands out rows by slice and by sorted numbers."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, d)``."""

    def __getitem__(self, rows: Any, /) -> Any:
        """Return rows as an array."""


def read_rows(vectors: Vectors, rows: slice | Integers) -> Floats:
    """Return some rows as float32.

    Raises:
        InputError: One holds NaN or infinity; the message names the first.

    Example:
        >>> read_rows(np.eye(3, dtype=np.float16), np.array([0, 2])).dtype
        dtype('float32')
    """
    if isinstance(rows, slice):
        block = np.ascontiguousarray(vectors[rows], dtype=np.float32)
    else:
        block = np.empty((len(rows), vectors.shape[1]), np.float32)
        for part in blocks(len(rows)):
            block[part] = vectors[rows[part]]
            release(vectors)  # the system brings in the pages around each row, which soon are all of them
    # A sum is finite only if all its parts are (overflow aside), so the slow search runs in the bad case only.
    if not np.isfinite(block.sum(dtype=np.float64)) and not (finite := np.isfinite(block).all(axis=1)).all():
        bad = np.flatnonzero(~finite)
        numbers = np.arange(*rows.indices(vectors.shape[0]))[bad] if isinstance(rows, slice) else rows[bad]
        raise InputError(
            f"{len(bad)} of {len(block)} embeddings hold NaN or infinity, the first at row {int(numbers[0])}",
            remedy="look at that sample, or encode in float32",
        )
    return block


def read_units(vectors: Vectors, rows: slice | Integers) -> Floats:
    """Return some rows as float32, scaled to unit length; zeros stay.

    Example:
        >>> read_units(np.array([[3.0, 4.0]]), slice(0, 1)).tolist()
        [[0.6000000238418579, 0.800000011920929]]
    """
    block = read_rows(vectors, rows)
    lengths = np.sqrt(np.einsum("ij,ij->i", block, block))
    lengths[lengths == 0] = 1
    return block / lengths[:, None]


def write_vectors(path: Path, parts: Iterable[tuple[Integers, NDArray[np.float16]]], n: int) -> bool:
    """Write embeddings that arrive in the order of their rows as an .npy file ``(n, d)`` of float16; NaN elsewhere.

    No map: on a full disk the system ends a process that writes to one, before anything can be said.

    Args:
        path: Where.
        parts: Ascending row numbers ``(m,)`` and their embeddings ``(m, d)``.
        n: Rows of the file.

    Returns:
        Whether there was any part; else nothing is written.

    Raises:
        OSError: The disk is full.
    """
    arriving = iter(parts)
    first = next(arriving, None)
    if first is None:
        return False
    d, written = first[1].shape[1], 0
    header = {"descr": np.lib.format.dtype_to_descr(_STORED), "fortran_order": False, "shape": (n, d)}
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for rows, block in itertools.chain([first], arriving):
            _write_gap(stream, int(rows[0]) - written, d)
            whole = np.full((int(rows[-1]) + 1 - int(rows[0]), d), np.nan, _STORED)
            whole[rows - rows[0]] = block
            stream.write(whole.data)
            written = int(rows[-1]) + 1
        _write_gap(stream, n - written, d)
    return True


def _write_gap(stream: BinaryIO, n: int, d: int) -> None:
    for rows in blocks(n):
        stream.write(np.full((rows.stop - rows.start, d), np.nan, _STORED).data)


def release(vectors: Vectors) -> None:
    """Give the pages of a memory map back that reading brought in: they count as this process's memory until then."""
    pages = getattr(vectors, "base", None)
    if isinstance(pages, mmap.mmap):
        pages.madvise(mmap.MADV_DONTNEED)


def blocks(n: int, size: int = BLOCK) -> Iterator[slice]:
    """Yield slices that cover ``n`` rows.

    Example:
        >>> list(blocks(5, 2))
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def members(groups: NDArray[np.integer], which: NDArray[np.bool_] | None = None) -> Iterator[tuple[int, Integers]]:
    """Yield every group's number and its rows in ascending order; numbers below 0 are no group.

    Args:
        groups: ``(n,)``.
        which: ``(n,)`` whether a row counts at all.

    Example:
        >>> [(group, rows.tolist()) for group, rows in members(np.array([1, 0, 1, -1]))]
        [(0, [1]), (1, [0, 2])]
    """
    counted = groups >= 0 if which is None else (groups >= 0) & which
    rows = np.flatnonzero(counted)
    rows = rows[np.argsort(groups[rows], kind="stable")]
    numbers, starts = np.unique(groups[rows], return_index=True)
    ends = [*starts[1:].tolist(), len(rows)]
    for number, start, end in zip(numbers.tolist(), starts.tolist(), ends, strict=False):
        yield number, rows[start:end]
