"""GeoTIFF and other rasters through rasterio: any bands and types, scale and offset, nodata, decimated reading."""

import functools
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from eotune.core.errors import InputError
from eotune.data.bands import BandConfig, select_bands

# Plain formats only: GDAL would also follow a VRT, whatever its suffix, to files elsewhere and to the network.
_DRIVERS = {
    b"II*\0": "GTiff",
    b"MM\0*": "GTiff",
    b"II+\0": "GTiff",  # BigTIFF
    b"MM\0+": "GTiff",
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"\0\0\0\x0cjP  ": "JP2OpenJPEG",
    b"\xff\x4f\xff\x51": "JP2OpenJPEG",
}

# Above this many pixels (4096 x 4096) a raster is read decimated even where nobody asks for it: no model sees more,
# and as floats with their mask these are a gigabyte.
_MAX_PIXELS = 2**24
_STRIP = 2**22  # pixels of a band that are read at a time where they are averaged here

# Of the names of a file's bands: the positions from 1 of those to read, or a line that says why there are none.
BandChoice = Callable[[Sequence[Sequence[str]]], list[int] | str]

# warnings.catch_warnings changes the whole process's filters, and images are opened from many threads.
_FILTERS = threading.Lock()


@dataclass(frozen=True)
class Bands:
    """What was read of a raster.

    Attributes:
        values: float32 ``(c, h, w)``, NaN where there is no data.
        dtype: Of the file.
        is_scaled: Whether a scale or offset of the file was applied.
    """

    values: np.ndarray
    dtype: np.dtype[Any]
    is_scaled: bool


def read_bands(path: Path, bands: BandConfig | None = None, *, max_side: int | None = None) -> np.ndarray:
    """Read bands of a raster as float32 ``(c, h, w)``, in physical units where the file gives scale and offset.

    Args:
        path: GeoTIFF (also COG), JPEG 2000, PNG or JPEG.
        bands: Which bands, in which order; all where it (or its ``bands``) is None.
        max_side: Read decimated, so that the shorter side has at most this many pixels. Averages, nodata left out.

    Returns:
        Values; NaN where there is no data, whatever stands for that in the file.

    Raises:
        InputError: The file cannot be read, a band is not there, or no pixel holds data.
    """
    config = bands or BandConfig()
    return load_bands(Path(path), config, display=False, max_side=max_side).values


def band_names(path: Path) -> list[list[str]]:
    """Return what each band of a raster is called: its description, its colour, both, or nothing.

    Raises:
        InputError: The file cannot be read.
    """
    with opened(Path(path)) as source:
        return _names(source)


def load_bands(
    path: Path, config: BandConfig, *, display: bool, max_side: int | None = None, choose: BandChoice | None = None
) -> Bands:
    """Read bands with what is needed to show them; see :func:`read_bands`.

    Args:
        path: The raster.
        config: Which bands; where it names none, the usual three or one if ``display``, else all.
        display: Whether the bands are to be shown.
        max_side: As for :func:`read_bands`.
        choose: Returns the bands to read instead, or a line that says why they cannot be.
    """
    with opened(path) as source:
        loaded = load_source(source, path, config, display=display, max_side=max_side, choose=choose)
    if not np.isfinite(loaded.values).any():
        raise InputError(f"{path}: no pixel holds data (every one is nodata)", remedy="remove it from the data set")
    return loaded


def load_source(
    source: Any,
    path: Path,
    config: BandConfig,
    *,
    display: bool,
    max_side: int | None = None,
    choose: BandChoice | None = None,
    window: tuple[int, int, int, int] | None = None,
) -> Bands:
    """Read bands of a raster that is open, or of a window of it; see :func:`load_bands`.

    Args:
        source: What :func:`opened` gave.
        path: For messages.
        config: As for :func:`load_bands`, and likewise the others.
        display: See there.
        max_side: See there.
        choose: See there.
        window: Column and row of its upper left pixel, width and height; None for the whole.

    Returns:
        Values, all NaN where no pixel holds data.

    Raises:
        InputError: A band is not there.
    """
    names = _names(source)
    if display and config.bands is None and "palette" in names[0]:
        return Bands(_colours(source, max_side, window), np.dtype(np.uint8), is_scaled=False)
    numbers = (choose or _choice(config, display))(names)
    if isinstance(numbers, str):
        raise InputError(f"{path}: {numbers}", remedy="set bands to what it has, or name images that have this")
    data = _read(source, numbers, window or (0, 0, source.width, source.height), max_side, config.nodata)
    dtype = np.dtype(source.dtypes[numbers[0] - 1])
    scales = np.array([source.scales[number - 1] for number in numbers], np.float64)
    offsets = np.array([source.offsets[number - 1] for number in numbers], np.float64)
    is_scaled = config.use_scale and bool((scales != 1).any() or (offsets != 0).any())
    return Bands(_physical(data, config, scales if is_scaled else None, offsets), dtype, is_scaled)


