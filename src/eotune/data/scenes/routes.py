"""What crosses a whole scene: a river, and roads that meet."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from eotune.data.scenes.canvas import Point, rectangle
from eotune.data.scenes.materials import Surface
from eotune.data.scenes.painter import ASPHALT, CONCRETE, CROPS, GROUND, MARKING, PAINTS, WATER, Facts, Painter, painted
from eotune.data.scenes.things import car, dashes


def river(p: Painter) -> Facts:
    """Draw a winding river between trees or fields, with boats and perhaps a bridge."""
    boats, beside = p.number(0, 4), p.choose("trees", "fields")
    way, bridge = p.choose("from top to bottom", "from left to right"), p.choose("a bridge", "no bridge")
    bend, phase, width = (float(p.rng.uniform(*limits)) for limits in ((0.05, 0.12), (0, 6.3), (0.17, 0.26)))

    def place(along: float, across: float) -> Point:
        """Follow the bends: ``along`` is 0 to 1 through the scene, ``across`` is from the middle of the stream."""
        across += 0.5 + bend * math.sin(4.5 * along + phase)
        return p.turned(across, along) if way == "from top to bottom" else p.turned(along, across)

    def band(half: float) -> list[Point]:
        steps = np.linspace(-0.4, 1.4, 60)
        wobble = [half * (1 + 0.1 * math.sin(11 * t + 2 * phase)) for t in steps]
        left = [place(t, -w) for t, w in zip(steps, wobble, strict=True)]
        return left + [place(t, w) for t, w in zip(steps[::-1], wobble[::-1], strict=True)]

    p.canvas.fill(GROUND[p.ground])
    if beside == "fields":
        _fields(p)
    else:
        p.canvas.trees(240, (0, 0, 1, 1), p.rng)
    p.canvas.patch(band(width / 2 + 0.03), Surface((150, 134, 100), "soil"), 7, 14)
    p.canvas.patch(band(width / 2), WATER, 5, 10)
    if bridge == "a bridge":
        _bridge(p, place, width)
    for slot in p.rng.permutation([0.14, 0.3, 0.7, 0.86])[:boats]:
        _boat(p, place, float(slot), float(p.rng.uniform(-0.2, 0.2)) * width)
    return {"count": boats, "beside": beside, "way": way, "bridge": bridge}


def _fields(p: Painter) -> None:
    """Cover the scene with fields of several crops, sown in rows."""
    for column in range(4):
        edges = [-0.3, *sorted(p.rng.uniform(0, 1, 3)), 1.3]
        for top, bottom in pairwise(edges):
            left, crop = -0.3 + 0.4 * column, p.choose(*CROPS)
            corners = [(left, top), (left + 0.4, top), (left + 0.4, bottom), (left, bottom)]
            p.canvas.patch([p.turned(*corner) for corner in corners], CROPS[crop], 6, 10)
            if crop != "brown":
                continue
            for row in np.arange(left + 0.02, left + 0.4, 0.025):
                furrow = [p.turned(row, top), p.turned(row, bottom)]
                p.canvas.line(furrow, 0.005, Surface((116, 97, 68), "soil"))


PlaceOf = Callable[[float, float], Point]


def _bridge(p: Painter, place: PlaceOf, width: float) -> None:
    """Carry a road across the stream."""
    ends = [place(0.5, -1.2), place(0.5, 1.2)]
    p.canvas.line(ends, 0.075, ASPHALT)
    (left, top), (right, bottom) = place(0.5, -width / 2 - 0.05), place(0.5, width / 2 + 0.05)
    angle, length = math.atan2(bottom - top, right - left), math.hypot(right - left, bottom - top)
    middle = ((left + right) / 2, (top + bottom) / 2)
    p.box("bridge", rectangle(middle, length, 0.1, angle), CONCRETE, height=0.03)
    p.canvas.polygon(rectangle(middle, length, 0.075, angle), ASPHALT, base=0.03)
    dashes(p, *ends)


def _boat(p: Painter, place: PlaceOf, along: float, across: float) -> None:
    """Draw a boat that moves with the stream, and its wake."""
    (x, y), (ahead_x, ahead_y) = place(along, across), place(along + 0.01, across)
    angle = math.atan2(ahead_y - y, ahead_x - x)
    c, s = math.cos(angle), math.sin(angle)

    def hull(length: float, width: float) -> list[Point]:
        outline = [(-0.5, -0.5), (0.2, -0.5), (0.5, 0), (0.2, 0.5), (-0.5, 0.5)]
        return [(x + u * length * c - v * width * s, y + u * length * s + v * width * c) for u, v in outline]

    for spread in (-1, 1):
        stern, tail = (-0.05, spread * 0.012), (-0.15, spread * 0.035)
        wake = [(x + u * c - v * s, y + u * s + v * c) for u, v in (stern, tail)]
        p.canvas.line(wake, 0.008, Surface((120, 150, 165), "water"))
    p.canvas.polygon(hull(0.12, 0.045), painted(p.choose("white", "red", "blue"), "metal"))
    p.canvas.polygon(hull(0.06, 0.024), Surface((206, 198, 180), "metal"), height=0.006)
    p.objects.append(("ship", rectangle((x, y), 0.12, 0.045, angle)))


def junction(p: Painter) -> Facts:
    """Draw three or four roads that meet at right angles, with markings, cars, and what stands at the corners."""
    arms, beside, cars = p.number(3, 4), p.choose("buildings", "trees", "fields"), p.number(0, 6)
    first = p.number(0, 3)
    angles = [p.angle + math.pi / 2 * (first + arm) for arm in range(arms)]
    p.canvas.fill(GROUND[p.ground])
    if beside == "fields":
        _fields(p)
    for width, surface in ((0.25, CONCRETE), (0.19, ASPHALT)):
        p.canvas.patch(rectangle((0.5, 0.5), width, width, p.angle), surface, 4)
        for angle in angles:
            p.canvas.patch(rectangle(_away(angle, 0.5), 1, width, angle), surface, 4)
    for angle in angles:
        dashes(p, _away(angle, 0.23), _away(angle, 1.2))
        for stripe in np.linspace(-0.075, 0.075, 6):
            p.canvas.polygon(rectangle(_away(angle, 0.155, stripe), 0.05, 0.014, angle), MARKING)
        p.canvas.polygon(rectangle(_away(angle, 0.2, -0.045), 0.01, 0.08, angle), MARKING)
    for corner in range(4):
        _corner(p, beside, p.angle + math.pi / 4 + corner * math.pi / 2)
    slots = [(angle, distance, lane) for angle in angles for distance in (0.27, 0.39) for lane in (-0.045, 0.045)]
    for slot in p.rng.permutation(len(slots))[:cars]:
        angle, distance, lane = slots[slot]
        car(p, _away(angle, distance, lane), angle, str(p.rng.choice(list(PAINTS))))
    return {"count": arms, "beside": beside, "cars": cars}


def _away(angle: float, distance: float, across: float = 0.0) -> Point:
    """Return the point at a distance from the middle, and ``across`` to the right of that direction."""
    c, s = math.cos(angle), math.sin(angle)
    return 0.5 + distance * c - across * s, 0.5 + distance * s + across * c


def _corner(p: Painter, beside: str, angle: float) -> None:
    """Put buildings or trees at a corner between two roads."""
    x, y = _away(angle, 0.44)
    p.canvas.trees(24 if beside == "trees" else 2, (x - 0.1, y - 0.1, x + 0.1, y + 0.1), p.rng)
    if beside == "buildings":
        length, width = (float(p.rng.uniform(0.2, 0.3)) for _ in range(2))
        flat = painted(p.choose("grey", "brown", "red"), "roof")
        p.canvas.polygon(rectangle((x, y), length, width, p.angle), flat, height=0.045)
        unit = Surface((196, 196, 192), "metal")
        p.canvas.polygon(rectangle((x, y), 0.04, 0.03, p.angle), unit, height=0.01, base=0.045)
