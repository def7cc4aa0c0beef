"""The index that a server answers from: the newest version on disk, its encoder, its pictures."""

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from eotune.core.errors import InputError
from eotune.core.progress import say
from eotune.search.answers import geometry
from eotune.search.filters import make_filter, surrounding
from eotune.search.index import Extent, Hit, Index
from eotune.search.server.gate import OneAtATime
from eotune.search.server.limits import ServerLimits
from eotune.search.server.messages import Answer, FoundPlace, ImageOptions, Place, SearchRequest
from eotune.search.server.pictures import Thumbnails, decode_upload
from eotune.search.store import MANIFEST


class NoTileError(InputError):
    """No tile has this id, or its image is gone."""


class Archive:
    """Answers what the API asks. All methods may be called from several threads, and all block.

    Args:
        folder: The index's.
        encoder: What its encoder is called now; None for its own name.
        limits: How large an image may be, and how many thumbnails are kept.

    Raises:
        InputError: There is no index, or its encoder cannot be loaded.
    """

    def __init__(self, folder: Path, encoder: str | None, limits: ServerLimits) -> None:
        self._folder, self._encoder, self._limits = Path(folder), encoder, limits
        self._lock = threading.Lock()
        self.thumbnails = Thumbnails(limits.cache_bytes, limits.workers)
        self._seen = self._state()
        self._now = self._open(None)

    def index(self) -> Index:
        """Return the index as it is on disk now; one that cannot be opened is as it was before."""
        return self._current()[0]

    def extent(self) -> tuple[Index, Extent]:
        """Return the index, and how much it holds, where and from when."""
        return self._current()

    def search(self, wanted: SearchRequest) -> Answer:
        """Search by words, by a tile, or both.

        Raises:
            NoTileError: There is no tile ``like``.
        """
        if wanted.like is not None:
            self._tile(self.index(), wanted.like)
        return self._search(wanted, text=wanted.text, like=wanted.like)

    def search_image(self, body: bytes, wanted: ImageOptions) -> Answer:
        """Search by an image, with words or without."""
        index = self.index()
        image = decode_upload(body, index.manifest.tiles.bands, self._limits.max_image_pixels)
        return self._search(wanted, text=wanted.text, image=image)

    def place(self, tile: int) -> Place:
        """Return a tile by its id.

        Raises:
            NoTileError: There is none.
        """
        return Place(**_described(self._tile(self.index(), tile)))

    def thumbnail(self, tile: int) -> tuple[bytes, str]:
        """Return a tile's picture as JPEG, and its ETag.

        Raises:
            NoTileError: There is none, or its image cannot be read any more.
        """
        index = self.index()
        kept = self.thumbnails.kept(index.manifest.generation, tile)
        hit = self._tile(index, tile)
        try:
            return kept or self.thumbnails.render(index, hit)
        except InputError as error:
            raise NoTileError(str(error)) from None

    def kept_thumbnail(self, tile: int) -> tuple[bytes, str] | None:
        """Return a picture that needs no work, so that it need not wait for any."""
        if self._state() != self._seen:
            return None
        return self.thumbnails.kept(self._now[0].manifest.generation, tile)

    @staticmethod
    def _tile(index: Index, tile: int) -> Hit:
        try:
            return index.tile(tile)
        except InputError:
            raise NoTileError(f"there is no tile {tile}", remedy="take an id from an answer") from None

    def _search(self, wanted: SearchRequest | ImageOptions, **asked: Any) -> Answer:
        start = time.perf_counter()
        where = make_filter(wanted.bbox, wanted.since, wanted.until)
        hits = self.index().search(k=wanted.k, minimum=wanted.min_score, where=where, **asked)
        found = [FoundPlace(score=round(hit.score, 6), **_described(hit)) for hit in hits]
        return Answer(hits=found, seconds=round(time.perf_counter() - start, 4))

    def _current(self) -> tuple[Index, Extent]:
        if self._state() != self._seen:
            with self._lock:
                state = self._state()
                if state != self._seen:
                    try:
                        self._now = self._open(self._now[0])
                    except (InputError, OSError) as error:
                        say(f"the index has changed and cannot be opened, so that the old one stays: {error}")
                    self._seen = state
                    self.thumbnails.clear()
        return self._now

    def _open(self, before: Index | None) -> tuple[Index, Extent]:
        index = Index.open(self._folder, self._encoder)
        if before is not None and before.manifest.fingerprint == index.manifest.fingerprint:
            index.encoder = before.encoder
        else:
            index.encoder = OneAtATime(index.encoder)
        return index, index.extent()

    def _state(self) -> tuple[int, ...] | None:
        """Return what changes whenever the manifest is replaced."""
        try:
            state = (self._folder / MANIFEST).stat()
        except OSError:
            return None
        return state.st_ino, state.st_mtime_ns, state.st_size


def _described(hit: Hit) -> dict[str, Any]:
    return {
        "id": hit.id,
        "path": hit.path,
        "window": list(hit.window),
        "time": hit.time,
        "footprint": geometry(hit.footprint),
        "bounds": _bounds(hit.footprint),
        "thumbnail": f"/api/thumbnail/{hit.id}",
    }


def _bounds(area: Any | None) -> list[float] | None:
    """Return the box around a footprint, which the antimeridian may cut in two."""
    if area is None:
        return None
    parts = np.array([part.bounds for part in getattr(area, "geoms", [area])])
    return list(surrounding(*parts.T) or ())
