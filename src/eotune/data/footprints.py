"""Where on Earth an image lies: its outline in longitude and latitude."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eotune.core.errors import InputError
from eotune.data.rasters import opened

_STEPS = 16  # of an edge, at first: straight in its projection, it is a curve on the Earth
_METRES = 1.0  # what a point may lie beside the line of its neighbours; the outline's own error is a quarter of that
_POINTS, _HALVINGS = 50_000, 24  # where refining an edge ends at the latest
_SAME = 1e-12  # degrees: coordinates no farther apart are one, rounding aside
_RADIUS = 6_371_000  # of the Earth, metres
_GEOREFERENCED = {".tif", ".tiff", ".gtiff", ".jp2", ".j2k"}


@dataclass(frozen=True)
class Grid:
    """Where the pixels of an image lie.

    Attributes:
        crs: The coordinate reference system, as rasterio takes it.
        place: From columns and rows, arrays, to coordinates of ``crs``.
    """

    crs: Any
    place: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

    def project(self, columns: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Return longitudes and latitudes; None where the projection does not map one of the points.

        Raises:
            InputError: The reference system is not known.
        """
        from rasterio._err import CPLE_BaseError  # what a failed projection raises; rasterio.errors does not list it
        from rasterio.crs import CRS
        from rasterio.errors import CRSError
        from rasterio.warp import transform

        x, y = self.place(columns, rows)
        try:
            source = CRS.from_user_input(self.crs)
            longitude, latitude = map(np.array, transform(source, CRS.from_epsg(4326), x.tolist(), y.tolist()))
        except CPLE_BaseError:
            return None
        except CRSError as error:
            name = str(self.crs)[:80]
            raise InputError(f"coordinate reference system {name!r}: {error}", remedy="reproject it") from None
        if not (np.isfinite(longitude).all() and np.isfinite(latitude).all()):
            return None
        return longitude, np.clip(latitude, -90, 90)

    def metres(self, column: float, row: float) -> float | None:
        """Return the side of a pixel on the ground, the mean of both directions; None where it is not mapped."""
        found = self.project(column + np.array([0.0, 1.0, 0.0]), row + np.array([0.0, 0.0, 1.0]))
        if found is None:
            return None
        corner, right, below = _directions(*found)
        return float(_RADIUS * np.sqrt(np.linalg.norm(np.cross(right - corner, below - corner))))


