from xml.etree import ElementTree

import pytest

from eotune.runs.charts import Bar, Point, before_and_after, cloud, interval_bars, line_chart, scatter


def circles(drawing, kind):
    found = [one for one in ElementTree.fromstring(drawing).iter("circle") if kind in one.get("class").split()]
    return [(float(one.get("cx")), float(one.get("cy"))) for one in found]


def test_a_cloud_keeps_its_shape():
    drawing = cloud([("dot base", [(0, 0), (4, 0)]), ("dot main", [(0, 2)])], title="a < b")
    (left, low), (right, _) = circles(drawing, "base")
    ((x, high),) = circles(drawing, "main")
    assert x == left
    assert right - left == pytest.approx(2 * (low - high), abs=0.2)
    assert ElementTree.fromstring(drawing).get("aria-label") == "a < b"


def test_a_cloud_of_one_point_is_drawn():
    assert len(circles(cloud([("dot main", [(1, 1)])], title="one"), "main")) == 1


def test_bars_are_as_long_as_their_values_and_whiskers_span_intervals():
    drawing = interval_bars([("R@1", [Bar(10), Bar(20, 15, 30)])], title="t", maximum=40)
    tree = ElementTree.fromstring(drawing)
    widths = [float(one.get("width")) for one in tree.iter("rect")]
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.2)
    whisker = next(one for one in tree.iter("line") if one.get("class") == "whisker")
    assert float(whisker.get("x2")) - float(whisker.get("x1")) == pytest.approx(15 / 20 * widths[1], abs=0.2)


def test_a_curve_marks_its_best_point():
    drawing = line_chart([(1, 2.0), (2, 5.0), (3, 4.0)], title="t", x_label="epoch", mark=(2, 5.0), dots=True)
    (best,) = circles(drawing, "best")
    assert best in circles(drawing, "main")
    assert best[1] == min(y for _, y in circles(drawing, "main"))
    assert "best 5.00" in drawing


def test_a_scatter_is_logarithmic_across():
    points = [Point("a", 1e3, 10), Point("b", 1e4, 20), Point("c", 1e5, 30)]
    a, b, c = circles(scatter(points, title="t", x_label="parameters"), "main")
    assert b[0] - a[0] == pytest.approx(c[0] - b[0], abs=0.2)
    assert a[1] - b[1] == pytest.approx(b[1] - c[1], abs=0.2)


def test_before_and_after_stand_one_over_the_other():
    drawing = before_and_after([("a", 10, 20, 40), ("b", 100, 60, 60)], title="t", x_label="images")
    before, after = circles(drawing, "base"), circles(drawing, "main")
    assert [x for x, _ in before] == [x for x, _ in after]
    assert before[1] == after[1]
    assert after[0][1] - before[1][1] == pytest.approx(before[0][1] - after[0][1], abs=0.2)  # 60 - 40 = 40 - 20
    assert "a: 20.0, then 40.0" in drawing


def test_classes_of_one_size_that_are_never_found_are_drawn():
    assert len(circles(before_and_after([("a", 3, 0, 0)], title="t", x_label="images"), "main")) == 1
