"""How an image becomes the pixels that a model expects: pure PIL and NumPy, the same whatever is installed."""

from dataclasses import dataclass, field, replace
from math import floor
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

_ELONGATED = 8  # longer side over shorter side


@dataclass(frozen=True)
class ImageTransform:
    """Resize, crop and normalise, as the model was trained with.

    Attributes:
        size: Side of the square that the model sees, in pixels.
        resize: ``shortest`` scales the shorter side and crops the centre; ``squash`` ignores the aspect.
        interpolation: ``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``, in PIL's implementation.
        mean: Per channel, in units of pixel / 255.
        std: Likewise.
        scaled_to: Length that the resize aims at, before the centre is cut out (DINOv2: 256 for 224); None: ``size``.
        centre: Where the cut starts when the margin is odd: transformers takes the ``floor`` of half of it,
            torchvision, and with it open_clip, ``round`` s half to even.
    """

    size: int
    resize: Literal["shortest", "squash"] = "shortest"
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
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
        """Map RGB uint8 ``(h, w, 3)`` to uint8 ``(3, size, size)``.

        Example:
            >>> ImageTransform(size=8)(np.zeros((20, 30, 3), np.uint8)).shape
            (3, 8, 8)
        """
        picture = Image.fromarray(image)
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
        return np.array(np.asarray(picture).transpose(2, 0, 1), order="C")  # a copy: PIL's own memory is read-only

    def normalise(self, pixels: Tensor) -> Tensor:
        """Map uint8 ``(n, 3, h, w)`` to float32 on the same device, normalised; floats pass through unchanged."""
        if pixels.is_floating_point():
            return pixels
        mean = torch.tensor(self.mean, device=pixels.device).view(3, 1, 1) * 255
        std = torch.tensor(self.std, device=pixels.device).view(3, 1, 1) * 255
        return (pixels.float() - mean) / std


def _shortened(picture: Image.Image) -> Image.Image:
    """Cut the middle out of a strip: scaling all of it only to crop it afterwards could ask for gigabytes."""
    width, height = picture.size
    keep = _ELONGATED * min(width, height)
    if max(width, height) <= keep:
        return picture
    left, top = max(0, (width - keep) // 2), max(0, (height - keep) // 2)
    return picture.crop((left, top, left + min(width, keep), top + min(height, keep)))
