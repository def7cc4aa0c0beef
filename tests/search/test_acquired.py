from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from eotune.data.rasters import opened
from eotune.search.acquired import acquired, check_pattern, parse_time


def micros(*date):
    return int(datetime(*date, tzinfo=UTC).timestamp() * 1_000_000)


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("20240131", (2024, 1, 31)),
        ("20240131T103021", (2024, 1, 31, 10, 30, 21)),
        ("2024_01_31", (2024, 1, 31)),
        ("2024:01:31 10:30:21", (2024, 1, 31, 10, 30, 21)),
        ("2024-01-31T12:30:21+02:00", (2024, 1, 31, 10, 30, 21)),
    ],
)
def test_times_as_they_are_written(text, date):
    assert parse_time(text) == micros(*date)


@pytest.mark.parametrize("text", ["", "20241301", "9999", "soon", "2024-02-30"])
def test_what_is_no_time(text):
    assert parse_time(text) is None


@pytest.mark.parametrize(
    ("name", "date"),
    [
        ("S2A_MSIL2A_20240131T103021_N0510.tif", (2024, 1, 31, 10, 30, 21)),
        ("LC08_2024-01-31.tif", (2024, 1, 31)),
        ("tile_1202401315.tif", None),
        ("20241331.tif", None),
    ],
)
def test_the_file_name_tells(geotiff, name, date):
    path = geotiff(np.ones((1, 2, 2), np.uint8), name)
    with opened(path) as source:
        assert acquired(path, source) == (date and micros(*date))


def test_tags_and_patterns(geotiff):
    path = geotiff(np.ones((1, 2, 2), np.uint8), "a_310124.tif", tags={"TIFFTAG_DATETIME": "2023:05:06 07:08:09"})
    with opened(path) as source:
        assert acquired(path, source) == micros(2023, 5, 6, 7, 8, 9)
        assert acquired(Path("x2022-03-04y"), source, r"x(?P<time>.*)y") == micros(2022, 3, 4)


@pytest.mark.parametrize("pattern", ["(", r"\d+"])
def test_patterns_without_a_time_are_refused(pattern):
    with pytest.raises(ValueError, match="time_pattern"):
        check_pattern(pattern)
