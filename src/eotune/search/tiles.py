"""An image as tiles: where they lie in it and on Earth, and their pixels, read by window."""

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image
from pydantic import field_validator, model_validator

from eotune.core.config import Config
from eotune.core.errors import InputError
from eotune.data.bands import BandConfig, to_rgb
from eotune.data.footprints import Grid, grid_of, grid_outline
from eotune.data.images import read_image
from eotune.data.rasters import ignoring, load_source, opened, raster_driver, reading
from eotune.search.acquired import acquired, check_pattern

Window = tuple[int, int, int, int]

_BY_WINDOW = ("GTiff", "JP2OpenJPEG")  # PNG and JPEG can only be decoded whole
_MAX_SIDE = 1024  # pixels that are read of a tile's side: no model sees more
_BLOCK_CACHE = 96 * 2**20  # bytes for decoded blocks: a row of tiles over a striped raster 20,000 pixels wide
_TOLERANCE = 1e-6  # degrees, 0.1 m: the edges of a tile, curves in principle, become straight


class TileConfig(Config):
    """How images become tiles.

    Attributes:
        size: Side of a tile: pixels, or metres on the ground such as ``"640m"``. An image no larger is one tile.
        overlap: Share of a tile that its neighbour has too, at least; the last of a row ends where the image does.
        max_nodata: Tiles with a larger share of pixels without data are left out.
        bands: Which bands of a raster are shown, and how; None for the defaults.
        time_pattern: Finds the time of acquisition in a file's name; see :func:`~eotune.search.acquired.acquired`.
    """

    size: int | str = 512
    overlap: float = 0.0
    max_nodata: float = 0.5
    bands: BandConfig | None = None
    time_pattern: str | None = None

    @field_validator("size")
    @classmethod
    def _is_length(cls, size: int | str) -> int | str:
        if isinstance(size, str) and size.isdecimal():
            size = int(size)
        if not _metres(size) if isinstance(size, str) else size < 16:
            raise ValueError("size wants 16 or more pixels, or metres such as '640m'")
        return size

    @field_validator("time_pattern")
    @classmethod
    def _is_pattern(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            check_pattern(pattern)
        return pattern

    @model_validator(mode="after")
    def _consistent(self) -> "TileConfig":
        if not 0 <= self.overlap <= 0.9:
            raise ValueError("overlap wants 0 to 0.9")
        if not 0 <= self.max_nodata <= 1:
            raise ValueError("max_nodata wants 0 to 1")
        return self


@dataclass(frozen=True)
class Tile:
    """A part of an image.

    Attributes:
        window: Column and row of its upper left pixel, width and height.
        footprint: Its outline in longitude and latitude, as :func:`~eotune.data.footprints.footprint` has it.
        time: When the image was taken, microseconds since 1970 UTC; None where nothing says.
    """

    window: Window
    footprint: Any | None
    time: int | None


def tile_windows(width: int, height: int, side: int, overlap: float = 0.0) -> Iterator[Window]:
    """Yield the windows of square tiles that cover an image, row by row.

    Args:
        width: Of the image, in pixels.
        height: Likewise.
        side: Of a tile. An image that is no larger is one tile; of one that is narrower, tiles have its width, and of
            one narrower than a quarter of it, a length of that quarter.
        overlap: Share of a tile that two neighbours have in common, at least.

    Yields:
        Column and row of the upper left pixel, width and height. All tiles are inside; the last ones of a row and of
        a column end where the image does.

    Example:
        >>> list(tile_windows(5, 2, 2))
        [(0, 0, 2, 2), (2, 0, 2, 2), (3, 0, 2, 2)]
        >>> list(tile_windows(30, 20, 64))
        [(0, 0, 30, 20)]
    """
    if max(width, height) <= side:
        yield 0, 0, width, height
        return
    side = min(side, max(min(width, height), side // 4))
    wide, high = min(side, width), min(side, height)
    step = max(1, int(side * (1 - overlap)))
    for row in _starts(height, high, step):
        for column in _starts(width, wide, step):
            yield column, row, wide, high


def find_tiles(path: Path, config: TileConfig) -> list[Tile]:
    """Return the tiles of an image, those without data among them; no pixel is read.

    Raises:
        InputError: The image cannot be opened, or ``size`` is in metres and it has no scale.
    """
    with opened(path) as source:
        width, height = _size(path, source)
        grid = grid_of(source) if source.driver in _BY_WINDOW else None
        side = config.size
        if isinstance(side, str):
            side = _pixels(path, grid, _metres(side), width / 2, height / 2)
        time = acquired(path, source, config.time_pattern)
        tiles = []
        for window in tile_windows(width, height, side, config.overlap):
            area = None if grid is None else grid_outline(grid, window)
            tiles.append(Tile(window, None if area is None else area.simplify(_TOLERANCE), time))
    return tiles


class TileReader:
    """Reads tiles; the image read last stays open, since its tiles follow one another.

    Args:
        config: As the tiles were found.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> file = Path(tempfile.mkdtemp()) / "a.png"
        >>> Image.new("RGB", (40, 30), (9, 9, 9)).save(file)
        >>> with TileReader(TileConfig()) as reader:
        ...     reader.read(file, (10, 0, 30, 30)).shape
        (30, 30, 3)
    """

    def __init__(self, config: TileConfig) -> None:
        self.config = config
        self._path: Path | None = None
        self._source: Any | None = None
        self._width = self._height = 0
        self._picture: np.ndarray | None = None
        self._open = ExitStack()

    def __enter__(self) -> "TileReader":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the image that is open."""
        self._path = self._source = self._picture = None
        self._open.close()

    def read(self, path: Path, window: Window) -> np.ndarray | None:
        """Return a tile as RGB, uint8 ``(h, w, 3)``, decimated where it is large; None where it has too little data.

        Raises:
            InputError: It cannot be read.
        """
        import rasterio

        with rasterio.Env(GDAL_CACHEMAX=_BLOCK_CACHE):
            if path != self._path:
                self._show(path)
            column, row, width, height = window
            if column + width > self._width or row + height > self._height:
                raise InputError(f"{path}: is smaller than it was", remedy="index it again")
            if self._picture is not None:
                return self._picture[row : row + height, column : column + width]
            with reading(path):
                pixels, missing = self._window(path, window)
        if missing.mean() > self.config.max_nodata or missing.all():
            return None
        return pixels

    def _window(self, path: Path, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Return a window of the raster as RGB, and where it has no data."""
        bands = self.config.bands or BandConfig()
        loaded = load_source(self._source, path, bands, display=True, max_side=_MAX_SIDE, window=window)
        pixels = to_rgb(loaded.values, bands, dtype=loaded.dtype, is_scaled=loaded.is_scaled)
        return pixels, ~np.isfinite(loaded.values).all(axis=0)

    def _show(self, path: Path) -> None:
        """Open a raster for its windows, or decode another image."""
        self.close()
        with reading(path), path.open("rb") as stream:
            by_window = raster_driver(path, stream.read(16)) in _BY_WINDOW
        if by_window:
            self._source = self._open.enter_context(opened(path))
            self._width, self._height = self._source.width, self._source.height
        else:
            self._picture = read_image(path, self.config.bands)
            self._height, self._width, _ = self._picture.shape
        self._path = path


def _size(path: Path, source: Any) -> tuple[int, int]:
    """Return an image's width and height as it is read: turned upright where it is decoded whole."""
    if source.driver in _BY_WINDOW:
        return source.width, source.height
    with ignoring(Image.DecompressionBombWarning), Image.open(path) as picture:
        turned = picture.getexif().get(ExifTags.Base.Orientation, 1) >= 5
    return (source.height, source.width) if turned else (source.width, source.height)


def _starts(length: int, side: int, step: int) -> list[int]:
    starts = list(range(0, length - side, step))
    return [*starts, length - side]


def _metres(size: str) -> float:
    """Return the number in ``"640m"``; 0 where there is none."""
    try:
        value = float(size.strip().removesuffix("m")) if size.strip().endswith("m") else 0.0
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and value > 0 else 0.0


def _pixels(path: Path, grid: Grid | None, metres: float, column: float, row: float) -> int:
    """Return how many pixels in the middle of a raster are so many metres on the ground."""
    side = None if grid is None else grid.metres(column, row)
    if not side:
        raise InputError(f"{path}: has no coordinate reference system, so no metres", remedy="give size in pixels")
    return max(16, round(metres / side))
