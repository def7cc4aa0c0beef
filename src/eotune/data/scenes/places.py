"""How each class of scene is drawn: one function a class, which returns the facts that its captions tell."""

import math
from collections.abc import Callable

import numpy as np

from eotune.data.scenes.canvas import Point, rectangle
from eotune.data.scenes.materials import Surface
from eotune.data.scenes.painter import (
    ASPHALT,
    CONCRETE,
    CROPS,
    GROUND,
    PAINTS,
    SAND,
    WATER,
    Facts,
    Painter,
    painted,
)
from eotune.data.scenes.routes import junction, river
from eotune.data.scenes.runway import runway
from eotune.data.scenes.things import GUIDE, car, court, dashes, house, plane, ship


def _airport(p: Painter) -> Facts:
    count, paint = p.number(1, 6), p.choose("white", "blue", "red")
    p.canvas.fill(GROUND[p.ground])
    p.canvas.patch(rectangle((0.5, 0.5), 1.6, 0.62, p.angle), CONCRETE, 4)
    p.canvas.line([p.turned(-0.3, 0.5), p.turned(1.3, 0.5)], 0.008, GUIDE)
    for slot in range(count):
        x, y = p.turned(0.14 + 0.145 * slot, 0.5 + 0.12 * (-1) ** slot)
        p.canvas.line([(x, y), p.turned(0.14 + 0.145 * slot, 0.5)], 0.006, GUIDE)
        plane(p, (x, y), p.angle + math.pi / 2, paint)
    return {"count": count, "colour": paint, "beside": f"{p.ground} grass"}


def _harbour(p: Painter) -> Facts:
    count, paint, side = p.number(1, 7), p.choose("white", "red", "blue"), p.choose("left", "right")
    p.canvas.fill(WATER, 5, 6)
    edge = 0.26 if side == "left" else 0.74
    land = [(0, 0), (edge, 0), (edge, 1), (0, 1)] if side == "left" else [(edge, 0), (1, 0), (1, 1), (edge, 1)]
    p.canvas.patch(land, CONCRETE, 5)
    direction = 1 if side == "left" else -1
    for slot in range(count):
        y = 0.1 + 0.13 * slot
        pier = rectangle((edge + direction * 0.17, y + 0.055), 0.36, 0.018, 0)
        p.canvas.polygon(pier, Surface((142, 130, 112), "concrete"))
        length = float(p.rng.uniform(0.18, 0.3))
        x = edge + direction * (0.03 + length / 2)
        ship(p, (x, y), length, 0 if side == "left" else math.pi, paint)
    return {"count": count, "colour": paint, "side": side, "beside": "a concrete quay"}


