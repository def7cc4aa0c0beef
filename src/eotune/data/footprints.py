"""Where on Earth an image lies: its outline in longitude and latitude."""

from pathlib import Path
from typing import Any

import numpy as np

from eotune.core.errors import InputError
from eotune.data.rasters import opened

_POINTS_PER_EDGE = 21  # an edge straight in its projection is a curve on the Earth; 21 points follow UTM to metres
_GEOREFERENCED = {".tif", ".tiff", ".gtiff", ".jp2", ".j2k"}


def footprint(path: Path) -> Any | None:
    """Return the outline of a georeferenced image.

    Edges are densified before they are projected, rotated and sheared geotransforms are followed, an outline across
    the antimeridian is cut there into a MultiPolygon, and one around a pole reaches it.

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
        if source.crs is None or source.transform.is_identity:
            return None
        return outline(source.transform, source.crs, source.width, source.height)


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
    from rasterio._err import CPLE_BaseError  # what a failed projection raises; rasterio.errors does not list it
    from rasterio.crs import CRS
    from rasterio.errors import CRSError
    from rasterio.warp import transform as project

    columns, rows = _edge_points(width, height)
    x = transform.a * columns + transform.b * rows + transform.c
    y = transform.d * columns + transform.e * rows + transform.f
    try:
        source = CRS.from_user_input(crs)
        longitude, latitude = map(np.array, project(source, CRS.from_epsg(4326), x.tolist(), y.tolist()))
    except CPLE_BaseError:
        return None
    except CRSError as error:
        raise InputError(f"coordinate reference system {str(crs)[:80]!r}: {error}", remedy="reproject it") from None
    if not (np.isfinite(longitude).all() and np.isfinite(latitude).all()):
        return None
    return _polygon(longitude, np.clip(latitude, -90, 90))


def _edge_points(width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pixel coordinates around the image, closed, with several points an edge."""
    steps = np.linspace(0, 1, _POINTS_PER_EDGE)[:-1]
    zeros, ones = np.zeros_like(steps), np.ones_like(steps)
    columns = np.concatenate([steps, ones, 1 - steps, zeros, [0]]) * width
    rows = np.concatenate([zeros, steps, ones, 1 - steps, [0]]) * height
    return columns, rows


def _polygon(longitude: np.ndarray, latitude: np.ndarray) -> Any | None:
    """Build the polygon of a closed ring, whatever it crosses."""
    from shapely import MultiPolygon, Polygon, box, make_valid
    from shapely.affinity import translate

    unwrapped = np.unwrap(longitude, period=360)
    turn = unwrapped[-1] - unwrapped[0]
    ring = list(zip(unwrapped.tolist(), latitude.tolist(), strict=True))
    if abs(turn) > 180:  # the ring goes once around a pole: close it along that pole
        pole = 90.0 if latitude.mean() > 0 else -90.0
        ring += [(float(unwrapped[-1]), pole), (float(unwrapped[0]), pole)]
    area = make_valid(Polygon(ring))
    west, _, east, _ = area.bounds
    pieces = []
    for turns in range(int(np.floor((west + 180) / 360)), int(np.ceil((east - 180) / 360)) + 1):
        piece = translate(area.intersection(box(360 * turns - 180, -90, 360 * turns + 180, 90)), xoff=-360 * turns)
        pieces += [part for part in getattr(piece, "geoms", [piece]) if part.geom_type == "Polygon" and part.area > 0]
    if not pieces:
        return None
    return pieces[0] if len(pieces) == 1 else MultiPolygon(pieces)
