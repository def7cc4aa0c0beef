import numpy as np
import pytest
from shapely.geometry import Point as ShapelyPoint
from shapely.geometry import Polygon

from eotune.data.scenes.canvas import SUPERSAMPLING, Canvas, rectangle
from eotune.data.scenes.materials import NAMES, Surface

GROUND, BLOCK, LINE = Surface((90, 120, 60), "grass"), Surface((200, 40, 40), "roof"), Surface((255, 255, 255), "paint")


def canvas(size=32):
    drawn = Canvas(size, np.random.default_rng(0), sun=0.0)
    drawn.fill(GROUND)
    return drawn


def test_a_polygon_covers_what_shapely_says_it_does():
    corners = rectangle((0.45, 0.55), 0.5, 0.2, 0.6)
    drawn = canvas()
    drawn.polygon(corners, BLOCK)
    side, shape = 32 * SUPERSAMPLING, Polygon(corners)
    covered = drawn.materials() == NAMES.index("roof")
    for row in range(0, side, 5):
        for column in range(0, side, 5):
            point = ShapelyPoint((column + 0.5) / side, (row + 0.5) / side)
            if shape.boundary.distance(point) > 1.5 / side:
                assert covered[row, column] == shape.contains(point)


def test_a_thing_that_stands_throws_its_shadow_away_from_the_sun_and_a_flat_one_none():
    flat, standing = canvas(), canvas()
    flat.polygon(rectangle((0.5, 0.5), 0.2, 0.2, 0), BLOCK)
    standing.polygon(rectangle((0.5, 0.5), 0.2, 0.2, 0), BLOCK, height=0.1)
    changed = np.abs(flat.finished().astype(int) - standing.finished()).sum(-1) > 60
    rows, columns = np.nonzero(changed)
    assert columns.min() >= 0.6 * 32 - 1  # sun 0: shadows fall to the right, as far as the thing is high
    assert columns.max() <= 0.7 * 32
    assert 0.4 * 32 - 1 <= rows.min() <= rows.max() <= 0.6 * 32
    assert np.array_equal(flat.materials(), standing.materials())


def test_heights_are_those_drawn_and_markings_have_none_of_their_own():
    drawn = canvas()
    drawn.polygon(rectangle((0.5, 0.5), 0.5, 0.5, 0), BLOCK, height=0.04)
    drawn.disc((0.5, 0.5), 0.1, BLOCK, height=0.01, base=0.04)
    drawn.line([(0.3, 0.35), (0.7, 0.35)], 0.03, LINE)
    heights = drawn.heights()
    assert heights[16, 16] == pytest.approx(0.05)
    assert heights[11, 16] == pytest.approx(0.04)
    assert heights[2, 2] == 0
    assert drawn.materials()[33, 48] == NAMES.index("paint")


def test_a_patch_has_its_colour_on_the_average_and_hides_what_was_there():
    drawn = canvas(64)
    drawn.polygon([(0, 0), (1, 0), (1, 1), (0, 1)], BLOCK, height=0.1)
    drawn.patch([(0, 0), (1, 0), (1, 1), (0, 1)], GROUND, 4)
    np.testing.assert_allclose(drawn.finished().mean((0, 1)), GROUND.colour, atol=3)
    assert drawn.heights().max() == 0
    assert set(np.unique(drawn.materials())) == {NAMES.index("grass")}


def test_trees_are_scattered_inside_their_rectangle():
    drawn = canvas(64)
    drawn.trees(40, (0.3, 0.1, 0.9, 0.4), np.random.default_rng(1))
    rows, columns = np.nonzero(drawn.materials() == NAMES.index("forest"))
    side, radius = 64 * SUPERSAMPLING, 0.03
    assert 0.3 - radius <= columns.min() / side <= columns.max() / side <= 0.9 + radius
    assert 0.1 - radius <= rows.min() / side <= rows.max() / side <= 0.4 + radius
    assert drawn.heights().max() > 0