def _storage_tanks(p: Painter) -> Facts:
    count, paint = p.number(2, 9), p.choose("white", "grey", "brown")
    p.canvas.fill(GROUND[p.ground])
    p.canvas.patch(rectangle((0.5, 0.5), 0.9, 0.9, 0), Surface((150, 142, 128), "soil"), 5)
    radius = 0.13 if count <= 4 else 0.1
    columns = 2 if count <= 4 else 3
    for index in range(count):
        x = 0.5 + (index % columns - (columns - 1) / 2) * 0.3
        y = 0.5 + (index // columns - (math.ceil(count / columns) - 1) / 2) * 0.3
        p.canvas.disc((x, y), radius, painted(paint, "metal"), height=0.05)
        red, green, blue = (min(255, value + 12) for value in PAINTS[paint])
        p.canvas.disc((x, y), radius * 0.82, Surface((red, green, blue), "metal"), base=0.05)
        p.objects.append(("storage-tank", rectangle((x, y), 2 * radius, 2 * radius, 0)))
    return {"count": count, "colour": paint, "beside": f"{p.ground} grass"}


def _parking(p: Painter) -> Facts:
    rows, fill = p.number(2, 4), p.choose("few", "many")
    p.canvas.fill(ASPHALT, 5)
    for row in range(rows):
        for slot in range(10):
            x, y = 0.09 + 0.09 * slot, (row + 0.7) / (rows + 0.4)
            p.canvas.line([(x - 0.045, y - 0.06), (x - 0.045, y + 0.06)], 0.006, Surface((210, 210, 206), "paint"))
            if p.rng.random() < (0.85 if fill == "many" else 0.25):
                car(p, (x, y), math.pi / 2, str(p.rng.choice(list(PAINTS))), length=0.1, width=0.05)
    edge = p.choose("top", "bottom")
    y = 0.02 if edge == "top" else 0.98
    p.canvas.trees(10, (0, y - 0.02, 1, y + 0.02), p.rng)
    return {"count": rows, "amount": fill, "side": edge}


def _residential(p: Painter) -> Facts:
    rows, roof = p.number(2, 4), p.choose("red", "grey", "brown")
    p.canvas.fill(GROUND[p.ground])
    for row in range(rows):
        y = (row + 0.5) / rows
        p.canvas.line([(0, y), (1, y)], 0.06, ASPHALT)
        for slot in range(rows + 1):
            x = (slot + 0.5) / (rows + 1) + float(p.rng.normal(0, 0.01))
            for where in (-1, 1):
                house(p, (x, y + where * 0.26 / rows), 0.4 / rows, 0.22 / rows, roof)
    trees = p.number(4, 16)
    p.canvas.trees(trees, (0, 0, 1, 1), p.rng)
    return {
        "count": rows, "colour": roof, "amount": "dense" if rows > 3 else "sparse", "ground": p.ground,
        "trees": "some" if trees < 10 else "many",
    }  # fmt: skip


def _farmland(p: Painter) -> Facts:
    strips, crop = p.number(2, 6), p.choose("green", "yellow", "brown")
    other = str(p.rng.choice([name for name in GROUND if name != crop]))
    p.canvas.fill(CROPS[crop])
    # The outermost strips go on to the edges, so that as many are seen as there are said to be.
    for strip in range(0, strips, 2):
        left, right = strip / strips if strip else -1, (strip + 1) / strips if strip + 1 < strips else 2
        p.canvas.patch(
            [p.turned(left, -1), p.turned(right, -1), p.turned(right, 2), p.turned(left, 2)], CROPS[other], 7, 12
        )
    for strip in range(1, strips):
        border = [p.turned(strip / strips, -1), p.turned(strip / strips, 2)]
        p.canvas.line(border, 0.008, Surface((120, 104, 78), "soil"))
    return {"count": strips, "colour": crop, "other": other}


def _forest(p: Painter) -> Facts:
    amount, feature = p.choose("dense", "sparse"), p.choose("a road", "a river", "nothing")
    p.canvas.fill(GROUND[p.ground])
    p.canvas.trees(320 if amount == "dense" else 70, (0, 0, 1, 1), p.rng)
    if feature != "nothing":
        path = [p.turned(0.5 + 0.08 * math.sin(5 * t), t) for t in np.linspace(-0.3, 1.3, 16)]
        p.canvas.line(path, 0.07 if feature == "a road" else 0.11, ASPHALT if feature == "a road" else WATER)
    return {"amount": amount, "feature": feature, "ground": p.ground}


def _beach(p: Painter) -> Facts:
    side, feature = p.choose("left", "right", "top", "bottom"), p.choose("trees", "buildings", "nothing")
    p.canvas.fill(SAND, 5)
    wave = [(t, 0.45 + 0.03 * math.sin(9 * t + p.angle * 9)) for t in np.linspace(0, 1, 24)]

    def place(x: float, y: float) -> Point:
        return {"top": (x, y), "bottom": (x, 1 - y), "left": (y, x), "right": (1 - y, x)}[side]

    p.canvas.patch([place(0, 0), place(1, 0), *(place(x, y) for x, y in reversed(wave))], WATER, 5)
    p.canvas.line([place(x, y + 0.01) for x, y in wave], 0.018, Surface((238, 240, 238), "water"))
    for slot in range(9):
        x, y = place(0.06 + 0.11 * slot, float(p.rng.uniform(0.82, 0.95)))
        if feature == "trees":
            p.canvas.trees(3, (x - 0.05, y - 0.05, x + 0.05, y + 0.05), p.rng)
        elif feature == "buildings" and slot % 2 == 0:
            p.canvas.polygon(rectangle((x, y), 0.12, 0.09, 0), painted("red", "roof"), height=0.02)
    return {"side": side, "feature": feature}


def _roundabout(p: Painter) -> Facts:
    arms, middle = p.number(3, 4), p.choose("green", "brown")
    p.canvas.fill(GROUND[p.ground])
    for arm in range(arms):
        angle = p.angle + 2 * math.pi * arm / arms
        p.canvas.line([(0.5, 0.5), (0.5 + math.cos(angle), 0.5 + math.sin(angle))], 0.13, ASPHALT)
    p.canvas.disc((0.5, 0.5), 0.27, ASPHALT)
    for arm in range(arms):
        _entry(p, p.angle + 2 * math.pi * arm / arms)
    p.canvas.disc((0.5, 0.5), 0.155, CONCRETE)
    p.canvas.disc((0.5, 0.5), 0.142, GROUND[middle])
    cars = p.number(0, 5)
    driven = [(float(p.rng.uniform(0, 2 * math.pi)), str(p.rng.choice(["white", "red", "blue"]))) for _ in range(cars)]
    last = -math.inf
    for angle, paint in sorted(driven):
        last = max(angle, last + 0.45)  # no car in another; five of them fill less than half of the circle
        where = (0.5 + 0.21 * math.cos(last), 0.5 + 0.21 * math.sin(last))
        car(p, where, last + math.pi / 2, paint, length=0.075, width=0.037)
    p.objects.append(("roundabout", rectangle((0.5, 0.5), 0.54, 0.54, 0)))
    return {"count": arms, "colour": middle, "cars": cars, "ground": p.ground}


def _entry(p: Painter, angle: float) -> None:
    """Mark where a road meets the roundabout: an island between the lanes, a line to give way at, dashes."""
    c, s = math.cos(angle), math.sin(angle)

    def place(u: float, v: float) -> Point:
        return 0.5 + u * c - v * s, 0.5 + u * s + v * c

    p.canvas.polygon([place(0.28, -0.014), place(0.28, 0.014), place(0.36, 0)], CONCRETE)
    dashes(p, place(0.278, 0.018), place(0.278, 0.06), length=0.012, gap=0.009)
    dashes(p, place(0.38, 0), place(1.2, 0))


def _sports(p: Painter) -> Facts:
    kind, count = p.choose("tennis", "football", "basketball"), p.number(1, 4)
    label = {"tennis": "tennis-court", "football": "soccer-ball-field", "basketball": "basketball-court"}[kind]
    inner = {
        "tennis": Surface((60, 110, 150), "court"),
        "football": Surface((78, 142, 70), "grass"),
        "basketball": Surface((180, 104, 70), "court"),
    }[kind]
    p.canvas.fill(GROUND[p.ground])
    for index in range(count):
        x, y = (0.28 + 0.44 * (index % 2), 0.28 + 0.44 * (index // 2)) if count > 1 else (0.5, 0.5)
        scale = 0.36 if count > 1 else 0.7
        p.box(label, rectangle((x, y), scale, scale * 0.62, 0), inner)
        for stripe in range(0, 8 if kind == "football" else 0, 2):  # mown to and fro
            mown = rectangle((x + (stripe - 3.5) / 8 * scale, y), scale / 8, scale * 0.62, 0)
            p.canvas.polygon(mown, Surface((92, 158, 82), "grass"))
        court(p, kind, (x, y), scale * 0.9, scale * 0.52)
    noun = "field" if kind == "football" else "court"
    return {"kind": kind, "court": noun, "count": count, "beside": f"{p.ground} grass"}


PLACES: dict[str, Callable[[Painter], Facts]] = {
    "Airport": _airport, "Beach": _beach, "Farmland": _farmland, "Forest": _forest, "Harbour": _harbour,
    "Junction": junction, "Parking": _parking, "Residential": _residential, "River": river,
    "Roundabout": _roundabout, "Runway": runway, "SportsField": _sports, "StorageTanks": _storage_tanks,
}  # fmt: skip
