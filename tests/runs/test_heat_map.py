from xml.etree import ElementTree

import numpy as np
import pytest

from eotune.runs.heat_map import heat_map


def cells(drawing):
    """Return {hint: (kind, opacity, x, y)} of the cells drawn."""
    found = {}
    for group in ElementTree.fromstring(drawing).iter("g"):
        rect = group.find("rect")
        found[group.find("title").text] = (
            rect.get("class"), float(rect.get("fill-opacity")), float(rect.get("x")), float(rect.get("y")),
        )  # fmt: skip
    return found


def test_cells_are_coloured_by_their_share_of_the_row_and_mistakes_stand_out():
    names = ["a & b", "c"]
    found = cells(heat_map(np.array([[3, 1], [0, 4]]), rows=names, columns=names, title="t", diagonal=True))
    assert found.keys() == {"a & b, a & b: 3", "a & b, c: 1", "c, c: 4"}  # nothing is drawn for none
    right, wrong, all_right = found["a & b, a & b: 3"], found["a & b, c: 1"], found["c, c: 4"]
    assert (right[0], wrong[0]) == ("main", "mark")
    assert (right[1] - 0.1) / (wrong[1] - 0.1) == pytest.approx(3, rel=0.05)
    assert all_right[1] == 1
    assert wrong[2] == all_right[2] > right[2]
    assert all_right[3] > wrong[3] == right[3]


def test_rows_and_columns_of_other_kinds_have_no_mistakes():
    found = cells(heat_map(np.array([[3, 1]]), rows=["a"], columns=["1", "2"], title="t"))
    assert {kind for kind, *_ in found.values()} == {"main"}


def test_groups_are_named_and_separated():
    counts, names = np.eye(3, dtype=int), ["a", "b", "c"]
    groups = [("head", 1), ("tail", 2)]
    tree = ElementTree.fromstring(heat_map(counts, rows=names, columns=names, title="t", groups=groups, diagonal=True))
    texts = [one.text for one in tree.iter("text")]
    assert [text for text in texts if text in ("head", "tail")] == ["head", "tail"]
    assert len(list(tree.iter("path"))) == 2  # one line across, one down


def test_labels_go_where_cells_are_too_small_for_them():
    names = [f"class {number}" for number in range(100)]
    large = heat_map(np.eye(100, dtype=int), rows=names, columns=names, title="t")
    assert "<text" not in large
    assert "class 99, class 99: 1" in large
    small = heat_map(np.eye(10, dtype=int), rows=names[:10], columns=names[:10], title="t")
    assert small.count(">class 9</text>") == 2
