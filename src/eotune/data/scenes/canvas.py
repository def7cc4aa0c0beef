"""What scenes are drawn on: a supersampled picture in units of the scene's side, with textures and shadows."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
Point = tuple[float, float]
SUPERSAMPLING = 3


class Canvas:
    """A square picture, drawn at three times its size; coordinates run from 0 to 1, from the top left.

    Args:
        size: Of the finished picture, in pixels.
        rng: Of textures.
        sun: Direction that shadows fall to, in radians.
    """

    def __init__(self, size: int, rng: np.random.Generator, sun: float) -> None:
        self.size = size
        self.rng = rng
        self.side = size * SUPERSAMPLING
        self.shadow = (math.cos(sun), math.sin(sun))
        self.image = Image.new("RGB", (self.side, self.side))
        self.draw = ImageDraw.Draw(self.image)

    def fill(self, colour: Colour, roughness: float = 10.0, grain: int = 8) -> None:
        """Cover everything with a colour that varies smoothly, over about ``1/grain`` of the side, and by pixel."""
        self.patch([(0, 0), (1, 0), (1, 1), (0, 1)], colour, roughness, grain)

    def patch(self, corners: Sequence[Point], colour: Colour, roughness: float = 6.0, grain: int = 8) -> None:
        """Cover a polygon with a textured colour."""
        coarse = self.rng.normal(0, roughness, (grain, grain)).astype(np.float32)
        smooth = Image.fromarray(coarse).resize((self.side, self.side), Image.Resampling.BICUBIC)
        fine = np.kron(
            self.rng.normal(0, roughness / 2, (self.size, self.size)), np.ones((SUPERSAMPLING, SUPERSAMPLING))
        )
        texture = (np.asarray(smooth) + fine)[..., None] + np.array(colour, float)
        mask = Image.new("L", (self.side, self.side))
        ImageDraw.Draw(mask).polygon(self._scaled(corners), fill=255)
        self.image.paste(Image.fromarray(texture.clip(0, 255).astype(np.uint8)), mask=mask)

    def polygon(self, corners: Sequence[Point], colour: Colour, *, height: float = 0.0) -> None:
        """Draw a flat polygon; with ``height``, its shadow first."""
        if height:
            dx, dy = (height * part for part in self.shadow)
            self._darken([*corners, *((x + dx, y + dy) for x, y in reversed(corners))])
            self._darken([(x + dx, y + dy) for x, y in corners])
        self.draw.polygon(self._scaled(corners), fill=colour)

    def disc(self, centre: Point, radius: float, colour: Colour, *, height: float = 0.0) -> None:
        """Draw a disc; with ``height``, its shadow first."""
        if height:
            self.disc((centre[0] + height * self.shadow[0], centre[1] + height * self.shadow[1]), radius, (45, 48, 46))
        (x, y), r = (centre[0] * self.side, centre[1] * self.side), radius * self.side
        self.draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """Draw a line of ``width``, with round joints."""
        self.draw.line(self._scaled(points), fill=colour, width=max(1, round(width * self.side)), joint="curve")

    def trees(self, count: int, inside: tuple[float, float, float, float], rng: np.random.Generator) -> None:
        """Scatter trees with shadows over a rectangle (left, top, right, bottom)."""
        for _ in range(count):
            x, y = rng.uniform(inside[0], inside[2]), rng.uniform(inside[1], inside[3])
            radius, tone = rng.uniform(0.012, 0.028), rng.integers(-12, 12)
            self.disc((x, y), radius, (46 + int(tone), 84 + int(tone), 42), height=0.012)
            self.disc((x - radius / 4, y - radius / 4), radius / 2, (68 + int(tone), 108 + int(tone), 58))

    def finished(self) -> np.ndarray:
        """Return the picture, uint8 ``(size, size, 3)``, slightly blurred as optics do."""
        small = self.image.resize((self.size, self.size), Image.Resampling.BOX)
        return np.asarray(small.filter(ImageFilter.GaussianBlur(0.3)))

    def _darken(self, corners: Sequence[Point]) -> None:
        self.draw.polygon(self._scaled(corners), fill=(48, 51, 50))

    def _scaled(self, points: Sequence[Point]) -> list[Point]:
        return [(x * self.side, y * self.side) for x, y in points]


def rectangle(centre: Point, length: float, width: float, angle: float) -> list[Point]:
    """Return the corners of a turned rectangle, clockwise in the picture.

    Args:
        centre: Its middle.
        length: Along ``angle``.
        width: Across.
        angle: In radians, clockwise from the x axis.

    Example:
        >>> rectangle((0, 0), 2, 2, 0)
        [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]
    """
    c, s = math.cos(angle), math.sin(angle)
    halves = ((-length / 2, -width / 2), (length / 2, -width / 2), (length / 2, width / 2), (-length / 2, width / 2))
    return [(centre[0] + u * c - v * s, centre[1] + u * s + v * c) for u, v in halves]
