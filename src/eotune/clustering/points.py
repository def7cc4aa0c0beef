"""The points that a clustering is given, checked."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eotune.core.errors import InputError


def checked_points(values: ArrayLike) -> NDArray[np.floating]:
    """Return ``(n, d)`` points in C order; float64 stays as it is, everything else becomes float32.

    Raises:
        InputError: They are not numbers, not finite, or not ``(n, d)``.

    Example:
        >>> checked_points([[1, 2]]).dtype
        dtype('float32')
    """
    try:
        points = np.asarray(values)
        dtype = np.float64 if points.dtype == np.float64 else np.float32
        points = np.ascontiguousarray(points, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise InputError(f"points must be numbers: {error}") from error
    if points.ndim != 2 or not points.size:
        raise InputError(f"points must be (n, d) with n and d at least 1; got {points.shape}")
    # A sum is finite only if all its parts are, so the slow search runs in the bad case only.
    if not np.isfinite(points.sum(dtype=np.float64)) and not (finite := np.isfinite(points).all(axis=1)).all():
        raise InputError(
            f"{np.count_nonzero(~finite)} of {len(points)} points hold NaN or infinity, the first at row "
            f"{int(finite.argmin())}",
            remedy="remove them",
        )
    return points
