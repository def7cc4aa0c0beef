"""How an image becomes the pixels that a model expects: pure PIL and NumPy, the same whatever is installed."""

from dataclasses import dataclass
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
        resize: ``shortest`` scales the shorter side to ``size`` and crops the centre; ``squash`` ignores the aspect.
        interpolation: ``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``, in PIL's implementation.
        mean: Per channel, in units of pixel / 255.
        std: Likewise.
    """

    size: int
    resize: Literal["shortest", "squash"] = "shortest"
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Map RGB uint8 ``(h, w, 3)`` to uint8 ``(3, size, size)``.

        Example:
            >>> ImageTransform(size=8)(np.zeros((20, 30, 3), np.uint8)).shape
            (3, 8, 8)
        """
        height, width = image.shape[:2]
        picture = Image.fromarray(image)
        resample = _RESAMPLING[self.interpolation]
        if self.resize == "squash":
            if (height, width) != (self.size, self.size):
                picture = picture.resize((self.size, self.size), resample)
        else:
            if max(height, width) > _ELONGATED * min(height, width):
                # Scaling all of a strip only to cut its middle out could ask for gigabytes: cut first.
                keep = _ELONGATED * min(height, width)
                left, top = max(0, (width - keep) // 2), max(0, (height - keep) // 2)
                picture = picture.crop((left, top, left + min(width, keep), top + min(height, keep)))
                width, height = picture.size
            # As transformers' get_resize_output_image_size: the longer side is truncated, not rounded.
            short, long = sorted((height, width))
            scaled = int(self.size * long / short)
            target = (self.size, scaled) if width <= height else (scaled, self.size)
            if picture.size != target:
                picture = picture.resize(target, resample)
            left, top = (picture.width - self.size) // 2, (picture.height - self.size) // 2
            picture = picture.crop((left, top, left + self.size, top + self.size))
        return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))

    def normalise(self, pixels: Tensor) -> Tensor:
        """Map uint8 ``(n, 3, h, w)`` to float32 on the same device, normalised; floats pass through unchanged."""
        if pixels.is_floating_point():
            return pixels
        mean = torch.tensor(self.mean, device=pixels.device).view(3, 1, 1) * 255
        std = torch.tensor(self.std, device=pixels.device).view(3, 1, 1) * 255
        return (pixels.float() - mean) / std
