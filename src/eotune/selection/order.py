"""The order of ids, which breaks every tie."""

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from eotune.core.errors import InputError, shown


def id_ranks(ids: Sequence[Any] | NDArray[Any]) -> NDArray[np.int64]:
    """Return every id's place, from 0: by value where all ids are whole numbers (``9`` before ``10``), else as text.

    Args:
        ids: ``(n,)`` unique ids: strings or integers, a sequence, NumPy or Arrow array.

    Raises:
        InputError: An id stands twice, or is neither text nor whole number.

    Example:
        >>> id_ranks(["10", "9", "100"]).tolist(), id_ranks(["10", "9", "x"]).tolist()
        ([1, 0, 2], [0, 1, 2])
    """
    try:
        array = ids if isinstance(ids, pa.Array | pa.ChunkedArray) else pa.array(ids)
        text = array.cast(pa.large_string())
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise InputError(f"ids must all be text or all be whole numbers: {error}") from error
    keys = {"text": text}
    with contextlib.suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError):  # not whole numbers
        keys = {"value": array.cast(pa.int64()), **keys}
    table = pa.table(keys)
    order = pc.sort_indices(table, sort_keys=[(name, "ascending") for name in keys]).to_numpy()
    ordered = text.take(pa.array(order))
    if len(order) > 1 and pc.any(pc.equal(ordered[1:], ordered[:-1])).as_py():
        twice = pc.index(pc.equal(ordered[1:], ordered[:-1]), True).as_py()
        raise InputError(f"the id {shown(ordered[twice].as_py())} stands twice", remedy="give every sample its own id")
    ranks = np.empty(len(order), np.int64)
    ranks[order.astype(np.int64)] = np.arange(len(order))
    return ranks
