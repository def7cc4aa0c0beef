import numpy as np
import pytest
import rasterio.warp
import rasterio.windows
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from shapely import affinity

from eotune.core.config import parse
from eotune.core.errors import InputError
from eotune.data.bands import BandConfig
from eotune.search.tiles import TileConfig, TileReader, find_tiles, tile_windows


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(4, 40), st.floats(0, 0.9))
def test_tiles_cover_every_pixel_and_stay_inside(width, height, side, overlap):
    seen = np.zeros((height, width), bool)
    windows = list(tile_windows(width, height, side, overlap))
    for column, row, w, h in windows:
        assert 0 <= column <= width - w
        assert 0 <= row <= height - h
        assert max(w, h) <= side
        seen[row : row + h, column : column + w] = True
    assert seen.all()
    assert len(set(windows)) == len(windows)


def test_neighbours_overlap_by_the_share_asked_for():
    columns = [column for column, row, *_ in tile_windows(200, 20, 20, 0.25) if row == 0]
    assert columns[:3] == [0, 15, 30]
    assert columns[-1] == 180


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32633", (10, 0, 500_000, 0, -10, 5_000_000)),
        ("EPSG:32633", (8, 6, 500_000, 6, -8, 5_000_000)),  # rotated
        ("EPSG:3995", (1000, 0, 1_000_000, 0, -1000, 1_000_000)),  # polar stereographic
    ],
)
def test_footprints_agree_with_rasterio_to_a_metre(geotiff, crs, transform):
    path = geotiff(np.ones((1, 50, 70), np.uint8), crs=crs, transform=transform)
    with rasterio.open(path) as source:
        for tile in find_tiles(path, TileConfig(size=32)):
            column, row, width, height = tile.window
            steps = np.linspace(0, 1, 50)
            columns = np.concatenate([steps, steps * 0 + 1, 1 - steps, steps * 0]) * width + column
            rows = np.concatenate([steps * 0, steps, steps * 0 + 1, 1 - steps]) * height + row
            a, b, c, d, e, f = source.transform[:6]
            x, y = a * columns + b * rows + c, d * columns + e * rows + f
            expected = shapely.Polygon(np.transpose(rasterio.warp.transform(crs, "EPSG:4326", x, y)))
            _, latitude = expected.centroid.coords[0]
            metre = 1 / 111_195  # of latitude; of longitude, that over the cosine
            factors = np.cos(np.radians(latitude)), 1, 1, (0, 0)
            found, expected = (affinity.scale(area.exterior, *factors) for area in (tile.footprint, expected))
            assert shapely.hausdorff_distance(found, expected, densify=0.1) < metre


def test_tiles_across_the_antimeridian_are_cut(geotiff):
    path = geotiff(np.ones((1, 20, 40), np.uint8), crs="EPSG:4326", transform=(0.01, 0, 179.8, 0, -0.01, -17))
    left, right = find_tiles(path, TileConfig(size=20))
    assert left.footprint.bounds == pytest.approx((179.8, -17.2, 180, -17))
    assert right.footprint.bounds == pytest.approx((-180, -17.2, -179.8, -17))
    (whole,) = find_tiles(path, TileConfig(size=64))
    assert whole.footprint.geom_type == "MultiPolygon"


def test_images_without_position_have_tiles_without_footprint(geotiff):
    path = geotiff(np.ones((1, 20, 40), np.uint8))
    assert [tile.footprint for tile in find_tiles(path, TileConfig(size=20))] == [None, None]


@pytest.mark.parametrize(("crs", "pixel"), [("EPSG:32633", 10), ("EPSG:2263", 10 / 0.3048006096), ("EPSG:4326", 9e-5)])
def test_a_size_in_metres(geotiff, crs, pixel):
    path = geotiff(np.ones((1, 64, 64), np.uint8), crs=crs, transform=(pixel, 0, 0, 0, -pixel, 0))
    assert find_tiles(path, TileConfig(size="320m"))[0].window == (0, 0, 32, 32)


def test_metres_want_a_reference_system(geotiff):
    with pytest.raises(InputError, match="no coordinate reference system"):
        find_tiles(geotiff(np.ones((1, 64, 64), np.uint8)), TileConfig(size="320m"))


@pytest.mark.parametrize("values", [{"size": 3}, {"size": "12 miles"}, {"size": "-4m"}, {"size": "nanm"},
                                    {"overlap": 1}, {"max_nodata": 2}, {"time_pattern": "("}])  # fmt: skip
def test_settings_that_make_no_sense(values):
    with pytest.raises(InputError, match=next(iter(values))):
        parse(TileConfig, values)


def test_windows_of_a_raster_are_what_rasterio_reads(geotiff):
    values = np.random.default_rng(0).integers(0, 255, (3, 50, 70), dtype=np.uint8)
    path = geotiff(values)
    with TileReader(TileConfig(size=32)) as reader:
        for tile in find_tiles(path, reader.config):
            column, row, width, height = tile.window
            expected = values[:, row : row + height, column : column + width].transpose(1, 2, 0)
            np.testing.assert_array_equal(reader.read(path, tile.window), expected)


def test_tiles_without_data_are_left_out(geotiff):
    values = np.full((1, 32, 96), 7, np.float32)
    values[:, :, :32] = -9999
    values[:, :, 32:52] = -9999
    path = geotiff(values, nodata=-9999)
    with TileReader(TileConfig(size=32)) as reader:
        found = [reader.read(path, tile.window) is not None for tile in find_tiles(path, reader.config)]
    assert found == [False, False, True]
    with TileReader(TileConfig(size=32, max_nodata=1)) as reader:
        found = [reader.read(path, tile.window) is not None for tile in find_tiles(path, reader.config)]
    assert found == [False, True, True]


def test_sixteen_bit_bands_by_name_and_range(geotiff):
    values = np.random.default_rng(0).integers(0, 3000, (4, 40, 40), dtype=np.uint16)
    bands = BandConfig(bands=(4,), scaling="range", low=0, high=3000)
    with TileReader(TileConfig(size=20, bands=bands)) as reader:
        found = reader.read(geotiff(values), (20, 0, 20, 20))
    np.testing.assert_array_equal(found[..., 0], np.rint(values[3, :20, 20:] * (255 / 3000)))


def test_pictures_are_cut_upright(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (40, 70, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(values).save(tmp_path / "a.png", exif=exif)
    upright = np.rot90(values, -1)
    with TileReader(TileConfig(size=32)) as reader:
        tiles = find_tiles(tmp_path / "a.png", reader.config)
        for tile in tiles:
            column, row, width, height = tile.window
            found = reader.read(tmp_path / "a.png", tile.window)
            np.testing.assert_array_equal(found, upright[row : row + height, column : column + width])
    assert max(tile.window[1] + tile.window[3] for tile in tiles) == 70


def test_what_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0 no raster")
    with pytest.raises(InputError, match=r"a\.tif: cannot be read"):
        find_tiles(path, TileConfig())
    with TileReader(TileConfig()) as reader, pytest.raises(InputError, match=r"a\.tif: cannot be read"):
        reader.read(path, (0, 0, 1, 1))
