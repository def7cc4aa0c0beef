"""Images of any number of bands as Pillow's pictures: one RGB picture, or a grey one a band."""

import numpy as np
from PIL import Image


def to_pictures(image: np.ndarray) -> list[Image.Image]:
    """Split uint8 ``(h, w, c)``: one RGB picture where c is 3, else c grey ones.

    Pillow treats the bands of a picture alike and apart, so that resizing gives the same numbers either way.

    Example:
        >>> [picture.mode for picture in to_pictures(np.zeros((2, 3, 2), np.uint8))]
        ['L', 'L']
    """
    if image.shape[2] == 3:
        return [Image.fromarray(np.ascontiguousarray(image))]
    return [Image.fromarray(np.ascontiguousarray(image[:, :, band])) for band in range(image.shape[2])]


def from_pictures(pictures: list[Image.Image]) -> np.ndarray:
    """Return the bands of :func:`to_pictures`' pictures as uint8 ``(c, h, w)``, in memory of their own.

    Example:
        >>> from_pictures(to_pictures(np.zeros((2, 5, 4), np.uint8))).shape
        (4, 2, 5)
    """
    if len(pictures) == 1 and pictures[0].mode == "RGB":
        return np.array(np.asarray(pictures[0]).transpose(2, 0, 1), order="C")  # Pillow's own memory is read-only
    return np.stack([np.asarray(picture) for picture in pictures])
