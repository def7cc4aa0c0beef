"""How training images are varied: crops, flips, turns and RandAugment, in pure PIL and drawn from a seeded generator.

The operations and magnitudes are those of the image-text retrieval code that HarMA's source recipe uses
(arXiv 2404.18253; BLIP's RandAugment): each is applied with probability 1/2, nothing inverts, posterises or changes
hue, and what moves into the picture is grey (128).
"""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from pydantic import field_validator

from eotune.core.config import Config
from eotune.data.planes import from_pictures, to_pictures

_FILL = (128, 128, 128)
_LEVELS = 10  # RandAugment's magnitudes run from 0 to 10
_RATIO = (math.log(3 / 4), math.log(4 / 3))

_Operation = Callable[[Image.Image, float, np.random.Generator], Image.Image]


class Augmentation(Config):
    """How a training image is varied; the defaults are HarMA's recipe.

    Attributes:
        crop: Share of the area, from and to, of a random crop with sides 3:4 to 4:3, which is resized to the model's
            square; None resizes the whole image.
        flip: Mirror half of the images left to right. Captions that say left or right become wrong half of the time.
        rotate90: Turn by a random multiple of 90 degrees: seen from above, no side is up.
        randaugment: RandAugment's number of operations and their magnitude (0 to 10); None for none. Images of other
            than three bands are left out of it: its operations are those of colour photographs.

    Example:
        >>> image = np.zeros((20, 30, 3), np.uint8)
        >>> Augmentation()(image, 16, "bicubic", np.random.default_rng(0)).shape
        (3, 16, 16)
    """

    crop: tuple[float, float] | None = (0.5, 1.0)
    flip: bool = True
    rotate90: bool = False
    randaugment: tuple[int, int] | None = (2, 7)

    @field_validator("crop")
    @classmethod
    def _share_of_area(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not 0 < value[0] <= value[1] <= 1:
            raise ValueError("crop wants two shares of the area, 0 < from <= to <= 1")
        return value

    @field_validator("randaugment")
    @classmethod
    def _operations_and_magnitude(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and not (value[0] >= 0 and 0 <= value[1] <= _LEVELS):
            raise ValueError(f"randaugment wants a number of operations and a magnitude of 0 to {_LEVELS}")
        return value

    def __call__(self, image: np.ndarray, size: int, interpolation: str, rng: np.random.Generator) -> np.ndarray:
        """Map uint8 ``(h, w, c)`` to uint8 ``(c, size, size)``, varied as ``rng`` draws, all bands alike.

        Args:
            image: The image.
            size: Side of the result.
            interpolation: ``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``, for the resize.
            rng: Where every choice is drawn from: the same generator state gives the same pixels.
        """
        height, width = image.shape[:2]
        if self.crop is not None:
            top, left, high, wide = _crop(height, width, self.crop, rng)
            image = image[top : top + high, left : left + wide]
        resampling = Image.Resampling[interpolation.upper()]
        pictures = [picture.resize((size, size), resampling) for picture in to_pictures(image)]
        if self.flip and rng.random() < 0.5:
            pictures = [picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for picture in pictures]
        if self.randaugment is not None and pictures[0].mode == "RGB":
            pictures = [_randaugment(pictures[0], *self.randaugment, rng)]
        pixels = from_pictures(pictures)
        if self.rotate90:
            pixels = np.ascontiguousarray(np.rot90(pixels, int(rng.integers(4)), axes=(1, 2)))
        return pixels


def _randaugment(picture: Image.Image, count: int, magnitude: int, rng: np.random.Generator) -> Image.Image:
    for index in rng.integers(len(_OPERATIONS), size=count):
        if rng.random() < 0.5:
            picture = _OPERATIONS[index](picture, magnitude / _LEVELS, rng)
    return picture


def _crop(height: int, width: int, share: tuple[float, float], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Draw (top, left, height, width) as torchvision's RandomResizedCrop does: ten tries, then the centre."""
    for _ in range(10):
        area = height * width * rng.uniform(*share)
        ratio = math.exp(rng.uniform(*_RATIO))
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            return int(rng.integers(height - high + 1)), int(rng.integers(width - wide + 1)), high, wide
    wide = min(width, max(1, round(height * math.exp(_RATIO[1]))))
    high = min(height, max(1, round(width / math.exp(_RATIO[0]))))
    return (height - high) // 2, (width - wide) // 2, high, wide


def _signed(value: float, rng: np.random.Generator) -> float:
    return value if rng.random() < 0.5 else -value


def _affine(picture: Image.Image, *coefficients: float) -> Image.Image:
    return picture.transform(
        picture.size, Image.Transform.AFFINE, coefficients, resample=Image.Resampling.BILINEAR, fillcolor=_FILL
    )


def _identity(picture: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:  # noqa: ARG001
    return picture


def _autocontrast(picture: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:  # noqa: ARG001
    return ImageOps.autocontrast(picture)


def _equalize(picture: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:  # noqa: ARG001
    return ImageOps.equalize(picture)


def _brightness(picture: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:  # noqa: ARG001
    return ImageEnhance.Brightness(picture).enhance(0.1 + 1.8 * level)


def _sharpness(picture: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:  # noqa: ARG001
    return ImageEnhance.Sharpness(picture).enhance(0.1 + 1.8 * level)


def _shear_x(picture: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return _affine(picture, 1, _signed(0.3 * level, rng), 0, 0, 1, 0)


def _shear_y(picture: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return _affine(picture, 1, 0, 0, _signed(0.3 * level, rng), 1, 0)


def _translate_x(picture: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    # The source moves by up to 10 pixels of its 224; the same share of the side keeps other sizes comparable.
    return _affine(picture, 1, 0, _signed(10 / 224 * picture.width * level, rng), 0, 1, 0)


def _translate_y(picture: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return _affine(picture, 1, 0, 0, 0, 1, _signed(10 / 224 * picture.height * level, rng))


def _rotate(picture: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return picture.rotate(_signed(30 * level, rng), resample=Image.Resampling.BILINEAR, fillcolor=_FILL)


_OPERATIONS: tuple[_Operation, ...] = (
    _identity,
    _autocontrast,
    _equalize,
    _brightness,
    _sharpness,
    _shear_x,
    _shear_y,
    _translate_x,
    _translate_y,
    _rotate,
)
