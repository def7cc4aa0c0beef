import numpy as np
import pytest
import rasterio

from eotune.core.errors import InputError
from eotune.data.footprints import footprint
from eotune.data.scenes import Georeference, write_geotiff


def test_tiles_lie_side_by_side():
    first = Georeference("EPSG:32733", (300_000.0, 8_000_000.0), 0.5)
    origins = [first.tile(n, 100, columns=3).origin for n in range(5)]
    assert origins == [
        (300_000.0, 8_000_000.0),
        (300_050.0, 8_000_000.0),
        (300_100.0, 8_000_000.0),
        (300_000.0, 7_999_950.0),
        (300_050.0, 7_999_950.0),
    ]


def test_the_file_says_where_it_lies_what_its_bands_are_and_what_is_missing(tmp_path):
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    write_geotiff(tmp_path / "a.tif", values, Georeference(), names=["VV", "VH"], nodata=float("nan"))
    with rasterio.open(tmp_path / "a.tif") as source:
        assert source.crs.to_epsg() == 32632
        assert source.res == (10.0, 10.0)
        assert source.bounds == (500_000, 5_400_000 - 30, 500_000 + 40, 5_400_000)
        assert source.descriptions == ("VV", "VH")
        assert np.isnan(source.nodata)
        np.testing.assert_array_equal(source.read(), values)


def test_the_footprint_is_right(tmp_path):
    # On the equator a degree of longitude is 111,320 m; the central meridian of zone 31 is 3 degrees east.
    write_geotiff(
        tmp_path / "a.tif", np.ones((1, 50, 100), np.uint8), Georeference("EPSG:32631", (500_000, 1000), 20.0)
    )
    west, south, east, north = footprint(tmp_path / "a.tif").bounds
    assert west == pytest.approx(3, abs=1e-9)
    assert east - west == pytest.approx(2000 / 111_320 / 0.9996, rel=1e-3)
    assert north - south == pytest.approx(1000 / 110_574 / 0.9996, rel=1e-3)
    assert north == pytest.approx(1000 / 110_574 / 0.9996, rel=1e-3)
    assert south == pytest.approx(0, abs=1e-9)
    degrees = Georeference("EPSG:4326", (10.0, 50.0), 0.01)
    write_geotiff(tmp_path / "b.tif", np.ones((1, 10, 20), np.uint8), degrees)
    assert footprint(tmp_path / "b.tif").bounds == pytest.approx((10.0, 49.9, 10.2, 50.0))


def test_what_cannot_be_is_refused(tmp_path):
    bands = np.ones((2, 4, 4), np.uint8)
    with pytest.raises(InputError, match="EPSG:999999"):
        write_geotiff(tmp_path / "a.tif", bands, Georeference("EPSG:999999"))
    with pytest.raises(InputError, match="3 names for 2 bands"):
        write_geotiff(tmp_path / "a.tif", bands, Georeference(), names=["a", "b", "c"])
    with pytest.raises(InputError, match="ground_sampling is 0"):
        Georeference(ground_sampling=0)
    assert list(tmp_path.iterdir()) == []
