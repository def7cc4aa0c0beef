"""Tiles' footprints against rasterio: what lies a metre inside is in them, what lies a metre outside is not."""

import numpy as np
import pytest
import rasterio.warp
import shapely

from eotune.search.tiles import TileConfig, find_tiles

METRE = 1.0
DEGREE = 1 / 111_195  # a metre of latitude

UTM = (10, 0, 500_000, 0, -10, 5_000_000)
RASTERS = {
    "UTM": ("EPSG:32633", UTM, METRE),
    "UTM, rotated": ("EPSG:32633", (8, 6, 500_000, 6, -8, 5_000_000), METRE),
    "UTM, sheared, rows to the north": ("EPSG:32633", (10, 3, 500_000, 0, 9, 5_000_000), METRE),
    "UTM, a million metres wide": ("EPSG:32633", (15_000, 0, 100_000, 0, -15_000, 7_000_000), METRE),
    "UTM in the south, across the antimeridian": ("EPSG:32760", (1000, 0, 800_000, 0, -1000, 8_200_000), METRE),
    "UTM, centimetres": ("EPSG:32633", (0.5, 0, 400_000, 0, -0.5, 7_000_000), METRE),
    "US feet": ("EPSG:2263", (30, 0, 980_000, 0, -30, 200_000), METRE / 0.3048),
    "degrees": ("EPSG:4326", (0.01, 0, 10, 0, -0.01, 50), DEGREE),
    "degrees, rotated": ("EPSG:4326", (0.008, 0.004, 10, 0.004, -0.008, 50), DEGREE),
    "degrees, across the antimeridian": ("EPSG:4326", (0.01, 0, 179.8, 0, -0.01, -17), DEGREE),
    "polar stereographic": ("EPSG:3995", (1000, 0, 1_000_000, 0, -1000, 1_000_000), METRE),
    "around the north pole": ("EPSG:3413", (1000, 0, -33_300, 0, -1000, 21_700), METRE),
    "around the south pole": ("EPSG:3031", (25_000, 0, -812_500, 0, -25_000, 812_500), METRE),
    "a corner at the pole": ("EPSG:3413", (1000, 0, -32_000, 0, -1000, 32_000), METRE),
    "an edge through the pole": ("EPSG:3031", (1000, 0, -32_000, 0, -1000, 10_300), METRE),
    "a metre beside the pole": ("EPSG:3995", (1000, 0, -31_998.7, 0, -1000, 10_300), METRE),
    "web mercator": ("EPSG:3857", (100, 0, 1_000_000, 0, -100, 8_000_000), 2 * METRE),
    "LAEA Europe": ("EPSG:3035", (100, 0, 4_000_000, 0, -100, 3_000_000), METRE),
}


def edges(window, count=400):
    """Points along the edges of a window, (columns, rows), and for each the direction to the inside."""
    left, top, width, height = window
    steps = (np.arange(count) + 0.5) / count
    zeros = np.zeros(count)
    columns = np.concatenate([steps, zeros + 1, steps, zeros]) * width + left
    rows = np.concatenate([zeros, steps, zeros + 1, steps]) * height + top
    inwards = np.repeat([(0, 1), (-1, 0), (0, -1), (1, 0)], count, axis=0)
    return columns, rows, inwards


def lonlat(crs, transform, columns, rows):
    a, b, c, d, e, f = transform
    x, y = a * columns + b * rows + c, d * columns + e * rows + f
    longitude, latitude = map(np.array, rasterio.warp.transform(crs, "EPSG:4326", x, y))
    return shapely.points((longitude + 180) % 360 - 180, latitude)


def agrees(footprint, crs, transform, window, metre):
    """Assert that the footprint's edge lies within a metre of the window's; ``metre`` is in units of ``crs``."""
    columns, rows, inwards = edges(window)
    a, b, _, d, e, _ = transform
    across = abs(a * e - b * d) / np.where(inwards[:, 0] == 0, np.hypot(a, d), np.hypot(b, e))
    pixels = (metre / across)[:, None] * inwards  # a metre at a right angle to the edge
    inside = lonlat(crs, transform, columns + pixels[:, 0], rows + pixels[:, 1])
    outside = lonlat(crs, transform, columns - pixels[:, 0], rows - pixels[:, 1])
    shapely.prepare(footprint)
    assert shapely.covers(footprint, inside).all()
    assert not shapely.intersects(footprint, outside).any()


@pytest.mark.parametrize(("crs", "transform", "metre"), RASTERS.values(), ids=RASTERS.keys())
@pytest.mark.parametrize("size", [32, 64])
def test_footprints_agree_with_rasterio_to_a_metre(geotiff, crs, transform, metre, size):
    path = geotiff(np.ones((1, 50, 64), np.uint8), crs=crs, transform=transform)
    tiles = find_tiles(path, TileConfig(size=size))
    assert len(tiles) == (4 if size == 32 else 1)
    for tile in tiles:
        assert tile.footprint.is_valid
        west, south, east, north = tile.footprint.bounds
        assert -180 <= west < east <= 180
        assert -90 <= south < north <= 90
        agrees(tile.footprint, crs, transform, tile.window, metre)
