"""Scenes somewhere on Earth: where each lies, and GeoTIFF files that say so."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from eotune.core.errors import InputError
from eotune.core.files import replaced


@dataclass(frozen=True)
class Georeference:
    """A grid on the ground, rows to the south.

    Attributes:
        crs: As rasterio takes it, such as ``EPSG:32632`` (UTM zone 32 north).
        origin: Outer corner of the top left pixel, (easting, northing) or (longitude, latitude), in units of ``crs``.
        ground_sampling: Side of a pixel, in units of ``crs``.

    Raises:
        InputError: A pixel has no size.
    """

    crs: str = "EPSG:32632"
    origin: tuple[float, float] = (500_000.0, 5_400_000.0)
    ground_sampling: float = 10.0

    def __post_init__(self) -> None:
        if not self.ground_sampling > 0:
            raise InputError(f"ground_sampling is {self.ground_sampling}", remedy="give a positive pixel size")

    def transform(self) -> Any:
        """Return the affine map from (column, row) to coordinates.

        Example:
            >>> tuple(Georeference(ground_sampling=10.0).transform())[:6]
            (10.0, 0.0, 500000.0, 0.0, -10.0, 5400000.0)
        """
        from affine import Affine

        pixel, (x, y) = self.ground_sampling, self.origin
        return Affine(pixel, 0.0, x, 0.0, -pixel, y)

    def tile(self, number: int, size: int, *, columns: int = 32) -> "Georeference":
        """Return where the ``number``-th of many scenes of ``size`` pixels lies: side by side, rows of ``columns``.

        Example:
            >>> Georeference(ground_sampling=1.0).tile(33, 100).origin
            (500100.0, 5399900.0)
        """
        side = size * self.ground_sampling
        x, y = self.origin
        return replace(self, origin=(x + number % columns * side, y - number // columns * side))


def write_geotiff(
    path: Path,
    bands: np.ndarray,
    georeference: Georeference,
    *,
    names: Sequence[str] = (),
    nodata: float | None = None,
) -> None:
    """Write bands as a compressed GeoTIFF, atomically.

    Args:
        path: The file.
        bands: ``(c, h, w)``, of any type that GeoTIFF knows.
        georeference: Where it lies.
        names: Of the bands, written as their descriptions; none by default.
        nodata: What stands for no data.

    Raises:
        InputError: The reference system is not known, or the names are not as many as the bands.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "a.tif"
        >>> write_geotiff(file, np.zeros((1, 4, 4), np.float32), Georeference(), names=["VV"])
        >>> from eotune.data.footprints import footprint
        >>> [round(edge, 3) for edge in footprint(file).bounds]
        [9.0, 48.753, 9.001, 48.753]
    """
    import rasterio
    from rasterio.errors import CRSError

    if names and len(names) != len(bands):
        raise InputError(f"{path}: {len(names)} names for {len(bands)} bands", remedy="name each band")
    count, height, width = bands.shape
    with replaced(Path(path)) as temporary:
        try:
            target = rasterio.open(
                temporary, "w", driver="GTiff", dtype=bands.dtype, count=count, height=height, width=width,
                crs=georeference.crs, transform=georeference.transform(), nodata=nodata, compress="deflate",
            )  # fmt: skip
        except CRSError as error:
            raise InputError(
                f"coordinate reference system {georeference.crs!r}: {error}", remedy="name it as EPSG:code"
            ) from None
        with target:
            target.write(bands)
            if names:
                target.descriptions = tuple(names)
