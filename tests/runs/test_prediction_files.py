import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from shapely import MultiPolygon, Polygon, box
from shapely.geometry import shape

from eotune.core.errors import InputError
from eotune.runs.predict import Predictions
from eotune.runs.prediction_files import check_out, write_predictions

SHARES = np.array([[0.2, 0.5, 0.3], [0.4, 0.2, 0.4]])


def predictions(images=("a.tif", "b.png"), footprints=(None, None), classes=("Bay, wide", "Forest", "River")):
    return Predictions(tuple(map(Path, images)), classes, SHARES, footprints, "probe", ())


def written(tmp_path, name, found, **settings):
    write_predictions(found, tmp_path / name, **settings)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    return (tmp_path / name).read_text(encoding="utf-8")


def test_csv(tmp_path):
    text = written(tmp_path, "out.csv", predictions(), top=2)
    assert text == (
        'image,class,probability,class_2,probability_2\na.tif,Forest,0.5,River,0.3\nb.png,"Bay, wide",0.4,River,0.4\n'
    )


def test_every_format_has_the_same_properties(tmp_path):
    texts = {
        suffix: written(tmp_path / suffix, f"out.{suffix}", predictions(), top=9, probabilities=True)
        for suffix in ("csv", "jsonl", "geojson")
        if (tmp_path / suffix).mkdir() is None
    }
    lines = [json.loads(line) for line in texts["jsonl"].splitlines()]
    assert list(lines[0]) == [
        "image", "class", "probability", "class_2", "probability_2", "class_3", "probability_3",
        "p_Bay, wide", "p_Forest", "p_River",
    ]  # fmt: skip
    assert [line["p_River"] for line in lines] == [0.3, 0.4]
    assert [feature["properties"] for feature in json.loads(texts["geojson"])["features"]] == lines
    table = csv.DictReader(texts["csv"].splitlines())
    assert list(table) == [{key: str(value) for key, value in line.items()} for line in lines]


def test_footprints_are_geometries_that_run_against_the_clock(tmp_path):
    corners = [(0, 0), (0, 1), (2, 1), (2, 0)]
    clockwise = Polygon(corners, [[(0.5, 0.5), (1, 0.5), (1, 0.7)]])
    across = MultiPolygon([box(179, -1, 180, 1), box(-180, -1, -179, 1)])
    found = predictions(footprints=(clockwise, across))
    one, other = (shape(f["geometry"]) for f in json.loads(written(tmp_path, "out.geojson", found))["features"])
    assert one.equals(clockwise)
    assert one.exterior.is_ccw
    assert not one.interiors[0].is_ccw
    assert other.equals(across)
    assert all(part.exterior.is_ccw for part in other.geoms)


def test_edges_that_are_straight_lose_their_points_between(tmp_path):
    edge = np.linspace(0, 1, 21)[:-1]
    ring = [*((x, 0) for x in edge), *((1, y) for y in edge), *((1 - x, 1) for x in edge), *((0, 1 - y) for y in edge)]
    text = written(tmp_path, "out.geojson", predictions(footprints=(Polygon(ring), None)))
    first, second = json.loads(text)["features"]
    assert shape(first["geometry"]).equals(box(0, 0, 1, 1))
    assert len(first["geometry"]["coordinates"][0]) <= 6
    assert second["geometry"] is None


def test_a_file_name_that_is_no_text_is_written_all_the_same(tmp_path):
    name = os.fsdecode(b"a\xff.tif")
    assert "a\ufffd.tif,Forest" in written(tmp_path, "out.csv", predictions((name, "b.png")))


def test_an_outline_of_centimetres_keeps_its_shape(tmp_path):
    small = Polygon([(15 + x * 4e-7, 48 + y * 3e-7) for x, y in ((0, 0.1), (0.9, 0), (1, 0.9), (0.1, 1))])
    found = json.loads(written(tmp_path, "out.geojson", predictions(footprints=(small, None))))
    assert shape(found["features"][0]["geometry"]).symmetric_difference(small).area < 0.02 * small.area


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "geojson"])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, suffix):
    out = tmp_path / f"out.{suffix}"
    out.write_text("old")
    with pytest.raises(ValueError, match="zip"):
        write_predictions(predictions(images=("a.tif",), footprints=(None,)), out)
    assert out.read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("out.txt", "unknown format of --out .*out.txt.*Known: .csv, .geojson, .jsonl"),
        ("out", "unknown format"),
        ("folder.csv", "is a directory"),
        ("there.csv", "is there already; choose another --out, or --overwrite"),
        ("there.csv/out.csv", "there.csv is no folder that can be written to"),
    ],
)
def test_what_cannot_be_written_is_refused_before_any_work(tmp_path, name, says):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "there.csv").touch()
    with pytest.raises(InputError, match=says):
        check_out(tmp_path / name, overwrite=False)


def test_what_can_be_written_is_let_through(tmp_path):
    (tmp_path / "there.CSV").touch()
    check_out(tmp_path / "there.CSV", overwrite=True)
    check_out(tmp_path / "new/folder/out.geojson", overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["there.CSV"]
