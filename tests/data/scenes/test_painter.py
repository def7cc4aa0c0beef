import numpy as np

from eotune.data.scenes.materials import NAMES
from eotune.data.scenes.painter import Painter, painted


def test_choices_do_not_depend_on_the_size():
    """Textures draw from a generator of their own, or larger pictures would show another place."""
    small, large = Painter(16, "Harbour", 4), Painter(64, "Harbour", 4)
    small.canvas.fill(painted("grey", "roof"))
    large.canvas.fill(painted("grey", "roof"))
    assert (small.angle, small.ground) == (large.angle, large.ground)
    assert [small.number(1, 99) for _ in range(9)] == [large.number(1, 99) for _ in range(9)]
    assert small.choose("a", "b", "c") == large.choose("a", "b", "c")


def test_numbers_include_both_ends():
    painter = Painter(8, "Beach", 0)
    assert {painter.number(2, 4) for _ in range(60)} == {2, 3, 4}


def test_turning_keeps_distances_from_the_middle():
    painter = Painter(8, "Beach", 1)
    x, y = painter.turned(0.9, 0.2)
    np.testing.assert_allclose(np.hypot(x - 0.5, y - 0.5), np.hypot(0.4, -0.3))
    np.testing.assert_allclose(np.arctan2(y - 0.5, x - 0.5) - np.arctan2(-0.3, 0.4), painter.angle)


def test_a_box_is_drawn_where_it_is_noted():
    painter = Painter(32, "Beach", 0)
    painter.box("ship", [(0.25, 0.25), (0.75, 0.25), (0.75, 0.5), (0.25, 0.5)], painted("red", "metal"))
    assert painter.objects == [("ship", [(0.25, 0.25), (0.75, 0.25), (0.75, 0.5), (0.25, 0.5)])]
    rows, columns = np.nonzero(painter.canvas.materials() == NAMES.index("metal"))
    np.testing.assert_allclose([columns.min(), columns.max(), rows.min(), rows.max()], [24, 72, 24, 48], atol=1)
