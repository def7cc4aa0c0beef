"""Tiles of the rasters that archives hold: 16 bits and floats, borders, palettes, alpha, overviews, odd shapes."""

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp, Resampling

from eotune.data.bands import BandConfig
from eotune.data.images import read_image
from eotune.search.tiles import TileConfig, TileReader, find_tiles, tile_windows

UTM = {"crs": "EPSG:32633", "transform": (10, 0, 500_000, 0, -10, 5_000_000)}


@pytest.fixture
def random():
    return np.random.default_rng(0)


def pictures(path, config):
    """Every tile's pixels by its upper left corner; None for those left out."""
    with TileReader(config) as reader:
        return {tile.window[:2]: reader.read(path, tile.window) for tile in find_tiles(path, config)}


def describe(path, names):
    with rasterio.open(path, "r+") as target:
        target.descriptions = names


def test_sentinel_2_bands_as_the_product_shows_them(geotiff, random):
    values = random.integers(1, 4000, (5, 64, 64), dtype=np.uint16)
    path = geotiff(values, **UTM, nodata=0)
    describe(path, ("B02", "B03", "B04", "B08", "B11"))
    found = pictures(path, TileConfig(size=32, bands=BandConfig(scaling="product")))
    expected = np.clip(np.rint(values[[2, 1, 0]] / 10_000 * 255 / 0.3558), 0, 255).transpose(1, 2, 0)
    for (column, row), pixels in found.items():
        cut = expected[row : row + 32, column : column + 32]
        assert np.abs(pixels.astype(int) - cut).max() <= 1  # float32 rounds a half otherwise
    by_percentiles = pictures(path, TileConfig(size=32))[32, 0].astype(int)  # each tile's own
    band = values[2, :32, 32:]
    low, high = np.percentile(band, (2, 98))
    red = np.clip((band - low) * 255 / (high - low), 0, 255)
    assert np.abs(by_percentiles[..., 0] - red).max() <= 1


def test_scale_and_offset_of_the_file(geotiff, random):
    values = random.integers(1000, 5000, (3, 32, 32), dtype=np.uint16)
    path = geotiff(values, **UTM)
    with rasterio.open(path, "r+") as target:
        target.scales, target.offsets = (1e-4,) * 3, (-0.1,) * 3
    found = pictures(path, TileConfig(bands=BandConfig(scaling="product")))[0, 0]
    expected = np.clip((values.transpose(1, 2, 0) * 1e-4 - 0.1) * 255 / 0.3558, 0, 255)
    assert np.abs(found - expected).max() <= 1


def test_radar_in_decibels_with_a_border(geotiff, random):
    decibels = random.uniform(-25, 5, (2, 64, 96)).astype(np.float32)
    values = 10 ** (decibels / 10)
    values[:, :, :48] = 0  # a border that nothing declares: zero has no decibels
    path = geotiff(values, **UTM)
    bands = BandConfig(decibels="power", scaling="range", low=-25, high=5, bands=(2,))
    found = pictures(path, TileConfig(size=32, bands=bands))
    assert found[0, 0] is found[0, 32] is None
    assert (found[32, 0][:, :16] == 0).all()  # half of it is border, which is allowed
    expected = np.clip((decibels[1, :32, 64:] + 25) * 255 / 30, 0, 255)
    assert np.abs(found[64, 0][..., 1] - expected).max() <= 1
    assert (found[64, 0] == found[64, 0][..., :1]).all()  # one band is shown grey


def test_not_a_number_is_no_data(geotiff, random):
    values = random.normal(size=(1, 32, 64)).astype(np.float32)
    values[:, :, :32] = np.nan
    values[:, 0, 40] = np.inf
    found = pictures(geotiff(values, **UTM), TileConfig(size=32))
    assert found[0, 0] is None
    assert found[32, 0][0, 8].tolist() == [0, 0, 0]


@pytest.mark.parametrize("border", [0, 65535])
def test_a_slanted_border(geotiff, random, border):
    """As in orthorectified scenes: a rotated rectangle within the grid."""
    values = random.integers(100, 4000, (3, 96, 96), dtype=np.uint16)
    column, row = np.meshgrid(np.arange(96), np.arange(96))
    values[:, column + row < 60] = border
    found = pictures(geotiff(values, **UTM, nodata=border), TileConfig(size=32, max_nodata=0.3))
    missing = {place: (values[0, place[1] : place[1] + 32, place[0] : place[0] + 32] == border) for place in found}
    assert {place for place, pixels in found.items() if pixels is None} == {
        place for place, mask in missing.items() if mask.mean() > 0.3
    }
    for place, pixels in found.items():
        assert pixels is None or (pixels[missing[place]] == 0).all()


def test_transparent_pixels_are_no_data(geotiff, random):
    values = random.integers(1, 255, (4, 32, 64), dtype=np.uint8)
    values[3] = 255
    values[3, :, :32] = 0
    values[3, :8, 32:] = 0
    path = geotiff(values, **UTM, photometric="RGB", alpha="yes")
    found = pictures(path, TileConfig(size=32))
    assert found[0, 0] is None
    np.testing.assert_array_equal(found[32, 0][8:], values[:3, 8:, 32:].transpose(1, 2, 0))
    assert (found[32, 0][:8] == 0).all()


