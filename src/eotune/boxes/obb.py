"""Oriented boxes by their corners, the upright boxes (hbb) around them, and the pixels that these cover."""

import numpy as np


def corners_to_hbb(corners: np.ndarray) -> np.ndarray:
    """Return the smallest upright boxes around quadrilaterals.

    Args:
        corners: ``(n, 4, 2)``, x and y in pixels.

    Returns:
        ``(n, 4)``: x and y of the upper left, then of the lower right corner.

    Example:
        >>> corners_to_hbb(np.array([[(2, 0), (4, 2), (2, 4), (0, 2)]])).tolist()
        [[0, 0, 4, 4]]
    """
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def polygon_area(corners: np.ndarray) -> np.ndarray:
    """Return the area of quadrilaterals ``(n, 4, 2)``, ``(n,)``, whichever way round their corners go.

    Example:
        >>> polygon_area(np.array([[(2, 0), (4, 2), (2, 4), (0, 2)]])).tolist()
        [8.0]
    """
    x, y = corners[..., 0], corners[..., 1]
    return np.abs((x * np.roll(y, -1, axis=1) - np.roll(x, -1, axis=1) * y).sum(axis=1)) / 2


def clip_hbb(hbb: np.ndarray, height: int, width: int) -> np.ndarray:
    """Cut upright boxes ``(n, 4)`` at an image's border; what lies outside gets a side of 0.

    Example:
        >>> clip_hbb(np.array([(-2, 1, 3, 9), (12, 1, 14, 2)]), height=5, width=10).tolist()
        [[0, 1, 3, 5], [10, 1, 10, 2]]
    """
    return np.clip(hbb, 0, np.array([width, height, width, height]))


def windows(hbb: np.ndarray, height: int, width: int, *, margin: float = 0.0, square: bool = False) -> np.ndarray:
    """Return the pixels around upright boxes.

    Args:
        hbb: ``(n, 4)``.
        height: Of the image.
        width: Of the image.
        margin: Added on each side, as a share of the box's longer side.
        square: Extend the shorter side to the longer one, about the centre.

    Returns:
        int64 ``(n, 4)``: first column and row, and those behind the last ones; all pixels that the box with its margin
        touches, cut at the image's border.

    Example:
        >>> windows(np.array([(2.5, 4.0, 6.5, 6.0)]), 20, 20).tolist()
        [[2, 4, 7, 6]]
        >>> windows(np.array([(2.5, 4.0, 6.5, 6.0)]), 20, 20, margin=0.5, square=True).tolist()
        [[0, 1, 9, 9]]
    """
    centre, sides = (hbb[:, :2] + hbb[:, 2:]) / 2, hbb[:, 2:] - hbb[:, :2]
    longer = sides.max(axis=1, keepdims=True)
    half = (longer if square else sides) / 2 + margin * longer
    grown = np.concatenate([np.floor(centre - half), np.ceil(centre + half)], axis=1)
    return clip_hbb(grown, height, width).astype(np.int64)
