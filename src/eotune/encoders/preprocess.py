"""How an image becomes the pixels that a model expects: pure PIL and NumPy, the same whatever is installed."""

from dataclasses import dataclass, field, replace
from math import floor
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from eotune.core.errors import InputError
from eotune.data.planes import from_pictures, to_pictures

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

_ELONGATED = 8  # longer side over shorter side
_VIEW_MARGIN = 24 / 224


@dataclass(frozen=True)
class ImageTransform:
    """Resize, crop and normalise, as the model was trained with.

    Attributes:
        size: Side of the square that the model sees, in pixels.
        resize: ``shortest`` scales the shorter side and crops the centre; ``squash`` ignores the aspect.
        interpolation: ``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``, in PIL's implementation.
        mean: Per channel, in units of pixel / 255; as many as images have bands.
        std: Likewise.
        scaled_to: Length that the resize aims at, before the centre is cut out (DINOv2: 256 for 224); None: ``size``.
        centre: Where the cut starts when the margin is odd: transformers takes the ``floor`` of half of it,
            torchvision, and with it open_clip, ``round`` s half to even.
    """

    size: int
    resize: Literal["shortest", "squash"] = "shortest"
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    # Not shown: fingerprints hash what is shown, and these apart, see there.
    scaled_to: int | None = field(default=None, repr=False)
    centre: Literal["floor", "round"] = field(default="floor", repr=False)

    def at(self, size: int) -> "ImageTransform":
        """Return the same rule for another size; the margin that the crop cuts off scales with it.

        Example:
            >>> ImageTransform(224, scaled_to=256).at(112).scaled_to
            128
        """
        return replace(self, size=size, scaled_to=self.scaled_to and round(self.scaled_to * size / self.size))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Map uint8 ``(h, w, c)`` to uint8 ``(c, size, size)``, band by band.

        Raises:
            InputError: The image has another number of bands than the model takes.

        Example:
            >>> ImageTransform(size=8)(np.zeros((20, 30, 3), np.uint8)).shape
            (3, 8, 8)
        """
        if image.ndim != 3 or image.shape[2] != len(self.mean):
            bands = image.shape[2] if image.ndim == 3 else 1
            raise InputError(
                f"an image of {bands} bands came to a model of {len(self.mean)}", remedy="read the bands it takes"
            )
        return from_pictures([self._prepared(picture) for picture in to_pictures(image)])

    def _prepared(self, picture: Image.Image) -> Image.Image:
        target = self.scaled_to or self.size
        if self.resize == "squash":
            scaled = (target, target)
        else:
            picture = _shortened(picture)
            # As transformers' get_resize_output_image_size: the longer side is truncated, not rounded.
            short, long = sorted(picture.size)
            other = int(target * long / short)
            scaled = (target, other) if picture.width <= picture.height else (other, target)
        if picture.size != scaled:
            picture = picture.resize(scaled, _RESAMPLING[self.interpolation])
        if picture.size != (self.size, self.size):
            margins = ((side - self.size) / 2 for side in picture.size)
            left, top = (round(margin) if self.centre == "round" else floor(margin) for margin in margins)
            picture = picture.crop((left, top, left + self.size, top + self.size))
        return picture

    def five_crops(self, image: np.ndarray) -> np.ndarray:
        """Map uint8 ``(h, w, c)`` to five views ``(5, c, size, size)``: the centre and the corners of a larger image.

        The image is made 24/224 larger than the model sees, as LIFT's test-time ensembling does (arXiv 2309.10019).

        Raises:
            InputError: As when called.

        Example:
            >>> ImageTransform(size=28).five_crops(np.zeros((20, 30, 3), np.uint8)).shape
            (5, 3, 28, 28)
        """
        margin = max(1, round(self.size * _VIEW_MARGIN))
        whole = self.at(self.size + margin)(image)
        starts = [(margin // 2, margin // 2), *((top, left) for top in (0, margin) for left in (0, margin))]
        return np.stack([whole[:, top : top + self.size, left : left + self.size] for top, left in starts])

    def normalise(self, pixels: Tensor) -> Tensor:
        """Map uint8 ``(n, c, h, w)`` to float32 on the same device, normalised; floats pass through unchanged."""
        if pixels.is_floating_point():
            return pixels
        mean = torch.tensor(self.mean, device=pixels.device).view(-1, 1, 1) * 255
        std = torch.tensor(self.std, device=pixels.device).view(-1, 1, 1) * 255
        return (pixels.float() - mean) / std


def _shortened(picture: Image.Image) -> Image.Image:
    """Cut the middle out of a strip: scaling all of it only to crop it afterwards could ask for gigabytes."""
    width, height = picture.size
    keep = _ELONGATED * min(width, height)
    if max(width, height) <= keep:
        return picture
    left, top = max(0, (width - keep) // 2), max(0, (height - keep) // 2)
    return picture.crop((left, top, left + min(width, keep), top + min(height, keep)))
