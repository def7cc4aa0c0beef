"""A canvas together with a scene's random choices, what was drawn so far, and the palette of all scenes."""

import math
from typing import Literal

from eotune.core.seeds import generator
from eotune.data.scenes.canvas import Canvas, Point
from eotune.data.scenes.materials import MATERIALS, Colour, Surface

Facts = dict[str, str | int]


def _plain(material: str) -> Surface:
    return Surface(MATERIALS[material].colour, material)


ASPHALT, CONCRETE, WATER, SAND = (_plain(material) for material in ("asphalt", "concrete", "water", "sand"))
GROUND = {"green": _plain("grass"), "yellow": _plain("straw"), "brown": _plain("soil")}
CROPS = GROUND | {"green": _plain("crop")}
MARKING = Surface((236, 236, 232), "paint")
PAINTS: dict[str, Colour] = {
    "white": (232, 232, 228), "red": (172, 58, 46), "blue": (58, 92, 152), "grey": (136, 138, 140),
    "brown": (124, 88, 62), "green": (72, 122, 76), "black": (42, 44, 48),
}  # fmt: skip


def painted(colour: str, material: Literal["metal", "roof"]) -> Surface:
    """Return a roof, or a thing of metal, in one of the colours of :data:`PAINTS`."""
    return Surface(PAINTS[colour], material)


class Painter:
    """A canvas with the scene's random choices and what was drawn so far.

    Args:
        size: Of the picture, in pixels.
        label: Class of the scene.
        seed: Chooses the place.
    """

    def __init__(self, size: int, label: str, seed: int) -> None:
        self.rng = rng = generator("scene", label, seed)
        # Textures draw as many numbers as there are pixels: from their own generator, or size would move objects.
        self.canvas = Canvas(size, generator("texture", label, seed), sun=float(rng.uniform(0.3, 1.2)))
        self.angle = float(rng.uniform(-0.5, 0.5))
        self.objects: list[tuple[str, list[Point]]] = []
        self.ground = str(rng.choice(list(GROUND)))

    def choose(self, *options: str) -> str:
        """Return one of the options."""
        return str(self.rng.choice(options))

    def number(self, low: int, high: int) -> int:
        """Return a whole number, both ends included."""
        return int(self.rng.integers(low, high + 1))

    def box(self, label: str, corners: list[Point], surface: Surface, *, height: float = 0.0) -> None:
        """Draw an object and note its box."""
        self.canvas.polygon(corners, surface, height=height)
        self.objects.append((label, corners))

    def turned(self, x: float, y: float) -> Point:
        """Turn a point about the middle by the scene's angle."""
        c, s = math.cos(self.angle), math.sin(self.angle)
        return 0.5 + (x - 0.5) * c - (y - 0.5) * s, 0.5 + (x - 0.5) * s + (y - 0.5) * c
