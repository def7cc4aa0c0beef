"""What scenes are drawn on: supersampled layers of colour, material and height, in units of the scene's side."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from eotune.data.scenes.materials import NAMES, Surface

Point = tuple[float, float]
SUPERSAMPLING = 3
_SHADE, _ROUND_SHADE = (48, 51, 50), (45, 48, 46)


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
        self._picture = Image.new("RGB", (self.side, self.side))
        self._materials = Image.new("L", (self.side, self.side))
        self._heights = Image.new("F", (self.side, self.side))
        self._pen = ImageDraw.Draw(self._picture)
        self._material_pen = ImageDraw.Draw(self._materials)
        self._height_pen = ImageDraw.Draw(self._heights)

    def fill(self, surface: Surface, roughness: float = 10.0, grain: int = 8) -> None:
        """Cover everything with a colour that varies smoothly, over about ``1/grain`` of the side, and by pixel."""
        self.patch([(0, 0), (1, 0), (1, 1), (0, 1)], surface, roughness, grain)

    def patch(self, corners: Sequence[Point], surface: Surface, roughness: float = 6.0, grain: int = 8) -> None:
        """Cover a polygon with a textured colour."""
        coarse = self.rng.normal(0, roughness, (grain, grain)).astype(np.float32)
        smooth = Image.fromarray(coarse).resize((self.side, self.side), Image.Resampling.BICUBIC)
        fine = self.rng.normal(0, roughness / 2, (self.size, self.size))
        texture = np.asarray(smooth) + fine.repeat(SUPERSAMPLING, 0).repeat(SUPERSAMPLING, 1)
        shade = np.empty_like(texture)  # one for all planes: fresh memory costs more than the sums
        planes = []
        for value in surface.colour:
            np.add(texture, value, out=shade).clip(0, 255, out=shade)
            planes.append(Image.fromarray(shade.astype(np.uint8)))
        mask = Image.new("L", (self.side, self.side))
        ImageDraw.Draw(mask).polygon(self._scaled(corners), fill=255)
        self._picture.paste(Image.merge("RGB", planes), mask=mask)
        self._materials.paste(NAMES.index(surface.material), mask=mask)
        self._heights.paste(0, mask=mask)

    def polygon(self, corners: Sequence[Point], surface: Surface, *, height: float = 0.0, base: float = 0.0) -> None:
        """Draw a flat polygon; with ``height`` above its ``base``, its shadow first."""
        if height:
            dx, dy = (height * part for part in self.shadow)
            self._pen.polygon(self._scaled([*corners, *((x + dx, y + dy) for x, y in reversed(corners))]), fill=_SHADE)
            self._pen.polygon(self._scaled([(x + dx, y + dy) for x, y in corners]), fill=_SHADE)
        scaled = self._scaled(corners)
        self._pen.polygon(scaled, fill=surface.colour)
        self._material_pen.polygon(scaled, fill=NAMES.index(surface.material))
        if surface.material != "paint":  # a marking is as high as what it is painted on
            self._height_pen.polygon(scaled, fill=base + height)

    def disc(self, centre: Point, radius: float, surface: Surface, *, height: float = 0.0, base: float = 0.0) -> None:
        """Draw a disc; with ``height`` above its ``base``, its shadow first."""
        if height:
            shifted = (centre[0] + height * self.shadow[0], centre[1] + height * self.shadow[1])
            self._pen.ellipse(self._around(shifted, radius), fill=_ROUND_SHADE)
        box = self._around(centre, radius)
        self._pen.ellipse(box, fill=surface.colour)
        self._material_pen.ellipse(box, fill=NAMES.index(surface.material))
        self._height_pen.ellipse(box, fill=base + height)

    def line(self, points: Sequence[Point], width: float, surface: Surface) -> None:
        """Draw a line of ``width``, with round joints."""
        scaled, pixels = self._scaled(points), max(1, round(width * self.side))
        self._pen.line(scaled, fill=surface.colour, width=pixels, joint="curve")
        self._material_pen.line(scaled, fill=NAMES.index(surface.material), width=pixels, joint="curve")
        if surface.material != "paint":
            self._height_pen.line(scaled, fill=0.0, width=pixels, joint="curve")

    def trees(self, count: int, inside: tuple[float, float, float, float], rng: np.random.Generator) -> None:
        """Scatter trees with shadows over a rectangle (left, top, right, bottom)."""
        for _ in range(count):
            x, y = rng.uniform(inside[0], inside[2]), rng.uniform(inside[1], inside[3])
            radius, tone = rng.uniform(0.012, 0.028), int(rng.integers(-12, 12))
            self.disc((x, y), radius, Surface((46 + tone, 84 + tone, 42), "forest"), height=0.012)
            lit = Surface((68 + tone, 108 + tone, 58), "forest")
            self.disc((x - radius / 4, y - radius / 4), radius / 2, lit, base=0.016)

    def finished(self) -> np.ndarray:
        """Return the picture, uint8 ``(size, size, 3)``, slightly blurred as optics do."""
        small = self._picture.resize((self.size, self.size), Image.Resampling.BOX)
        return np.asarray(small.filter(ImageFilter.GaussianBlur(0.3)))

    def materials(self) -> np.ndarray:
        """Return what lies on top, uint8 ``(3 size, 3 size)``, as positions in the table of materials."""
        return np.array(self._materials)

    def heights(self) -> np.ndarray:
        """Return heights above ground in units of the side, float32 ``(size, size)``, averaged over each pixel."""
        return np.array(self._heights.resize((self.size, self.size), Image.Resampling.BOX))

    def _around(self, centre: Point, radius: float) -> tuple[float, float, float, float]:
        (x, y), r = (centre[0] * self.side, centre[1] * self.side), radius * self.side
        return x - r, y - r, x + r, y + r

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
