import math

import numpy as np
import pytest

from eotune.data.scenes.materials import NAMES
from eotune.data.scenes.painter import ASPHALT, Painter
from eotune.data.scenes.things import car, court, dashes, outline, plane, ship

METAL, PAINT = NAMES.index("metal"), NAMES.index("paint")


def painter(size=96):
    p = Painter(size, "Airport", 0)
    p.canvas.fill(ASPHALT)
    return p


def along_and_across(p, material, centre, angle):
    """Positions of a material's pixels in units of the side, along a direction and across it."""
    rows, columns = np.nonzero(p.canvas.materials() == material)
    x, y = (columns + 0.5) / p.canvas.side - centre[0], (rows + 0.5) / p.canvas.side - centre[1]
    return x * math.cos(angle) + y * math.sin(angle), -x * math.sin(angle) + y * math.cos(angle)


DRAWN = {
    "plane": (lambda p, where, angle: plane(p, where, angle, "red", length=0.4), 0.4, 0.4),
    "ship": (lambda p, where, angle: ship(p, where, 0.5, angle, "blue", width=0.12), 0.5, 0.12),
    "small-vehicle": (lambda p, where, angle: car(p, where, angle, "white", length=0.3, width=0.15), 0.3, 0.15),
}


@pytest.mark.parametrize("angle", [0, 0.7, 2.5, -1.2])
@pytest.mark.parametrize("label", DRAWN)
def test_a_thing_fills_its_box_from_end_to_end_and_nothing_more(label, angle):
    draw, length, width = DRAWN[label]
    p, centre = painter(), (0.45, 0.55)
    draw(p, centre, angle)
    ((noted, corners),) = p.objects
    assert noted == label
    np.testing.assert_allclose(np.mean(corners, 0), centre)
    assert math.dist(corners[0], corners[1]) == pytest.approx(length)
    assert math.dist(corners[1], corners[2]) == pytest.approx(width)
    along, across = along_and_across(p, METAL, centre, angle)
    # One drawn pixel is 1/288 of the side.
    np.testing.assert_allclose([along.min(), along.max()], [-length / 2, length / 2], atol=0.008)
    np.testing.assert_allclose([across.min(), across.max()], [-width / 2, width / 2], atol=0.008)


def test_planes_and_ships_point_forwards():
    """Narrow before and broad behind; the middle of a plane's wing span lies at its wings."""
    p = painter()
    ship(p, (0.5, 0.5), 0.5, 0, "red", width=0.15)
    along, across = along_and_across(p, METAL, (0.5, 0.5), 0)
    assert np.ptp(across[along > 0.21]) < 0.6 * np.ptp(across[along < -0.21])
    p = painter()
    plane(p, (0.5, 0.5), 0, "red", length=0.5)
    along, across = along_and_across(p, METAL, (0.5, 0.5), 0)
    assert np.abs(across[along > 0.12]).max() < 0.06  # a nose alone
    assert 0.08 < np.abs(across[along < -0.2]).max() < 0.12  # a tail


def test_dashes_are_as_long_as_asked_for():
    p = painter(192)
    dashes(p, (0.1, 0.5), (0.9, 0.5), length=0.05, gap=0.05, width=0.02)
    row = p.canvas.materials()[p.canvas.side // 2] == PAINT
    starts = np.flatnonzero(np.diff(row.astype(int)) == 1)
    np.testing.assert_allclose(np.diff(starts) / p.canvas.side, 0.1, atol=0.006)
    assert row.sum() / p.canvas.side == pytest.approx(0.4, abs=0.03)


@pytest.mark.parametrize("kind", ["tennis", "basketball", "football"])
def test_lines_are_symmetric_and_stay_on_the_court(kind):
    p = painter()
    court(p, kind, (0.5, 0.5), 0.8, 0.5)
    lines = p.canvas.materials() == PAINT
    rows, columns = np.nonzero(lines)
    assert np.abs((columns + 0.5) / p.canvas.side - 0.5).max() == pytest.approx(0.4, abs=0.01)
    assert np.abs((rows + 0.5) / p.canvas.side - 0.5).max() == pytest.approx(0.25, abs=0.01)
    # Lines are about three pixels wide, and PIL rounds them to one side.
    near = np.zeros_like(lines)
    for shift in range(-2, 3):
        near |= np.roll(lines[:, ::-1], shift, 1) | np.roll(lines[:, ::-1], shift, 0)
    assert (lines & ~near).sum() < 0.02 * lines.sum()


def test_kinds_of_courts_differ():
    drawn = set()
    for kind in ("tennis", "basketball", "football"):
        p = painter(48)
        court(p, kind, (0.5, 0.5), 0.8, 0.5)
        drawn.add(p.canvas.materials().tobytes())
    assert len(drawn) == 3


def test_an_outline_is_turned_about_its_centre():
    square = [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]
    turned = np.array(outline(square, (3, 4), 2, 2, math.pi / 2))
    np.testing.assert_allclose(turned, [(4, 3), (4, 5), (2, 5), (2, 3)], atol=1e-12)
