import pytest

from eotune.core.errors import InputError
from eotune.data.yolo_obb import read_class_names, read_yolo_obb

SIZE = {"height": 50, "width": 200}


@pytest.fixture
def written(tmp_path):
    def build(text, name="a.txt"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return build


def test_shares_become_pixels(written):
    boxes = read_yolo_obb(
        written("1 0.1 0.2 0.5 0.2 0.5 0.4 0.1 0.4\n\n0 0 0 1 0 1 1 0 1.02\n"), classes=("a", "b"), **SIZE
    )
    assert boxes.labels == ("b", "a")
    assert boxes.corners[0].ravel().tolist() == pytest.approx([20, 10, 100, 10, 100, 20, 20, 20])
    assert boxes.corners[1, 3].tolist() == pytest.approx([0, 51])
    assert (boxes.lines.tolist(), boxes.difficult.tolist(), boxes.gsd) == ([1, 3], [False, False], None)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 0 0 1 0 1 1 0 1", "line 1: class '2'; wanted is a number from 0 to 1"),
        ("-1 0 0 1 0 1 1 0 1", "class '-1'"),
        ("ship 0 0 1 0 1 1 0 1", "class 'ship'"),
        ("0 0.5 0.5 0.1 0.1", "5 words; these are upright boxes"),
        ("0 0 0 1 0 1 1 0 inf", "'inf' is no coordinate"),
    ],
)
def test_wrong_lines_are_refused_with_their_number(written, line, message):
    with pytest.raises(InputError) as caught:
        read_yolo_obb(written(line), classes=("a", "b"), **SIZE)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("d.yaml", "path: x\nnames:\n  0: plane\n  1: storage tank\n"),
        ("d.yml", "names: [plane, storage tank]"),
        ("d.txt", "plane\nstorage tank\n\n"),
    ],
)
def test_class_names_of_every_form(written, name, text):
    assert read_class_names(written(text, name)) == ("plane", "storage tank")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("d.yaml", "names: {1: plane, 2: ship}", r"numbered \[1, 2\]; number them from 0"),
        ("d.yaml", "nc: 3", "no list of different class names"),
        ("d.yaml", "names: [a, a]", "no list of different class names"),
        ("d.yaml", "names: [a", "not valid YAML"),
        ("d.txt", "", "no list of different class names"),
    ],
)
def test_files_without_class_names_are_refused(written, name, text, message):
    with pytest.raises(InputError, match=message):
        read_class_names(written(text, name))


def test_the_real_files(real):
    names = read_class_names(real("dota/dota8.yaml"))
    assert (len(names), names[1]) == (15, "ship")
    path = real("dota/dota8/labels/train/P0861__1024__0___1648.txt")
    boxes = read_yolo_obb(path, classes=names, height=1024, width=1024)
    assert set(boxes.labels) == {"harbor", "ship"}
    assert boxes.corners.min() == pytest.approx(-74, abs=0.1)  # a harbour that the tile's border cuts
