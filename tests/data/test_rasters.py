import numpy as np
import pytest

from eotune.core.errors import InputError
from eotune.data import rasters
from eotune.data.bands import BandConfig
from eotune.data.rasters import read_bands


def test_all_bands_with_scale_and_offset(geotiff):
    values = np.arange(12, dtype=np.uint16).reshape(3, 2, 2)
    path = geotiff(values, tags={"scales": (0.5, 1, 2), "offsets": (0, 10, 0)})
    expected = values * np.array([0.5, 1, 2]).reshape(3, 1, 1) + np.array([0, 10, 0]).reshape(3, 1, 1)
    read = read_bands(path)
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, expected)
    np.testing.assert_array_equal(read_bands(path, BandConfig(use_scale=False)), values)


def test_nodata_becomes_nan_before_scaling(geotiff):
    values = np.array([[[0, 1], [2, 7]]], np.int16)
    path = geotiff(values, nodata=0, tags={"scales": (0.1,)})
    np.testing.assert_allclose(read_bands(path)[0], [[np.nan, 0.1], [0.2, 0.7]], rtol=1e-6)
    np.testing.assert_allclose(read_bands(path, BandConfig(nodata=7))[0], [[np.nan, 0.1], [0.2, np.nan]], rtol=1e-6)


def test_nan_and_infinity_are_no_data(geotiff):
    values = np.array([[[np.nan, np.inf], [-np.inf, 3]]], np.float32)
    for nodata in (None, np.nan, -9999.0):
        np.testing.assert_array_equal(read_bands(geotiff(values, nodata=nodata))[0], [[np.nan, np.nan], [np.nan, 3]])
        path = geotiff(values)
        np.testing.assert_array_equal(read_bands(path, BandConfig(nodata=nodata))[0], [[np.nan, np.nan], [np.nan, 3]])


@pytest.mark.parametrize("values", [np.zeros((1, 2, 2), np.uint8), np.full((1, 2, 2), np.nan, np.float32)])
def test_nothing_but_nodata_is_an_error(geotiff, values):
    with pytest.raises(InputError, match=r"raster.tif: no pixel holds data \(every one is nodata\)"):
        read_bands(geotiff(values, nodata=0))


def test_bands_by_description(geotiff):
    path = geotiff(np.arange(4, dtype=np.uint16).reshape(4, 1, 1), tags={"descriptions": ("B02", "B03", "B04", "B08")})
    assert read_bands(path, BandConfig(bands=("b08", "B04", 1))).ravel().tolist() == [3, 2, 0]
    with pytest.raises(InputError, match="no band 'B8', did you mean 'b08'. It has 4 bands: B02, B03, B04") as caught:
        read_bands(path, BandConfig(bands=("B8", "B04", "B03")))
    assert str(path) in str(caught.value)


def test_decibels(geotiff):
    path = geotiff(np.array([[[1, 100], [0, -1]]], np.float32))
    np.testing.assert_allclose(read_bands(path, BandConfig(decibels="power"))[0], [[0, 20], [np.nan, np.nan]])
    np.testing.assert_allclose(read_bands(path, BandConfig(decibels="amplitude"))[0], [[0, 40], [np.nan, np.nan]])


def test_complex_values_show_their_magnitude(geotiff):
    path = geotiff(np.full((1, 6, 6), 3 + 4j, np.complex64))
    assert read_bands(path).max() == 5
    assert read_bands(path, max_side=2).shape == (1, 2, 2)


def test_decimated_reading_averages_and_leaves_nodata_out(geotiff):
    values = np.full((1, 64, 32), 10, np.uint16)
    values[:, ::2, :] = 30
    values[:, :, :16] = 0
    small = read_bands(geotiff(values, nodata=0), max_side=8)
    assert small.shape == (1, 16, 8)
    assert np.isnan(small[..., :4]).all()
    np.testing.assert_array_equal(small[..., 4:], 20)


def overlaps(n, m):
    """(m, n): how much of each of n pixels lies in each of m larger ones."""
    large, small = np.arange(m)[:, None] * n / m, np.arange(n)
    return np.clip(np.minimum(small + 1, large + n / m) - np.maximum(small, large), 0, None)


@pytest.mark.parametrize(
    ("missing", "told"), [(-9999.0, "by us"), (-9999.0, "by a tag"), (np.nan, "by a tag"), (np.nan, "")]
)
@pytest.mark.parametrize("side", [16, 13])
def test_decimated_averages_leave_out_whatever_stands_for_no_data(geotiff, monkeypatch, missing, told, side):
    monkeypatch.setattr(rasters, "_STRIP", 64 * 5)  # several strips, which end inside a larger pixel
    random = np.random.default_rng(0)
    values = random.normal(100, 5, (2, 48, 64)).astype(np.float32)
    holes = random.random((2, 48, 64)) < 0.3
    holes[:, :16, :16] = True
    path = geotiff(np.where(holes, np.float32(missing), values), nodata=missing if told == "by a tag" else None)
    small = read_bands(path, BandConfig(nodata=missing if told == "by us" else None), max_side=side)
    down, across = overlaps(48, side), overlaps(64, small.shape[2]).T
    weights = down @ ~holes @ across
    expected = down @ np.where(holes, 0, values) @ across / np.where(weights > 1e-9, weights, np.nan)
    assert np.isnan(small).any()
    np.testing.assert_allclose(small, expected, rtol=1e-4)


def test_a_border_of_zeros_does_not_darken_what_is_beside_it(geotiff):
    values = np.full((1, 64, 64), 1000, np.uint16)
    values[:, :5] = 0
    small = read_bands(geotiff(values), BandConfig(nodata=0), max_side=16)
    assert np.isnan(small[:, 0]).all()
    np.testing.assert_array_equal(small[:, 1:], 1000)


def test_values_beyond_float32_give_no_warning(geotiff, recwarn):
    values = np.full((1, 4, 4), 7.0)
    values[0, 0] = -1.7e308
    assert np.nanmax(read_bands(geotiff(values, nodata=-1.7e308))) == 7
    assert not recwarn


def test_huge_rasters_are_read_decimated_unasked(geotiff, monkeypatch):
    monkeypatch.setattr(rasters, "_MAX_PIXELS", 100)
    assert read_bands(geotiff(np.ones((1, 40, 40), np.uint16))).shape == (1, 10, 10)


def test_damaged_rasters(geotiff):
    path = geotiff(np.random.default_rng(0).integers(0, 9999, (4, 64, 64), dtype=np.uint16))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="raster.tif: cannot be read as an image"):
        read_bands(path)


def test_a_virtual_raster_cannot_lead_elsewhere(geotiff, tmp_path):
    target = geotiff(np.ones((1, 4, 4), np.uint8))
    (tmp_path / "link.tif").write_text(
        f'<VRTDataset rasterXSize="4" rasterYSize="4"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>{target}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(InputError, match="neither GeoTIFF"):
        read_bands(tmp_path / "link.tif")
