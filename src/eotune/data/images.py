"""Any image file to RGB, uint8: PNG and JPEG through PIL, everything else through rasterio."""

import logging
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from eotune.core.errors import InputError
from eotune.data.bands import BandConfig, to_rgb
from eotune.data.rasters import ignoring, load_bands, missing, raster_driver, read_bands

__all__ = ["IMAGE_SUFFIXES", "MAX_PIXELS", "BandConfig", "read_bands", "read_image"]

# PNG and JPEG must be decoded whole. What claims more pixels than this (half a gigabyte as RGBA) is refused unread.
MAX_PIXELS = 2**27

# What is taken for an image in a folder.
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".gtiff", ".jp2", ".j2k", ".bmp", ".webp"}

_GDAL_TAGS = (42112, 42113)  # metadata (band names, scale, offset) and nodata
_PLAIN_MODES = {"RGB", "RGBA", "RGBX", "RGBa", "L", "LA", "La", "P", "PA", "1", "CMYK", "YCbCr", "LAB", "HSV"}

# Of more bands than PIL decodes it says so on the screen, once a file, unless somebody listens; rasterio reads those.
logging.getLogger("PIL.TiffImagePlugin").addHandler(logging.NullHandler())


def read_image(path: Path, bands: BandConfig | None = None, *, max_side: int | None = None) -> np.ndarray:
    """Read an image of any kind as RGB.

    PNG, JPEG and whatever else PIL knows: turned upright as EXIF says, transparency over black, palettes resolved,
    16-bit grey from 0..65535. Rasters that are more than that (GeoTIFF with other than 8 bits, more bands, nodata or
    band names; JPEG 2000), and every file where ``bands`` is given: as :class:`BandConfig` says; without data is 0.

    Args:
        path: The file.
        bands: How a raster becomes RGB; None for the defaults.
        max_side: Scale larger images down, so that the shorter side has at most this many pixels.

    Returns:
        uint8 ``(h, w, 3)``.

    Raises:
        InputError: The file is missing, empty, truncated, no image, too large to decode, has none of the bands asked
            for, or holds no data.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "a.png"
        >>> Image.new("L", (30, 20), 7).save(file)
        >>> read_image(file).shape, int(read_image(file).max())
        ((20, 30, 3), 7)
    """
    path = Path(path)
    if bands is None and (plain := _read_plain(path, max_side)) is not None:
        return plain
    config = bands or BandConfig()
    loaded = load_bands(path, config, display=True, max_side=max_side)
    return to_rgb(loaded.values, config, dtype=loaded.dtype, is_scaled=loaded.is_scaled)


def _read_plain(path: Path, max_side: int | None) -> np.ndarray | None:
    """Read with PIL; None where rasterio must do it."""
    picture = None
    try:
        with path.open("rb") as stream:
            driver = raster_driver(path, stream.read(16))
            if driver == "JP2OpenJPEG":
                return None
            stream.seek(0)
            is_tiff = driver == "GTiff"
            picture = _opened(stream, is_tiff)
            if picture is None or (is_tiff and not _is_plain_tiff(picture)):
                return None
            if picture.width * picture.height > MAX_PIXELS:
                raise InputError(
                    f"{path}: {picture.width} x {picture.height} pixels, more than {MAX_PIXELS:,}",
                    remedy="cut it into tiles, or store it as GeoTIFF, which is read decimated",
                )
            if max_side is not None and picture.format == "JPEG":
                factor = max_side / min(picture.size)
                picture.draft(None, (round(picture.width * factor), round(picture.height * factor)))
            return _pixels(picture, max_side)
    except InputError:
        raise
    except FileNotFoundError:
        raise missing(path) from None
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: {error}", remedy="cut it into tiles, or store it as GeoTIFF") from None
    except Exception as error:  # damaged files make decoders raise almost anything
        raise InputError(
            f"{path}: cannot be read as an image ({str(error) or type(error).__name__})",
            remedy="copy it again, or remove it",
        ) from error


def _opened(stream: object, is_tiff: bool) -> Image.Image | None:
    """Open with PIL; None for a TIFF that it does not understand."""
    # PIL warns of sizes between its limit and twice that; ours is checked next.
    with ignoring(Image.DecompressionBombWarning):
        try:
            return Image.open(stream)  # type: ignore[arg-type]
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            if is_tiff:
                return None
            raise


def _is_plain_tiff(picture: Image.Image) -> bool:
    if picture.mode not in _PLAIN_MODES or picture.width * picture.height > MAX_PIXELS:
        return False
    tags = getattr(picture, "tag_v2", {})
    return picture.mode == "P" or not any(tag in tags for tag in _GDAL_TAGS)


def _pixels(picture: Image.Image, max_side: int | None) -> np.ndarray:
    """Decode, turn upright and convert to RGB."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        picture = _from_wide(picture)
    elif picture.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        picture = Image.new("RGBA", layer.size, (0, 0, 0, 255))
        picture.alpha_composite(layer)
    picture = picture.convert("RGB")
    if max_side is not None and min(picture.size) > max_side:
        factor = max_side / min(picture.size)
        size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    return np.array(picture)


def _from_wide(picture: Image.Image) -> Image.Image:
    """Map grey of 16 or more bits to 8: 65535 becomes 255."""
    values = np.asarray(picture).astype(np.float64)
    return Image.fromarray(np.clip(np.rint(values / 257), 0, 255).astype(np.uint8))
