"""Pictures that come in, to search by; and pictures that go out, of tiles."""

import hashlib
import tempfile
import threading
from collections import OrderedDict
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from eotune.core.errors import InputError
from eotune.data.bands import BandConfig
from eotune.data.images import read_image
from eotune.data.rasters import ignoring, opened
from eotune.search.index import Hit, Index
from eotune.search.tiles import TileReader

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_OTHERS = ("PNG", "JPEG", "WEBP")
_MAX_SIDE = 1024  # pixels of an image to search by: no model sees more
_VALUE_BYTES = 16  # of a TIFF's pixel, all bands together, that its limit of pixels is meant for
_SIDE = 320  # pixels of a thumbnail's longer side
_QUALITY = 82


def decode_upload(body: bytes, bands: BandConfig | None, max_pixels: int) -> np.ndarray:
    """Return an uploaded image as RGB, uint8 ``(h, w, 3)``.

    Args:
        body: A PNG, JPEG, WebP, or TIFF of any bands and type.
        bands: How the index shows rasters; a TIFF is shown likewise.
        max_pixels: What claims more is refused undecoded.

    Raises:
        InputError: It is none of these, is damaged or too large.
    """
    if not body:
        raise InputError("the body is empty", remedy="send an image")
    # GDAL and Pillow open files; neither is given a name that the client chose.
    with tempfile.TemporaryDirectory(prefix="eotune-") as folder:
        path = Path(folder) / "image"
        path.write_bytes(body)
        is_tiff = body[:4] in _TIFF
        try:
            width, height = _tiff_size(path, max_pixels) if is_tiff else _size(body)
            if width * height > max_pixels:
                raise InputError(f"the image has {width} x {height} pixels", remedy=f"send {max_pixels:,} at most")
            return read_image(path, bands if is_tiff else None, max_side=_MAX_SIDE)
        except InputError as error:
            # The temporary file's name is nobody's business.
            raise InputError(str(error).replace(f"{path}: ", "").replace(str(path), "the image")) from None


def _size(body: bytes) -> tuple[int, int]:
    try:
        with ignoring(Image.DecompressionBombWarning), Image.open(BytesIO(body), formats=_OTHERS) as picture:
            return picture.size
    except Image.DecompressionBombError:
        raise InputError("the image has too many pixels", remedy="send a smaller one") from None
    except Exception:  # damaged files make decoders raise almost anything
        raise InputError("this is no image", remedy="send a PNG, JPEG, WebP or GeoTIFF") from None


def _tiff_size(path: Path, max_pixels: int) -> tuple[int, int]:
    with opened(path) as source:
        width, height = source.width, source.height
        size = width * height * sum(np.dtype(kind).itemsize for kind in source.dtypes)
        if size > max_pixels * _VALUE_BYTES:
            raise InputError(f"the image has {size:,} bytes", remedy=f"send {max_pixels * _VALUE_BYTES:,} at most")
    return width, height


class Thumbnails:
    """Pictures of tiles as JPEG; the ones asked for last are kept.

    Args:
        cache_bytes: How much of them.
        readers: Threads that render at once.
    """

    def __init__(self, cache_bytes: int, readers: int) -> None:
        self._kept: OrderedDict[tuple[int, int], tuple[bytes, str]] = OrderedDict()
        self._lock = threading.Lock()
        self._bytes = 0
        self._most = cache_bytes
        self._idle: list[TileReader] = []
        self._readers = readers

    def kept(self, generation: int, tile: int) -> tuple[bytes, str] | None:
        """Return a picture and its ETag, if it was rendered before."""
        with self._lock:
            found = self._kept.get((generation, tile))
            if found is not None:
                self._kept.move_to_end((generation, tile))
            return found

    def render(self, index: Index, hit: Hit) -> tuple[bytes, str]:
        """Return a tile's picture and its ETag.

        Raises:
            InputError: Its image cannot be read any more.
        """
        key = index.manifest.generation, hit.id
        picture = Image.fromarray(np.ascontiguousarray(self._read(index, hit)))
        picture.thumbnail((_SIDE, _SIDE))
        stream = BytesIO()
        picture.save(stream, "JPEG", quality=_QUALITY)
        found = stream.getvalue(), f'"{hashlib.sha256(stream.getvalue()).hexdigest()[:20]}"'
        with self._lock:
            if key not in self._kept:
                self._kept[key] = found
                self._bytes += len(found[0])
            while self._bytes > self._most:
                self._bytes -= len(self._kept.popitem(last=False)[1][0])
        return found

    def clear(self) -> None:
        """Forget all, and close the images that are open."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0
            idle, self._idle = self._idle, []
        for reader in idle:
            reader.close()

    def _read(self, index: Index, hit: Hit) -> np.ndarray:
        inside = PurePosixPath(hit.path)
        if inside.is_absolute() or ".." in inside.parts:  # an index from elsewhere may say anything
            raise InputError(
                f"tile {hit.id}: its image lies outside the archive, where the server does not read",
                remedy="keep the STAC file in a folder that holds its images",
            )
        gone = InputError(f"tile {hit.id}: its image cannot be read any more", remedy="bring the index up to date")
        tiles = index.manifest.tiles
        with self._lock:
            reader = self._idle.pop() if self._idle else TileReader(tiles)
        if reader.config != tiles:
            reader.close()
            reader = TileReader(tiles)
        try:
            pixels = reader.read(Path(index.manifest.folder) / hit.path, hit.window)
        except InputError:
            reader.close()
            raise gone from None
        with self._lock:
            keep = len(self._idle) < self._readers
            if keep:
                self._idle.append(reader)
        if not keep:
            reader.close()
        if pixels is None:
            raise gone
        return pixels
