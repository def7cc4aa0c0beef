import numpy as np
import pytest

from eotune.core.config import parse
from eotune.core.errors import InputError
from eotune.data.bands import BandConfig, select_bands, to_rgb

FLOAT = np.dtype(np.float32)


def grid(*values):
    return np.array(values, np.float32).reshape(1, 1, -1)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([["blue"], ["green"], ["red"], ["nir"]], [3, 2, 1]),
        ([["B01"], ["B02"], ["B03"], ["B04"]], [4, 3, 2]),
        ([[], [], [], []], [1, 2, 3]),
        ([["VV"], ["VH"]], [1]),
        ([[]], [1]),
    ],
)
def test_usual_bands(names, expected):
    assert select_bands(None, names) == expected


def test_bands_by_name_and_number():
    assert select_bands(["nir", 1, "SWIR"], [["red"], ["NIR"], ["swir", "B11"]]) == [2, 1, 3]
    assert select_bands(["red"], [["red"], ["red"]]) == [1]  # the first of two with one name


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        (["B5"], "no band 'B5', did you mean 'b05'? It has 2 bands: B04, B05"),
        ([3], "no band 3. It has 2 bands: B04, B05"),
        ([0], "no band 0. It has 2 bands: B04, B05"),
        (["xyz"], "no band 'xyz'. It has 2 bands: B04, B05"),
    ],
)
def test_absent_bands_are_said(wanted, line):
    assert select_bands(wanted, [["B04"], ["B05"]]) == line


@pytest.mark.parametrize(
    "values",
    [
        {"bands": [1, 2]},
        {"percentiles": [98, 2]},
        {"scaling": "range"},
        {"scaling": "range", "low": 1, "high": 1},
        {"scaling": "gamma"},
        {"decibels": True},
    ],
)
def test_settings_that_make_no_sense_are_refused(values):
    with pytest.raises(InputError):
        parse(BandConfig, values)


def test_none_takes_values_as_they_are():
    image = to_rgb(grid(-3, 0.4, 200, 300, np.nan), BandConfig(scaling="none"), dtype=FLOAT, is_scaled=False)
    assert image.shape == (1, 5, 3)
    assert image[0, :, 0].tolist() == [0, 0, 200, 255, 0]


def test_percentiles_leave_nodata_out():
    values = grid(*range(101), *[np.nan] * 500)
    image = to_rgb(values, BandConfig(percentiles=(0, 50)), dtype=FLOAT, is_scaled=False)[0, :, 0]
    assert (image[0], image[20], image[50], image[100], image[-1]) == (0, 102, 255, 255, 0)


def test_auto_leaves_bytes_alone_and_stretches_the_rest():
    values = grid(10, 20)
    assert to_rgb(values, BandConfig(), dtype=np.dtype(np.uint8), is_scaled=False)[0, :, 0].tolist() == [10, 20]
    for dtype, is_scaled in ((np.dtype(np.uint16), False), (np.dtype(np.uint8), True)):
        assert to_rgb(values, BandConfig(), dtype=dtype, is_scaled=is_scaled)[0, :, 0].tolist() == [0, 255]


def test_range_is_the_same_in_every_image():
    config = BandConfig(scaling="range", low=-25, high=0)
    assert to_rgb(grid(-30, -25, -12.5, 0, 5), config, dtype=FLOAT, is_scaled=False)[0, :, 0].tolist() == [
        0, 0, 128, 255, 255,
    ]  # fmt: skip


def test_product_reads_integers_as_reflectance_times_ten_thousand():
    config = BandConfig(scaling="product")
    raw = to_rgb(grid(0, 1779, 3558, 9000), config, dtype=np.dtype(np.uint16), is_scaled=False)
    scaled = to_rgb(grid(0, 0.1779, 0.3558, 0.9), config, dtype=np.dtype(np.uint16), is_scaled=True)
    assert raw[0, :, 0].tolist() == scaled[0, :, 0].tolist() == [0, 128, 255, 255]


def test_three_bands_stay_in_order_and_a_constant_one_is_black():
    values = np.stack([np.full((2, 2), 5.0), np.eye(2), 1 - np.eye(2)]).astype(np.float32)
    image = to_rgb(values, BandConfig(percentiles=(0, 100)), dtype=FLOAT, is_scaled=False)
    assert image[0, 0].tolist() == [0, 255, 0]
    assert image[0, 1].tolist() == [0, 0, 255]