def test_grey_with_alpha(geotiff, random):
    values = random.integers(1, 255, (2, 32, 32), dtype=np.uint8)
    values[1] = 255
    path = geotiff(values, **UTM)
    with rasterio.open(path, "r+") as target:
        target.colorinterp = (ColorInterp.gray, ColorInterp.alpha)
    found = pictures(path, TileConfig(size=32))[0, 0]
    np.testing.assert_array_equal(found, np.repeat(values[0][..., None], 3, axis=-1))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_palettes_are_looked_up_window_by_window(geotiff, random, dtype):
    values = random.integers(0, 5, (1, 50, 70), dtype=dtype)
    values[:, :32, :32] = 9
    colours = {number: (40 * number, 255 - number, 7, 255) for number in range(5)}
    path = geotiff(values, **UTM, nodata=9)
    with rasterio.open(path, "r+") as target:
        target.write_colormap(1, colours)
    found = pictures(path, TileConfig(size=32))
    assert found[0, 0] is None
    cut = values[0, :32, 32:64]
    for number in range(5):
        assert (found[32, 0][cut == number] == colours[number][:3]).all()
    numbers = pictures(path, TileConfig(size=32, bands=BandConfig(bands=(1,), scaling="none")))[32, 0]
    np.testing.assert_array_equal(numbers[..., 0], cut)


def test_overviews_give_what_the_pixels_give(geotiff, random, monkeypatch):
    from eotune.search import tiles

    monkeypatch.setattr(tiles, "_MAX_SIDE", 32)  # so that tiles are read decimated
    coarse = random.integers(0, 255, (3, 16, 16), dtype=np.uint8)
    values = np.kron(coarse, np.ones((1, 16, 16), np.uint8))
    plain = geotiff(values, "archive/plain.tif", **UTM)
    path = geotiff(values, "archive/overviews.tif", **UTM, tiled=True, blockxsize=64, blockysize=64)
    with rasterio.open(path, "r+") as target:
        target.build_overviews([2, 4], Resampling.average)
    config = TileConfig(size=128)
    expected, found = pictures(plain, config), pictures(path, config)
    assert found.keys() == expected.keys()
    for place, pixels in found.items():
        assert pixels.shape == (32, 32, 3)
        np.testing.assert_array_equal(pixels, expected[place])
        np.testing.assert_array_equal(pixels, read_image(plain)[place[1] + 2 : place[1] + 128 : 4,
                                                                place[0] + 2 : place[0] + 128 : 4])  # fmt: skip


def test_internal_masks_are_no_data(geotiff, random):
    values = random.integers(1, 255, (3, 32, 64), dtype=np.uint8)
    path = geotiff(values, **UTM)
    mask = np.full((32, 64), 255, np.uint8)
    mask[:, :40] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as target:
        target.write_mask(mask)
    found = pictures(path, TileConfig(size=32))
    assert found[0, 0] is None
    np.testing.assert_array_equal(found[32, 0][:, 8:], values[:, :, 40:].transpose(1, 2, 0))


@pytest.mark.parametrize(("width", "height"), [(65, 64), (64, 97), (129, 1), (1, 200), (33, 33)])
def test_remainders_of_a_pixel_are_in_a_whole_tile(geotiff, random, width, height):
    values = random.integers(0, 255, (3, height, width), dtype=np.uint8)
    path = geotiff(values, **UTM)
    tiles = find_tiles(path, TileConfig(size=32))
    shown = np.zeros((height, width, 3), np.uint8)
    with TileReader(TileConfig(size=32)) as reader:
        for tile in tiles:
            column, row, w, h = tile.window
            assert (w, h) == (min(width, 32 if height > 8 else 8), min(height, 32 if width > 8 else 8))
            assert tile.footprint.is_valid
            assert tile.footprint.area > 0
            shown[row : row + h, column : column + w] = reader.read(path, tile.window)
    np.testing.assert_array_equal(shown, values.transpose(1, 2, 0))
    whole = shapely.union_all([tile.footprint.buffer(1e-7) for tile in tiles])
    assert whole.geom_type == "Polygon"


def test_a_strip_is_not_cut_into_single_pixels():
    assert len(list(tile_windows(1, 10_000, 512))) == -(-10_000 // 128)
    assert {window[2:] for window in tile_windows(100, 10_000, 512)} == {(100, 128)}


def test_position_by_control_points_only(geotiff, random):
    values = random.integers(0, 255, (1, 64, 64), dtype=np.uint8)
    corners = [(0, 0), (64, 0), (0, 64), (64, 64), (32, 30)]
    points = [GroundControlPoint(row, column, 500_000 + 10 * column, 5_000_000 - 10 * row) for column, row in corners]
    by_points = geotiff(values, "archive/points.tif", gcps=points, crs="EPSG:32633")
    by_transform = geotiff(values, "archive/transform.tif", **UTM)
    metre = 1 / 111_195
    for found, expected in zip(
        *(find_tiles(path, TileConfig(size=32)) for path in (by_points, by_transform)), strict=True
    ):
        assert shapely.hausdorff_distance(found.footprint, expected.footprint) < metre
    assert find_tiles(by_points, TileConfig(size="320m"))[0].window == (0, 0, 32, 32)


def test_a_transform_without_a_reference_system_is_no_position(geotiff, random):
    values = random.integers(0, 255, (1, 32, 32), dtype=np.uint8)
    (tile,) = find_tiles(geotiff(values, transform=UTM["transform"]), TileConfig())
    assert tile.footprint is None


def test_metres_on_the_ground_where_the_projection_stretches(geotiff):
    """Web Mercator doubles lengths at 60 degrees north."""
    path = geotiff(np.ones((1, 64, 64), np.uint8), crs="EPSG:3857", transform=(20, 0, 0, 0, -20, 8_399_738))
    assert find_tiles(path, TileConfig(size="320m"))[0].window == (0, 0, 32, 32)