@contextmanager
def ignoring(category: type[Warning]) -> Iterator[None]:
    """Let no warning of this kind out; from many threads, one at a time."""
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore", category)
        yield


@functools.cache
def _silence_undecodable_messages() -> None:
    """Keep off stderr that rasterio could not log a message of GDAL which quotes bytes of a damaged file.

    Its logging callback cannot raise, so Python prints the UnicodeDecodeError and its traceback through these hooks.
    """
    unraisable, uncaught = sys.unraisablehook, sys.excepthook

    def on_unraisable(what: Any) -> None:
        if not (isinstance(what.exc_value, UnicodeDecodeError) and "rasterio" in str(what.object)):
            unraisable(what)

    def on_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not (isinstance(error, UnicodeDecodeError) and trace is None):  # an error of Python code has a traceback
            uncaught(kind, error, trace)

    sys.unraisablehook, sys.excepthook = on_unraisable, on_uncaught


def raster_driver(path: Path, magic: bytes) -> str | None:
    """Return the GDAL driver for a file that begins with ``magic``; None for formats that are not read as rasters.

    Raises:
        InputError: The file is empty.

    Example:
        >>> raster_driver(Path("a.tif"), bytes([0x49, 0x49, 0x2A, 0]))
        'GTiff'
    """
    if not magic:
        raise InputError(f"{path}: the image is empty (0 bytes)", remedy="copy it again, or remove it")
    return next((driver for start, driver in _DRIVERS.items() if magic.startswith(start)), None)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a raster for reading.

    Raises:
        InputError: There is no such file, it is empty, no raster, or something of it cannot be read inside the block.
    """
    import rasterio

    _silence_undecodable_messages()
    with reading(path):
        with path.open("rb") as stream:
            driver = raster_driver(path, stream.read(16))
        if driver is None:
            raise InputError(f"{path}: neither GeoTIFF, JPEG 2000, PNG nor JPEG", remedy="convert it, or remove it")
        with ignoring(rasterio.errors.NotGeoreferencedWarning):  # most images here are not
            source = rasterio.open(str(path), driver=driver)
        with source:
            yield source


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever is raised inside the block into an InputError that names ``path``."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # of a damaged file any property may raise, and GDAL's own errors are not all rasterio's
        raise _unreadable(path, error) from None


def _names(source: Any) -> list[list[str]]:
    return [
        [name for name in (description, colour.name) if name and name not in ("undefined", "gray")]
        for description, colour in zip(source.descriptions, source.colorinterp, strict=True)
    ]


def _colours(source: Any, max_side: int | None, window: tuple[int, int, int, int] | None) -> np.ndarray:
    """Return what the values of a raster stand for in its palette, float32 ``(3, h, w)``; decimated, not averaged.

    NaN where there is no data: nodata, a value without a colour, or a colour that is transparent.
    """
    from rasterio.windows import Window

    _, _, width, height = window or (0, 0, source.width, source.height)
    shape = _decimated(height, width, max_side)
    values = source.read(1, out_shape=shape, masked=True, window=Window(*window) if window else None)
    colours = np.full((np.iinfo(values.dtype).max + 1, 3), np.nan, np.float32)
    for value, (*colour, alpha) in source.colormap(1).items():
        if alpha > 0:
            colours[value] = colour
    found = colours[values.filled(0)]
    found[np.ma.getmaskarray(values)] = np.nan
    return found.transpose(2, 0, 1)


def _choice(config: BandConfig, display: bool) -> BandChoice:
    if config.bands is None and not display:
        return lambda names: list(range(1, len(names) + 1))
    return lambda names: select_bands(config.bands, names)


def _decimated(height: int, width: int, max_side: int | None) -> tuple[int, int]:
    """Return the shape to read, the aspect kept."""
    factor = min(1.0, (_MAX_PIXELS / (height * width)) ** 0.5)
    if max_side is not None:
        factor = min(factor, max_side / min(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def _read(
    source: Any, numbers: list[int], window: tuple[int, int, int, int], max_side: int | None, nodata: float | None
) -> Any:
    """Return bands of a window as a masked array ``(c, h, w)``: decimated, averages of the pixels that hold data."""
    from rasterio.enums import Resampling
    from rasterio.windows import Window

    _, _, width, height = window
    shape = _decimated(height, width, max_side)
    is_complex = source.dtypes[numbers[0] - 1].startswith("complex")
    tagged = [source.nodatavals[number - 1] for number in numbers]
    is_picked = shape == (height, width) or is_complex  # every value is one of the file's
    if not is_picked and nodata is not None and any(value != nodata for value in tagged):
        return _averages(source, numbers, window, shape, nodata)  # of what it does not tag, GDAL knows nothing
    data = source.read(
        numbers,
        out_shape=(len(numbers), *shape),
        masked=True,
        window=Window(*window),
        resampling=Resampling.nearest if is_complex else Resampling.average,
    )
    if is_picked:
        return data if nodata is None else np.ma.masked_where(np.ma.getmaskarray(data) | (data.data == nodata), data)
    if (np.ma.getmaskarray(data) | np.isfinite(data.data)).all():
        return data
    return _averages(source, numbers, window, shape, nodata)  # a NaN without a tag spoils every average it is part of


def _averages(
    source: Any,
    numbers: list[int],
    window: tuple[int, int, int, int],
    shape: tuple[int, int],
    nodata: float | None,
) -> Any:
    """Average the pixels that hold data, each by the share of it that lies in the larger pixel, strip by strip."""
    from rasterio.windows import Window

    column, row, width, height = window
    down, across = _shares(height, shape[0]), _shares(width, shape[1]).T
    totals = np.zeros((len(numbers), *shape))
    weights = np.zeros_like(totals)
    step = max(1, _STRIP // width)
    for start in range(0, height, step):
        stop = min(start + step, height)
        part = source.read(numbers, window=Window(column, row + start, width, stop - start), masked=True)
        good = ~np.ma.getmaskarray(part) & np.isfinite(part.data)
        if nodata is not None:
            good &= part.data != nodata
        values = np.where(good, part.data, 0).astype(np.float64)
        for band in range(len(numbers)):
            totals[band] += down[:, start:stop] @ (values[band] @ across)
            weights[band] += down[:, start:stop] @ (good[band].astype(np.float64) @ across)
    empty = weights < 1e-9
    return np.ma.masked_array(totals / np.where(empty, 1, weights), empty)


def _shares(n: int, m: int) -> Any:
    """Return sparse ``(m, n)``: how much of each of n pixels lies in each of m larger ones that cover them."""
    from scipy.sparse import csr_array

    edges = np.unique(np.concatenate([np.arange(n + 1.0), np.arange(m + 1) * (n / m)]))
    middles = (edges[:-1] + edges[1:]) / 2
    large = np.minimum((middles * (m / n)).astype(int), m - 1)
    return csr_array((np.diff(edges), (large, np.minimum(middles.astype(int), n - 1))), shape=(m, n))


def _physical(data: Any, config: BandConfig, scales: np.ndarray | None, offsets: np.ndarray) -> np.ndarray:
    """Return float32 values, scaled and in decibels as asked, NaN where masked or not finite."""
    mask = np.ma.getmaskarray(data)
    values = np.where(mask, 0, data.data)
    values = np.abs(values) if np.iscomplexobj(values) else values  # a SAR image's phase is not shown
    if scales is not None:
        values = values * scales[:, None, None] + offsets[:, None, None]
    values = values.astype(np.float32)
    if config.decibels is not None:
        mask = mask | ~(values > 0)
        factor = 10 if config.decibels == "power" else 20
        values = factor * np.log10(values, out=np.zeros_like(values), where=~mask)
    values[mask | ~np.isfinite(values)] = np.nan
    return values


def missing(path: Path) -> InputError:
    """Return what is wrong with an image that is not there."""
    if path.is_symlink():
        return InputError(f"{path}: is a link to nothing", remedy="mend it, or remove it")
    return InputError(f"{path}: no such image", remedy="check the path")


def _unreadable(path: Path, error: BaseException) -> InputError:
    if not path.exists():
        return missing(path)
    reason = str(error.__cause__ or error).removeprefix(f"'{path}' ")
    return InputError(f"{path}: cannot be read as an image ({reason})", remedy="copy it again, or remove it")
