import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely import Polygon, box

from eotune.boxes.obb import clip_hbb, corners_to_hbb, polygon_area, windows


@pytest.fixture
def rectangles():
    """Turned rectangles, (n, 4, 2), half of them counter-clockwise."""
    rng = np.random.default_rng(0)
    angles, sides = rng.uniform(0, 2 * np.pi, 50), rng.uniform(1, 40, (50, 2))
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) / 2 * sides[:, None]
    turn = np.stack([np.cos(angles), -np.sin(angles), np.sin(angles), np.cos(angles)], axis=1).reshape(-1, 2, 2)
    turned = corners @ turn.transpose(0, 2, 1) + rng.uniform(-10, 90, (50, 1, 2))
    turned[::2] = turned[::2, ::-1]
    return turned


def test_bounds_and_areas_are_those_of_shapely(rectangles):
    polygons = [Polygon(one) for one in rectangles]
    np.testing.assert_allclose(corners_to_hbb(rectangles), [one.bounds for one in polygons])
    np.testing.assert_allclose(polygon_area(rectangles), [one.area for one in polygons])


def test_no_box_is_no_row():
    nothing = np.zeros((0, 4, 2))
    assert corners_to_hbb(nothing).shape == (0, 4)
    assert polygon_area(nothing).shape == (0,)
    assert windows(corners_to_hbb(nothing), 5, 5).shape == (0, 4)


numbers = st.floats(-20, 40, allow_nan=False)


@given(numbers, numbers, st.floats(0.01, 30), st.floats(0.01, 30), st.sampled_from([0, 0.1, 0.75]), st.booleans())
def test_windows_hold_every_pixel_that_is_touched(x, y, width, height, margin, square):
    rows, columns = 17, 23
    hbb = np.array([(x, y, x + width, y + height)])
    first_x, first_y, end_x, end_y = windows(hbb, rows, columns, margin=margin, square=square)[0].tolist()
    extra = margin * max(width, height)
    grow_x, grow_y = (extra + (max(width, height) - side) / 2 if square else extra for side in (width, height))
    slack = 1e-9  # of the sums above, where an edge lies on that of a pixel

    def touched(first, last, n):
        return {k for k in range(n) if k + 1 > first + slack and k < last - slack}

    def maybe(first, last, n):
        return {k for k in range(n) if k + 1 > first - slack and k < last + slack}

    for found, low, high, n in (
        (set(range(first_x, end_x)), x - grow_x, x + width + grow_x, columns),
        (set(range(first_y, end_y)), y - grow_y, y + height + grow_y, rows),
    ):
        assert touched(low, high, n) <= found <= maybe(low, high, n)


def test_clipping_leaves_what_is_inside(rectangles):
    hbb = corners_to_hbb(rectangles)
    image = box(0, 0, 60, 40)
    for clipped, before in zip(clip_hbb(hbb, 40, 60), hbb, strict=True):
        inside = Polygon(
            [(before[0], before[1]), (before[2], before[1]), (before[2], before[3]), (before[0], before[3])]
        )
        area = (clipped[2] - clipped[0]) * (clipped[3] - clipped[1])
        assert math.isclose(area, inside.intersection(image).area, abs_tol=1e-9)
