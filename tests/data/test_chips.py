import json

import numpy as np
import pytest
from PIL import Image

from eotune.core.config import parse
from eotune.core.errors import InputError
from eotune.data.chips import ChipConfig, cut_chips
from eotune.data.images import read_image
from eotune.data.labelled import read_labelled
from eotune.data.rasters import band_names
from eotune.data.scenes import write_dataset

LABELS = """imagesource:GoogleEarth
gsd:0.5
10 10 30 10 30 20 10 20 ship 0
40 5 45 5 45 8 40 8 small-vehicle 0
35 30 55 30 55 44 35 44 plane 1
-5 40 9 40 9 60 -5 60 ship 0
"""


@pytest.fixture
def dota(tmp_path, picture):
    """A folder of images and one of labels; the second image has no box."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for number, name in enumerate(("P1", "P2", "unlabelled")):
        Image.fromarray(picture(number, (48, 64))).save(tmp_path / f"images/{name}.png")
    (tmp_path / "labels/P1.txt").write_text(LABELS)
    (tmp_path / "labels/P2.txt").write_text("imagesource:GoogleEarth\ngsd:null\n")
    return tmp_path


def cut(root, out="chips", skip_bad=False, **settings):
    return cut_chips(root / "images", root / "labels", root / out, ChipConfig(**settings), skip_bad=skip_bad, threads=2)


def rows_of(chips):
    return [json.loads(line) for line in chips.path.read_text().splitlines()]


def test_each_box_gives_a_chip_of_the_pixels_around_it(dota):
    chips = cut(dota, margin=0.1)
    source = read_image(dota / "images/P1.png")
    rows = rows_of(chips)
    assert [row["image"] for row in rows] == ["ship/P1_0003.png", "plane/P1_0005.png", "ship/P1_0006.png"]
    assert [row["window"] for row in rows] == [[8, 8, 32, 22], [33, 28, 57, 46], [0, 38, 11, 48]]
    for row in rows:
        x0, y0, x1, y1 = row["window"]
        np.testing.assert_array_equal(read_image(chips.path.parent / row["image"]), source[y0:y1, x0:x1])
    assert rows[1] == {
        "image": "plane/P1_0005.png",
        "label": "plane",
        "source": "P1.png",
        "line": 5,
        "corners": [[35, 30], [55, 30], [55, 44], [35, 44]],
        "window": [33, 28, 57, 46],
        "difficult": True,
        "gsd": 0.5,
    }
    assert (chips.counts, chips.images, chips.too_small, chips.difficult) == ({"ship": 2, "plane": 1}, 2, 1, 0)


def test_square_windows_and_what_is_left_out(dota):
    square = cut(dota, "a", margin=0, square=True, difficult=False, minimum_size=3)
    assert [row["window"] for row in rows_of(square)] == [[10, 5, 30, 25], [40, 4, 45, 9], [0, 40, 12, 48]]
    assert (square.difficult, square.too_small) == (1, 0)
    # What lies outside does not count: of the last ship's 20 rows, 8 are seen.
    assert cut(dota, "b", minimum_size=9.5).counts == {"ship": 1, "plane": 1}


def test_chips_are_a_labelled_set_both_ways(dota):
    chips = cut(dota)
    listed, folders = read_labelled(chips.path), read_labelled(chips.path.parent)
    assert (listed.classes, listed.counts().tolist()) == (folders.classes, folders.counts().tolist())
    assert listed.classes == ("plane", "ship")


def test_an_interrupted_command_goes_on(dota):
    chips = cut(dota)
    listing, first, second = chips.path.read_bytes(), *(chips.path.parent / row["image"] for row in rows_of(chips)[:2])
    before, kept = second.read_bytes(), first.stat().st_mtime_ns
    second.unlink()
    chips.path.unlink()
    again = cut(dota)
    assert (again.path.read_bytes(), second.read_bytes(), first.stat().st_mtime_ns) == (listing, before, kept)


def test_other_settings_or_labels_want_another_folder(dota):
    cut(dota)
    with pytest.raises(InputError, match=r"holds chips cut otherwise \(margin differ\); choose another --out"):
        cut(dota, margin=0.2)
    (dota / "labels/P2.txt").write_text("1 1 20 1 20 20 1 20 ship 0")
    with pytest.raises(InputError, match=r"\(labels differ\)"):
        cut(dota)
    with pytest.raises(InputError, match="is there already, and holds no chips"):
        cut(dota, "images")


def test_every_wrong_line_and_file_is_listed_and_nothing_is_cut(dota):
    (dota / "labels/P1.txt").write_text(LABELS + "1 1 9 1 9 9 x 9 ship 0\n90 90 99 90 99 99 90 99 ship 0\n")
    (dota / "labels/P9.txt").write_text(LABELS)
    (dota / "labels/empty.txt").write_text(LABELS)
    (dota / "images/empty.png").touch()
    with pytest.raises(InputError) as caught:
        cut(dota)
    text = str(caught.value)
    for part in (
        "labels: 4 problems",
        "P1.txt: line 7: 'x' is no coordinate",
        "P1.txt: line 8: the box lies outside the image (64 x 48)",
        "P9.txt: no image in",
        "empty.png: the image is empty",
    ):
        assert part in text
    assert not (dota / "chips").exists()
    chips = cut(dota, skip_bad=True)
    assert (len(chips.problems), chips.counts) == (4, {"ship": 2, "plane": 1})


def test_an_image_that_breaks_off_is_named(dota):
    path = dota / "images/P1.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(InputError, match=r"P1.png: cannot be read"):
        cut(dota)
    assert not (dota / "chips/chips.jsonl").exists()
    (dota / "labels/P2.txt").write_text("1 1 20 1 20 20 1 20 ship 0")
    chips = cut(dota, "others", skip_bad=True)
    assert (chips.counts, len(chips.problems)) == ({"ship": 1}, 1)


def test_labels_in_sub_folders_find_the_image_at_their_place(dota, picture):
    for part in ("train", "val"):
        for folder in ("images", "labels"):
            (dota / folder / part).mkdir()
        Image.fromarray(picture(7, (48, 64))).save(dota / f"images/{part}/Q.png")
        (dota / f"labels/{part}/Q.txt").write_text(LABELS)
    chips = cut(dota)
    assert {row["source"] for row in rows_of(chips)} == {"P1.png", "train/Q.png", "val/Q.png"}
    assert len({row["image"] for row in rows_of(chips)}) == 9
    (dota / "labels/train/Q.txt").rename(dota / "labels/Q.txt")
    with pytest.raises(InputError, match="Q.txt: several images"):
        cut(dota, "again")


def test_yolo_boxes_are_the_same_boxes(dota):
    (dota / "labels/P2.txt").unlink()
    expected = rows_of(cut(dota, "a"))
    names = ["plane", "ship", "small-vehicle"]
    lines = []
    for line in LABELS.splitlines()[2:]:
        *corners, name, _ = line.split()
        shares = [float(v) / side for v, side in zip(corners, (64, 48) * 4, strict=True)]
        lines.append(" ".join(map(str, [names.index(name), *shares])))
    (dota / "labels/P1.txt").write_text("\n".join(lines))
    (dota / "labels/classes.txt").write_text("\n".join(names))
    found = rows_of(cut(dota, "b", format="yolo", classes=tuple(names)))
    for key in ("label", "window", "corners"):
        assert [row[key] for row in found] == [row[key] for row in expected]
    with pytest.raises(InputError, match="give their names in order"):
        cut(dota, "c", format="yolo")


def test_classes_that_differ_by_case_only_are_refused_before_a_chip_is_cut(dota):
    labels = dota / "labels/P1.txt"
    labels.write_text(labels.read_text().replace(" ship ", " Ship ", 1))
    with pytest.raises(InputError, match="classes '[Ss]hip' and '[Ss]hip' differ by case only; write them alike"):
        cut(dota, skip_bad=True)
    assert not (dota / "chips").exists()


@pytest.mark.parametrize(
    ("folders", "message"), [(("images", "none"), "none: no such folder"), (("labels", "images"), "no label file")]
)
def test_folders_without_labels_are_refused(dota, folders, message):
    with pytest.raises(InputError, match=message):
        cut_chips(dota / folders[0], dota / folders[1], dota / "chips")


def test_a_set_of_which_no_box_is_left_is_refused(dota):
    with pytest.raises(InputError, match="no box to cut"):
        cut(dota, minimum_size=1000)


@pytest.mark.parametrize("values", [{"format": "voc"}, {"margin": -1}, {"minimum_size": -1}, {"margins": 1}])
def test_settings_that_make_no_sense_are_refused(values):
    with pytest.raises(InputError):
        parse(ChipConfig, values)


@pytest.mark.parametrize(("spectrum", "suffix"), [("rgb", ".png"), ("sar", ".tif")])
def test_scenes_of_every_spectrum(tmp_path, spectrum, suffix):
    write_dataset(tmp_path, {"train": 2}, classes=("Harbour", "Airport"), spectrum=spectrum)
    chips = cut_chips(tmp_path / "images", tmp_path / "labelTxt", tmp_path / "chips")
    assert set(chips.counts) == {"ship", "plane"}
    paths = read_labelled(chips.path).paths()
    assert {path.suffix for path in paths} == {suffix}
    if spectrum == "sar":
        assert [band[0] for band in band_names(paths[0])] == ["VV", "VH"]


def test_the_real_files(tmp_path, real):
    folder = real("dota/devkit/labelTxt").parent
    chips = cut_chips(folder / "images", folder / "labelTxt", tmp_path / "chips")
    assert chips.counts == {"ship": 531, "large-vehicle": 50, "small-vehicle": 14, "harbor": 5}
    assert len(read_labelled(chips.path)) == 600


def test_a_box_beside_a_corner_of_the_image_is_outside(dota):
    (dota / "labels/P2.txt").write_text("-40 10 -50 0 0 -50 10 -40 ship 0\n-40 10 -50 0 0 -50 40 -10 ship 0\n")
    with pytest.raises(InputError, match=r"P2.txt: line 1: the box lies outside the image \(64 x 48\)"):
        cut(dota)
    chips = cut(dota, skip_bad=True, minimum_size=4)
    assert [row["line"] for row in rows_of(chips) if row["source"] == "P2.png"] == []


def test_of_a_turned_box_the_part_inside_counts(dota):
    (dota / "labels/P2.txt").write_text("-10 4 4 -10 8 -6 -6 8 ship 0\n")  # seen: a triangle of two pixels
    assert cut(dota, minimum_size=3).too_small == 1
    assert cut(dota, "all", minimum_size=1.5).counts["ship"] == 3


def test_hidden_label_files_are_passed_over(dota):
    (dota / "labels/._P1.txt").write_bytes(b"\0\1")
    assert cut(dota).images == 2
