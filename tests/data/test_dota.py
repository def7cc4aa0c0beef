import numpy as np
import pytest

from eotune.core.errors import InputError
from eotune.data.dota import read_dota, scan_dota
from eotune.data.scenes import render
from eotune.data.scenes.dota import write_dota


@pytest.fixture
def labels(tmp_path):
    def build(text, name="P0001.txt"):
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
        return tmp_path / name

    return build


def test_a_file_as_it_is_published(labels):
    text = "imagesource:GoogleEarth\r\ngsd:0.25\r\n1 2 3 4.5 5 6 7 8 ship 1\r\n\r\n-1 0 9 0 9 9 0 9 large-vehicle 0\r\n"
    boxes = read_dota(labels(text))
    assert (boxes.labels, boxes.gsd, len(boxes)) == (("ship", "large-vehicle"), 0.25, 2)
    assert boxes.corners.tolist() == [[[1, 2], [3, 4.5], [5, 6], [7, 8]], [[-1, 0], [9, 0], [9, 9], [0, 9]]]
    assert (boxes.difficult.tolist(), boxes.lines.tolist()) == ([True, False], [3, 5])


@pytest.mark.parametrize("head", ["gsd:null", "gsd:", "gsd:None", "gsd:nan", "gsd:-1", "imagesource:GF-2"])
def test_the_ground_sampling_may_be_unknown(labels, head):
    assert read_dota(labels(f"{head}\n1 1 5 1 5 3 1 3 ship 0")).gsd is None


def test_difficult_may_be_missing_and_so_may_every_box(labels):
    assert read_dota(labels("1 1 5 1 5 3 1 3 ship")).difficult.tolist() == [False]
    for text in ("", "imagesource:GoogleEarth\ngsd:0.1\n"):
        nothing = read_dota(labels(text))
        assert (nothing.corners.shape, nothing.difficult.dtype, len(nothing)) == ((0, 4, 2), bool, 0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 1 5 1 5 3 1 ship 0", "line 2: class '0' is a number"),
        ("0 0 1e308 0 1e308 1e308 0 1e308 ship 0", "line 2: '1e308' is no coordinate"),
        ("1 1 5 1 ship 0", "line 2: 6 words; wanted are eight coordinates"),
        ("1 1 5 1 5 3 1 x ship 0", "line 2: 'x' is no coordinate"),
        ("1 1 5 1 5 3 1 nan ship 0", "line 2: 'nan' is no coordinate"),
        ("1 1 5 1 5 3 1 3 ship yes", "line 2: difficult is 'yes'"),
        ("1 1 5 1 5 3 1 3 shp 0", "line 2: unknown class 'shp', did you mean 'ship'?"),
        ("1 0.5 0.5 0.6 0.5 0.6 0.6 0.5 0.6", "line 2: class '0.6' is a number; is this YOLO-OBB?"),
    ],
)
def test_wrong_lines_are_refused_with_their_number(labels, line, message):
    path = labels(f"gsd:0.1\n{line}\n1 1 5 1 5 3 1 3 ship 0")
    with pytest.raises(InputError) as caught:
        read_dota(path, classes=("ship", "plane"))
    assert message in str(caught.value)
    boxes, problems = scan_dota(path, classes=("ship", "plane"))
    assert (len(boxes), len(problems)) == (1, 1)


@pytest.mark.parametrize("label", ["../ship", "a/b", ".ship", "a\\b", "c:d", "a\x07b"])
def test_a_class_that_would_leave_its_folder_is_refused(labels, label):
    with pytest.raises(InputError, match="cannot name a folder"):
        read_dota(labels(f"1 1 5 1 5 3 1 3 {label} 0"))


def test_files_that_are_no_text_are_refused(labels, tmp_path):
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8 text"):
        read_dota(tmp_path / "binary.txt")
    with pytest.raises(InputError, match="No such file"):
        read_dota(tmp_path / "none.txt")


def test_what_the_scenes_write_is_read_back(tmp_path):
    scene = render("Harbour", 0, size=64)
    write_dota(tmp_path / "a.txt", scene.boxes, ground_sampling=0.5)
    boxes = read_dota(tmp_path / "a.txt")
    assert (boxes.gsd, boxes.labels) == (0.5, tuple(box.label for box in scene.boxes))
    np.testing.assert_allclose(boxes.corners, [box.corners for box in scene.boxes], atol=0.051)


def test_the_real_files(real):
    boxes = read_dota(real("dota/devkit/labelTxt/P1888.txt"))
    assert (len(boxes), boxes.gsd, set(boxes.labels)) == (64, 0.266170468393, {"small-vehicle", "large-vehicle"})
    assert set(read_dota(real("dota/devkit/labelTxt/P0706.txt")).labels) == {"ship", "harbor"}
