"""The beginning of a runway: its markings, taxiways that lead to it, aeroplanes on it."""

import math
from collections.abc import Callable

import numpy as np

from eotune.data.scenes.canvas import Point, rectangle
from eotune.data.scenes.materials import Surface
from eotune.data.scenes.painter import ASPHALT, CONCRETE, GROUND, MARKING, Facts, Painter
from eotune.data.scenes.things import GUIDE, dashes, plane

_WIDTH, _MIDDLE = 0.26, 0.4  # of the runway, across it; it begins at 0.04 along it and leaves the scene


def runway(p: Painter) -> Facts:
    """Draw the beginning of a runway, taxiways that lead to it, and one to three aeroplanes on it."""
    planes, taxiways, colour = p.number(1, 3), p.number(1, 2), p.choose("white", "blue", "red")
    surface, turn = p.choose("grey asphalt", "light concrete"), 2 * math.pi * p.number(0, 3) / 4
    angle = p.angle + turn
    pavement = Surface((112, 113, 115), "asphalt") if surface == "grey asphalt" else CONCRETE

    def place(along: float, across: float) -> Point:
        c, s = math.cos(turn), math.sin(turn)
        u, v = along - 0.5, across - 0.5
        return p.turned(0.5 + u * c - v * s, 0.5 + u * s + v * c)

    def strip(start: Point, end: Point, width: float, ground: Surface) -> None:
        middle = place((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        direction = angle + math.atan2(end[1] - start[1], end[0] - start[0])
        p.canvas.patch(rectangle(middle, math.dist(start, end), width, direction), ground, 4, 12)

    p.canvas.fill(GROUND[p.ground])
    exits = [0.4, 0.84] if taxiways == 2 else [0.62]
    for along in exits:
        strip((along, _MIDDLE), (along, 1.4), 0.11, ASPHALT)
    strip((0.04, _MIDDLE), (1.5, _MIDDLE), _WIDTH, pavement)
    for along in exits:
        p.canvas.line([place(along, _MIDDLE + _WIDTH / 2), place(along, 1.4)], 0.009, GUIDE)
        p.canvas.line([place(along - 0.05, 0.6), place(along + 0.05, 0.6)], 0.012, GUIDE)
    _markings(p, place, angle)
    for slot in p.rng.permutation([0.42, 0.63, 0.84])[:planes]:
        plane(p, place(float(slot), _MIDDLE), angle, colour, length=0.16)
    return {
        "planes": planes, "taxiways": taxiways, "colour": colour, "surface": surface, "beside": f"{p.ground} grass",
    }  # fmt: skip


def _markings(p: Painter, place: Callable[[float, float], Point], angle: float) -> None:
    """Paint edges, threshold, aiming point and centre line."""
    for side in (-0.46, 0.46):
        across = _MIDDLE + side * _WIDTH
        p.canvas.line([place(0.04, across), place(1.5, across)], 0.008, MARKING)
    for stripe in (*np.linspace(-0.38, -0.08, 4), *np.linspace(0.08, 0.38, 4)):
        p.canvas.polygon(rectangle(place(0.12, _MIDDLE + stripe * _WIDTH), 0.1, 0.014, angle), MARKING)
    for side in (-0.22, 0.22):
        p.canvas.polygon(rectangle(place(0.3, _MIDDLE + side * _WIDTH), 0.1, 0.026, angle), MARKING)
    dashes(p, place(0.2, _MIDDLE), place(1.5, _MIDDLE), length=0.07, gap=0.05, width=0.012)
