"""Parts of a raster as files of their own: PNG where that holds all there is, else GeoTIFF."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from eotune.core.errors import InputError
from eotune.core.files import named_disk_errors
from eotune.data.rasters import ignoring, opened

_PICTURES = {
    ("gray",), ("gray", "alpha"), ("red", "green", "blue"), ("red", "green", "blue", "alpha"), ("palette",),
}  # fmt: skip


class Cutter:
    """An open image that windows are cut from; a context manager.

    Only the windows' pixels are read, where the format allows it (tiled GeoTIFF).

    Args:
        path: GeoTIFF, JPEG 2000, PNG or JPEG.

    Raises:
        InputError: On entering and writing: it cannot be read. On entering: its EXIF data turn it.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (30, 20)).save(folder / "a.png")
        >>> with Cutter(folder / "a.png") as cutter:
        ...     cutter.write(np.array([0, 0, 5, 8]), folder / f"b{cutter.suffix}")
        >>> from eotune.data.images import read_image
        >>> read_image(folder / "b.png").shape
        (8, 5, 3)
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack = ExitStack()

    def __enter__(self) -> "Cutter":
        with ExitStack() as stack:
            _check_upright(self.path)
            self._source: Any = stack.enter_context(opened(self.path))
            self.height, self.width = int(self._source.height), int(self._source.width)
            self._is_picture = _is_picture(self._source)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What is raised inside is no matter of this file's, but for what reading it raises, which write() names.
        self._stack.close()

    @property
    def suffix(self) -> str:
        """``.png`` or ``.tif``: of what :meth:`write` writes."""
        return ".png" if self._is_picture else ".tif"

    def write(self, area: np.ndarray, path: Path) -> None:
        """Write the pixels of a window, unless the file is there.

        Args:
            area: First column and row, and those behind the last.
            path: The file, with :attr:`suffix`; it appears when it is whole.
        """
        if path.exists():
            return
        x0, y0, x1, y1 = (int(value) for value in area)
        pixels = self._read(((y0, y1), (x0, x1)))
        path.parent.mkdir(parents=True, exist_ok=True)
        # Renamed when whole, so that a killed command leaves no half chip; not synced to disk, of 10^5 files each.
        part = path.with_name(f".{path.name}.part")
        try:
            with named_disk_errors(path):
                if self._is_picture:
                    self._write_picture(pixels, part)
                else:
                    self._write_raster(pixels, part, x0, y0)
                part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def _read(self, window: tuple[tuple[int, int], tuple[int, int]]) -> np.ndarray:
        import rasterio

        try:
            return np.asarray(self._source.read(window=window))
        except rasterio.errors.RasterioError as error:
            reason = str(error.__cause__ or error)
            raise InputError(f"{self.path}: cannot be read ({reason})", remedy="copy it again, or remove it") from None

    def _write_picture(self, pixels: np.ndarray, path: Path) -> None:
        if self._source.colorinterp[0].name == "palette":
            colours = np.zeros((256, 3), np.uint8)
            for index, colour in self._source.colormap(1).items():
                colours[index] = colour[:3]
            image = colours[pixels[0]]
        else:
            bits = int(self._source.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", 8))
            image = np.ascontiguousarray(pixels.transpose(1, 2, 0)) * np.uint8(255 // (2**bits - 1))
        Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(path, format="PNG")

    def _write_raster(self, pixels: np.ndarray, path: Path, x0: int, y0: int) -> None:
        import rasterio

        source, (count, height, width) = self._source, pixels.shape
        has_palette = source.colorinterp[0].name == "palette"
        points, points_crs = source.gcps
        if points:
            place = {"crs": points_crs, "gcps": [_moved_point(point, x0, y0) for point in points]}
        elif source.transform.is_identity:
            place = {}
        else:
            place = {"crs": source.crs, "transform": _moved(source.transform, x0, y0)}
        with ignoring(rasterio.errors.NotGeoreferencedWarning):  # some are not
            target = rasterio.open(
                str(path), "w", driver="GTiff", dtype=pixels.dtype, count=count, height=height, width=width,
                nodata=source.nodata, compress="deflate", **place,
                **({"photometric": "palette"} if has_palette else {}),
            )  # fmt: skip
        with target:
            target.write(pixels)
            target.colorinterp = source.colorinterp
            if has_palette:
                target.write_colormap(1, source.colormap(1))
            target.descriptions = source.descriptions
            target.scales, target.offsets = source.scales, source.offsets


def _moved(transform: Any, x0: int, y0: int) -> Any:
    """Return the transform of the part of a raster that begins at column ``x0`` and row ``y0``."""
    a, b, c, d, e, f = tuple(transform)[:6]
    return type(transform)(a, b, a * x0 + b * y0 + c, d, e, d * x0 + e * y0 + f)


def _moved_point(point: Any, x0: int, y0: int) -> Any:
    """Return a ground control point as the part of a raster has it."""
    return type(point)(point.row - y0, point.col - x0, point.x, point.y, point.z, point.id, point.info)


def _check_upright(path: Path) -> None:
    """Refuse a picture that is shown turned: boxes are drawn on what is shown, windows are cut from what is stored."""
    try:
        with ignoring(Image.DecompressionBombWarning), Image.open(path) as picture:
            is_turned = picture.format in ("JPEG", "PNG") and picture.getexif().get(ExifTags.Base.Orientation, 1) != 1
    except Exception:  # whatever is wrong with it, rasterio says so
        return
    if is_turned:
        raise InputError(f"{path}: its EXIF data turn it", remedy="turn the pixels themselves, and drop the tag")


def _is_picture(source: Any) -> bool:
    """Return whether a PNG holds all that the image says."""
    return (
        set(source.dtypes) == {"uint8"}
        and tuple(colour.name for colour in source.colorinterp) in _PICTURES
        and source.crs is None
        and not source.gcps[0]
        and source.nodata is None
        and not any(source.descriptions)
        and set(source.scales) == {1.0}
        and set(source.offsets) == {0.0}
    )
