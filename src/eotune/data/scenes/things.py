"""Things that stand in scenes, drawn without chance: aeroplanes, ships, cars, houses, markings of roads and courts."""

import math
from collections.abc import Sequence

import numpy as np

from eotune.data.scenes.canvas import Point, rectangle
from eotune.data.scenes.materials import Surface
from eotune.data.scenes.painter import MARKING, PAINTS, Painter, painted

GUIDE = Surface((206, 176, 74), "paint")  # the yellow line that aeroplanes follow
_GLASS = Surface((52, 60, 70), "metal")
_WING = Surface((206, 208, 208), "metal")
_ENGINE = Surface((120, 122, 126), "metal")

# Outlines in units of a length along (u) and across (v); the nose and the bow are at u = 0.5.
_FUSELAGE = ((0.5, 0), (0.44, 0.06), (0.34, 0.08), (-0.3, 0.08), (-0.5, 0.02), (-0.5, -0.02), (-0.3, -0.08),
             (0.34, -0.08), (0.44, -0.06))  # fmt: skip
_WINGS = ((0.16, 0), (-0.1, 0.5), (-0.2, 0.5), (-0.1, 0), (-0.2, -0.5), (-0.1, -0.5))
_TAIL = ((-0.34, 0), (-0.46, 0.2), (-0.5, 0.2), (-0.46, 0), (-0.5, -0.2), (-0.46, -0.2))
_HULL = ((-0.5, -0.42), (-0.44, -0.5), (0.22, -0.5), (0.4, -0.26), (0.5, 0), (0.4, 0.26), (0.22, 0.5), (-0.44, 0.5),
         (-0.5, 0.42))  # fmt: skip


def outline(shape: Sequence[Point], centre: Point, length: float, width: float, angle: float) -> list[Point]:
    """Return a shape moved to ``centre``, as long and wide as said, and turned.

    Example:
        >>> outline([(0.5, 0), (-0.5, 0.5)], (1, 1), 2, 4, 0)
        [(2.0, 1.0), (0.0, 3.0)]
    """
    c, s = math.cos(angle), math.sin(angle)
    scaled = [(u * length, v * width) for u, v in shape]
    return [(centre[0] + u * c - v * s, centre[1] + u * s + v * c) for u, v in scaled]


def plane(p: Painter, centre: Point, angle: float, colour: str, *, length: float = 0.17) -> None:
    """Draw an aeroplane as long as its wings span, its nose at ``angle``, and note its box."""

    def part(shape: Sequence[Point]) -> list[Point]:
        return outline(shape, centre, length, length, angle)

    p.canvas.polygon(part(_WINGS), _WING, height=0.012)
    for side in (-0.2, 0.2):
        (where,) = part([(0.06, side)])
        p.canvas.polygon(rectangle(where, 0.1 * length, 0.06 * length, angle), _ENGINE, height=0.008)
    p.canvas.polygon(part(_TAIL), painted(colour, "metal"), height=0.008)
    p.canvas.polygon(part(_FUSELAGE), painted(colour, "metal"), height=0.014)
    (cockpit,) = part([(0.43, 0)])
    p.canvas.polygon(rectangle(cockpit, 0.03 * length, 0.08 * length, angle), _GLASS, base=0.014)
    p.objects.append(("plane", rectangle(centre, length, length, angle)))


def ship(p: Painter, centre: Point, length: float, angle: float, colour: str, *, width: float = 0.05) -> None:
    """Draw a ship with its bow at ``angle``, and note its box."""
    p.canvas.polygon(outline(_HULL, centre, length, width, angle), painted(colour, "metal"), height=0.006)
    hold, cabin = outline([(0.1, 0), (-0.32, 0)], centre, length, width, angle)
    shade = Surface(_brighter(PAINTS[colour], 0.8), "metal")
    p.canvas.polygon(rectangle(hold, 0.36 * length, 0.55 * width, angle), shade, base=0.006)
    white = Surface((222, 214, 196), "metal")
    p.canvas.polygon(rectangle(cabin, 0.2 * length, 0.66 * width, angle), white, height=0.012, base=0.006)
    p.objects.append(("ship", rectangle(centre, length, width, angle)))


def car(p: Painter, centre: Point, angle: float, colour: str, *, length: float = 0.085, width: float = 0.042) -> None:
    """Draw a car with glass before and behind its roof, and note its box."""
    body = painted(colour, "metal")
    p.box("small-vehicle", rectangle(centre, length, width, angle), body, height=0.012)
    p.canvas.polygon(rectangle(centre, 0.58 * length, 0.78 * width, angle), _GLASS, base=0.012)
    p.canvas.polygon(rectangle(centre, 0.32 * length, 0.72 * width, angle), body, base=0.012)


def house(p: Painter, centre: Point, length: float, width: float, colour: str) -> None:
    """Draw a house with a gable roof, one side of which is lit."""
    p.canvas.polygon(rectangle(centre, length, width, 0), painted(colour, "roof"), height=0.02)
    lit = Surface(_brighter(PAINTS[colour], 1.22), "roof")
    p.canvas.polygon(rectangle((centre[0], centre[1] - width / 4), length, width / 2, 0), lit, base=0.02)


def dashes(
    p: Painter, start: Point, end: Point, *, length: float = 0.04, gap: float = 0.03, width: float = 0.009
) -> None:
    """Draw a dashed white line."""
    reach = math.hypot(end[0] - start[0], end[1] - start[1])
    angle = math.atan2(end[1] - start[1], end[0] - start[0])
    for step in np.arange(0, reach, length + gap):
        middle = (start[0] + (step + length / 2) * math.cos(angle), start[1] + (step + length / 2) * math.sin(angle))
        p.canvas.polygon(rectangle(middle, length, width, angle), MARKING)


def court(p: Painter, kind: str, centre: Point, length: float, width: float) -> None:
    """Draw the lines of a ``tennis``, ``basketball`` or ``football`` field of a length along x, and a width."""
    thin = 0.005 + 0.004 * length

    def draw(*points: Point, closed: bool = False) -> None:
        placed = outline(points, centre, length, width, 0)
        p.canvas.line([*placed, placed[0]] if closed else placed, thin, MARKING)

    def circle(u: float, radius: float, start: float = 0, end: float = 2 * math.pi) -> None:
        """``radius`` is in units of the width; angles count from the middle of the field outwards."""
        steps = np.linspace(start, end, 25)
        draw(*((u + radius * math.cos(t) * width / length, radius * math.sin(t)) for t in steps))

    draw((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), closed=True)
    draw((0, -0.5), (0, 0.5))
    if kind == "tennis":
        for v in (-0.36, 0.36):
            draw((-0.5, v), (0.5, v))
        for u in (-0.27, 0.27):
            draw((u, -0.36), (u, 0.36))
        draw((-0.27, 0), (0.27, 0))
        return
    circle(0, 0.14 if kind == "football" else 0.12)
    depth, half = (0.16, 0.3) if kind == "football" else (0.2, 0.16)
    for end in (-1, 1):
        draw((end * 0.5, -half), (end * (0.5 - depth), -half), (end * (0.5 - depth), half), (end * 0.5, half))
        if kind == "football":
            draw((end * 0.5, -0.14), (end * 0.44, -0.14), (end * 0.44, 0.14), (end * 0.5, 0.14))
        else:
            turn = math.pi / 2 if end < 0 else -math.pi / 2
            circle(end * 0.47, 0.42, turn - math.pi, turn)


def _brighter(colour: tuple[int, int, int], factor: float) -> tuple[int, int, int]:
    red, green, blue = (min(255, round(value * factor)) for value in colour)
    return red, green, blue