def grid_of(source: Any) -> Grid | None:
    """Return the grid of a raster that is open: its geotransform, or else its ground control points.

    Control points are followed by a thin plate spline through all of them.
    """
    if source.crs is not None and not source.transform.is_identity:
        return _affine(source.transform, source.crs)
    points, crs = source.gcps
    if len(points) < 3 or crs is None:
        return None
    from rasterio.transform import GCPTransformer

    spline = GCPTransformer(points, tps=True)

    def place(columns: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y = spline.xy(rows, columns, offset="ul")
        return np.asarray(x), np.asarray(y)

    return Grid(crs, place)


def footprint(path: Path) -> Any | None:
    """Return the outline of a georeferenced image.

    Edges are refined until the outline is right to a quarter of a metre, rotated and sheared geotransforms and ground
    control points are followed, an outline across the antimeridian is cut there into a MultiPolygon, and one around a
    pole reaches it.

    Args:
        path: An image; formats other than GeoTIFF and JPEG 2000 carry no position.

    Returns:
        A shapely Polygon or MultiPolygon, longitude and latitude in degrees (EPSG:4326); None where the image has no
        coordinate reference system or geotransform, or reaches beyond what its projection maps.

    Raises:
        InputError: The file cannot be read.
    """
    path = Path(path)
    if path.suffix.lower() not in _GEOREFERENCED:
        return None
    with opened(path) as source:
        grid = grid_of(source)
        return None if grid is None else grid_outline(grid, (0, 0, source.width, source.height))


def outline(transform: Any, crs: Any, width: int, height: int) -> Any | None:
    """Return the outline of a grid of ``width`` by ``height`` pixels; see :func:`footprint`.

    Args:
        transform: Affine, from pixel (column, row) to coordinates of ``crs``.
        crs: The coordinate reference system, as rasterio takes it.
        width: In pixels.
        height: In pixels.

    Raises:
        InputError: The reference system is not known.

    Example:
        >>> from affine import Affine
        >>> outline(Affine(0.1, 0, 10, 0, -0.1, 50), "EPSG:4326", 20, 10).bounds
        (10.0, 49.0, 12.0, 50.0)
    """
    return grid_outline(_affine(transform, crs), (0, 0, width, height))


def grid_outline(grid: Grid, window: tuple[int, int, int, int]) -> Any | None:
    """Return the outline of a part of a grid; see :func:`footprint`.

    Args:
        grid: Where its pixels lie.
        window: Column and row of the upper left pixel, width and height.

    Raises:
        InputError: The reference system is not known.
    """
    left, top, width, height = window
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]) * (width, height) + (left, top)

    def project(along: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Map positions along the four edges, 0 to 4."""
        return grid.project(*(np.interp(along, np.arange(5), corners[:, axis]) for axis in (0, 1)))

    along = np.linspace(0, 4, 4 * _STEPS + 1)
    ring = project(along)
    for _ in range(_HALVINGS):
        if ring is None:
            return None
        beside = np.flatnonzero(_beside(along, *ring) > _METRES) + 1
        if not len(beside) or len(along) > _POINTS:
            break
        places = np.unique([beside - 1, beside])  # the steps before and after each point that lies beside its line
        between = (along[places] + along[places + 1]) / 2
        if (added := project(between)) is None:
            return None
        along = np.insert(along, places + 1, between)
        ring = tuple(np.insert(one, places + 1, new) for one, new in zip(ring, added, strict=True))  # type: ignore[assignment]
    return None if ring is None else _polygon(*ring)


def middle(area: Any) -> tuple[float, float]:
    """Return longitude and latitude of an outline's centroid, also of one that the antimeridian cuts.

    Example:
        >>> from shapely import MultiPolygon, box
        >>> middle(MultiPolygon([box(179, 0, 180, 2), box(-180, 0, -177, 2)]))
        (-179.0, 1.0)
    """
    from shapely import transform

    west, _, east, _ = area.bounds
    if (west, east) == (-180, 180) and area.geom_type == "MultiPolygon":
        area = transform(area, lambda points: points + 360 * (points < (0, -90)))
    longitude, latitude = area.centroid.coords[0]
    return (longitude + 180) % 360 - 180, latitude


def _affine(transform: Any, crs: Any) -> Grid:
    a, b, c, d, e, f = transform[:6]
    return Grid(crs, lambda columns, rows: (a * columns + b * rows + c, d * columns + e * rows + f))


def _directions(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Return unit vectors ``(n, 3)`` from the Earth's centre."""
    east, north = np.radians(longitude), np.radians(latitude)
    return np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], axis=-1)


def _beside(along: np.ndarray, longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Return how many metres each point but the first and last lies beside the line of its neighbours; corners 0."""
    share = (along[1:-1] - along[:-2]) / (along[2:] - along[:-2])
    turned = (longitude[2:] - longitude[:-2] + 180) % 360 - 180
    straight = longitude[:-2] + share * turned, latitude[:-2] + share * (latitude[2:] - latitude[:-2])
    found = _RADIUS * np.linalg.norm(_directions(*straight) - _directions(longitude[1:-1], latitude[1:-1]), axis=1)
    return np.where(along[1:-1] % 1 == 0, 0, found)


def _polygon(longitude: np.ndarray, latitude: np.ndarray) -> Any | None:
    """Build the polygon of a closed ring, whatever it crosses."""
    from shapely import MultiPolygon, Polygon, box, get_parts, make_valid, union_all
    from shapely.affinity import translate

    unwrapped = np.unwrap(longitude, period=360)
    turn = unwrapped[-1] - unwrapped[0]
    ring = list(zip(unwrapped.tolist(), latitude.tolist(), strict=True))
    if abs(turn) > 180:  # the ring goes once around a pole: close it along that pole
        pole = 90.0 if latitude.mean() > 0 else -90.0
        ring += [(float(unwrapped[-1]), pole), (float(unwrapped[0]), pole)]
    area = make_valid(Polygon(ring), method="structure", keep_collapsed=False)
    if area.is_empty:
        return None
    west, _, east, _ = area.bounds
    pieces = []
    for turns in range(int(np.floor((west + 180) / 360)), int(np.ceil((east - 180) / 360)) + 1):
        piece = translate(area.intersection(box(360 * turns - 180, -90, 360 * turns + 180, 90)), xoff=-360 * turns)
        pieces += [part for part in get_parts(piece) if part.geom_type == "Polygon" and part.area > 0]
    if len(pieces) < 2:
        return pieces[0] if pieces else None
    joined = union_all(pieces, grid_size=_SAME)  # those that meet where the ring began
    return joined if joined.geom_type == "Polygon" else MultiPolygon(joined)
