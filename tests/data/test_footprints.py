import math

import numpy as np
import pytest
from affine import Affine
from PIL import Image
from rasterio.control import GroundControlPoint
from rasterio.warp import transform as transform_points
from shapely import Point, hausdorff_distance

from eotune.core.errors import InputError
from eotune.data.footprints import footprint, outline


def transform(*coefficients):
    return Affine(*coefficients)


def test_north_up_in_degrees(geotiff):
    path = geotiff(np.ones((1, 10, 20), np.uint8), crs="EPSG:4326", transform=(0.1, 0, 10, 0, -0.1, 50))
    assert footprint(path).bounds == pytest.approx((10, 49, 12, 50))
    assert footprint(path).area == pytest.approx(2)


def test_images_without_position_have_no_footprint(geotiff, tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    assert footprint(tmp_path / "a.png") is None
    values = np.ones((1, 4, 4), np.uint8)
    assert footprint(geotiff(values)) is None
    assert footprint(geotiff(values, transform=(1, 0, 5, 0, -1, 5))) is None  # a position, but in which system?
    assert footprint(geotiff(values, crs="EPSG:32633")) is None
    points = [GroundControlPoint(0, 0, 1, 2), GroundControlPoint(0, 4, 2, 2)]  # too few to say where it lies
    assert footprint(geotiff(values, gcps=points, crs="EPSG:4326")) is None


def test_ground_control_points_are_followed(geotiff):
    def place(column, row):  # as a SAR image's: no affine map
        return 10 + column / 1000 + row / 4000 + (column / 4000) ** 2, 50 - row / 1000 - (row * column / 4e6)

    grid = [(column, row) for column in range(0, 101, 10) for row in range(0, 61, 10)]
    points = [GroundControlPoint(row, column, *place(column, row)) for column, row in grid]
    area = footprint(geotiff(np.ones((1, 60, 100), np.uint8), gcps=points, crs="EPSG:4326"))
    on_edge = [Point(place(column, row)) for column, row in grid if column in (0, 100) or row in (0, 60)]
    assert max(area.exterior.distance(point) for point in on_edge) < 1 / 111_195  # a metre, in degrees
    exact = outline(Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32633", 100, 60)
    points = [GroundControlPoint(row, column, 500_000 + 10 * column, 5_000_000 - 10 * row) for column, row in grid]
    found = footprint(geotiff(np.ones((1, 60, 100), np.uint8), gcps=points, crs="EPSG:32633"))
    assert hausdorff_distance(found, exact) < 1 / 111_195


def test_edges_are_refined_where_they_bend():
    # A UTM image 600 km wide: its northern edge, straight on the map, bends by kilometres in latitude.
    corner = Affine(6000, 0, 200_000, 0, -6000, 6_600_000)
    area = outline(corner, "EPSG:32633", 100, 50)
    _, latitudes = transform_points("EPSG:32633", "EPSG:4326", [200_000, 800_000], [6_600_000, 6_600_000])
    assert area.bounds[3] > max(latitudes) + 0.05
    small = outline(Affine(10, 0, 200_000, 0, -10, 6_600_000), "EPSG:32633", 100, 50)
    assert len(small.exterior.coords) < 100 < len(area.exterior.coords)


def test_rotated_images_follow_their_geotransform():
    angle = math.radians(30)
    cos, sin = math.cos(angle) * 10, math.sin(angle) * 10
    rotated = outline(transform(cos, sin, 500_000, sin, -cos, 5_000_000), "EPSG:32633", 100, 100)
    straight = outline(transform(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32633", 100, 100)
    assert rotated.area == pytest.approx(straight.area, rel=1e-3)
    wide, narrow = (area.bounds[2] - area.bounds[0] for area in (rotated, straight))
    assert wide == pytest.approx(1.366 * narrow, rel=1e-2)  # cos 30 + sin 30


@pytest.mark.parametrize("west", [179.0, -181.0])
def test_the_antimeridian_cuts_an_outline(west):
    area = outline(transform(0.1, 0, west, 0, -0.1, 10), "EPSG:4326", 20, 10)
    assert area.geom_type == "MultiPolygon"
    assert area.bounds == pytest.approx((-180, 9, 180, 10))
    assert area.area == pytest.approx(2)
    assert area.contains(Point(179.5, 9.5))
    assert area.contains(Point(-179.5, 9.5))
    assert not area.contains(Point(0, 9.5))


def test_the_antimeridian_in_a_projection():
    area = outline(transform(1000, 0, 600_000, 0, -1000, -1_800_000 + 10_000_000), "EPSG:32760", 300, 100)  # Fiji
    assert area.geom_type == "MultiPolygon"
    assert area.area < 4


def test_longitudes_to_360():
    assert outline(transform(1, 0, 200, 0, -1, 10), "EPSG:4326", 10, 10).bounds == pytest.approx((-160, 0, -150, 10))


def test_the_whole_earth():
    assert outline(transform(1, 0, -180, 0, -1, 90), "EPSG:4326", 360, 180).area == pytest.approx(360 * 180)


@pytest.mark.parametrize(("crs", "pole"), [("EPSG:3995", 90), ("EPSG:3031", -90)])
def test_an_outline_around_a_pole_reaches_it(crs, pole):
    area = outline(transform(10_000, 0, -1_000_000, 0, -10_000, 1_000_000), crs, 200, 200)
    assert area.contains(Point(100, pole * 0.99))
    assert area.contains(Point(-50, pole * 0.95))
    assert not area.contains(Point(0, pole * 0.7))
    assert area.bounds == pytest.approx((-180, min(pole, area.bounds[1]), 180, max(pole, area.bounds[3])))


def test_an_unknown_system_is_an_error():
    with pytest.raises(InputError, match="reference system 'EPSG:1'"):
        outline(transform(1, 0, 0, 0, -1, 0), "EPSG:1", 2, 2)


def test_what_the_projection_cannot_map_has_no_outline():
    geostationary = "+proj=geos +h=35785831 +lon_0=0 +sweep=y"
    assert outline(transform(5e4, 0, -6e6, 0, -5e4, 6e6), geostationary, 240, 240) is None
