"""An index of an archive: build it, bring it up to date, ask it by words, by an image, by one of its tiles."""

import fnmatch
import re
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from eotune.core.device import on_best_device
from eotune.core.errors import InputError, shown
from eotune.data.images import read_image
from eotune.encoders.sources import absolute_name
from eotune.engines.base import Engine
from eotune.engines.local import LocalEngine
from eotune.search.build import Speed, update_index
from eotune.search.filters import Filter, surrounding
from eotune.search.store import Manifest, Snapshot, StacInfo, table_of, writing
from eotune.search.tiles import TileConfig, Window

MAX_RESULTS = 10_000


@dataclass(frozen=True)
class Hit:
    """A tile that was found.

    Attributes:
        id: Of the tile, for as long as its image does not change.
        score: Cosine of query and tile.
        path: Of its image, in the archive.
        window: Column and row of its upper left pixel in the image, width and height.
        footprint: Its outline in longitude and latitude; None where the image has no position.
        time: When the image was taken; None where nothing says.
    """

    id: int
    score: float
    path: str
    window: Window
    footprint: Any | None
    time: datetime | None


@dataclass(frozen=True)
class Extent:
    """How much an index holds, where and from when.

    Attributes:
        images: How many.
        tiles: How many.
        bounds: West, south, east and north of the smallest box around all footprints, west greater than east where it
            lies across the antimeridian; None where no image has a position.
        first: When the oldest image was taken; None where nothing says.
        last: Likewise, the newest.
    """

    images: int
    tiles: int
    bounds: tuple[float, float, float, float] | None
    first: datetime | None
    last: datetime | None


class Index:
    """An index as it was when opened; a build that goes on meanwhile does not disturb it.

    Args:
        folder: Where the index lies.
        encoder: Name of the encoder where it is called otherwise now than when the index was made: its folder moved.

    Attributes:
        folder: Likewise.
    """

    def __init__(self, folder: Path, encoder: str | None = None) -> None:
        self.folder = Path(folder)
        self._encoder_name = encoder
        self._snapshot = Snapshot(self.folder)

    @classmethod
    def build(  # noqa: PLR0913 - what the command takes
        cls,
        archive: Path,
        out: Path,
        *,
        encoder: str,
        image_size: int | None = None,
        tiles: TileConfig | None = None,
        engine: Engine | None = None,
        speed: Speed | None = None,
        store: str | None = None,
        asset: str | None = None,
        resume: bool = False,
    ) -> dict[str, Any]:
        """Index a folder of images, or bring its index up to date: only what is new or changed is embedded.

        Args:
            archive: Folder of GeoTIFF, JPEG 2000, PNG and JPEG, with what lies below it; or a JSON file of a STAC item,
                item collection, collection or catalog that names images.
            out: The index's folder.
            encoder: Name of a dual encoder, or ``run:DIR`` of an adapted one.
            image_size: Side in pixels; None takes the model's own.
            tiles: How images are cut.
            engine: Where tiles are embedded, by ``engines.by_name.engine``; None for this process.
            speed: Precision, and how many tiles at once.
            store: What holds the vectors: ``exact``, ``lance``, or a LanceDB database's URL; None for that of the
                index, ``exact`` if it is new.
            asset: Key or role of the assets of STAC items; see :func:`~eotune.search.stac.stac_images`.
            resume: Go on with what was interrupted.

        Returns:
            The summary: numbers of images and tiles, ``failures`` of those that could not be read, seconds.

        Raises:
            InputError: There is no image; ``out`` holds something else, or an index made with other settings.
            InterruptedRunError: Ctrl-C; ``resume`` goes on.
        """
        archive, tiles = Path(archive).absolute(), tiles or TileConfig()
        stac = _stac(archive, asset)
        folder = archive.parent if stac else archive
        table = table_of("exact" if store is None else store)
        name = absolute_name(encoder)
        model = _load(name, image_size)
        with writing(Path(out)) as writer:
            wanted = Manifest(
                folder=str(folder), stac=stac, encoder=name, fingerprint=model.fingerprint(), image_size=image_size,
                dim=model.dim, tiles=tiles, table=table,
            )  # fmt: skip
            del model  # workers have their own
            if writer.manifest is None:
                writer.begin(wanted)
            else:
                _refuse_other(writer.manifest, wanted, Path(out), store=store is not None)
            return update_index(writer, folder, engine or LocalEngine(), speed or Speed(), resume=resume)

    @classmethod
    def open(cls, folder: Path, encoder: str | None = None) -> "Index":
        """Open an index.

        Args:
            folder: Where it lies.
            encoder: See :class:`Index`.

        Raises:
            InputError: There is none, it is not finished, or it is damaged.
        """
        return cls(folder, encoder)

    def update(self, **options: Any) -> dict[str, Any]:
        """Bring the index up to date with its archive, and open it anew.

        Args:
            **options: ``engine``, ``speed`` and ``resume``, as for :meth:`build`.
        """
        manifest = self.manifest
        stac = manifest.stac
        summary = self.build(
            Path(manifest.folder, stac.file if stac else ""), self.folder, encoder=manifest.encoder,
            image_size=manifest.image_size, tiles=manifest.tiles, asset=stac.asset if stac else None, **options,
        )  # fmt: skip
        self._reopen()
        return summary

    def delete(self, pattern: str) -> int:
        """Remove the tiles of images from the index; the images stay, and the next update takes them in again.

        Args:
            pattern: Such as ``2019/*.tif``, compared with paths in the archive; ``*`` spans folders too.

        Returns:
            How many images.
        """
        fits = re.compile(fnmatch.translate(pattern)).match
        with writing(self.folder) as writer:
            sources = Snapshot(self.folder).sources()
            gone = {path for path in sources["path"].to_pylist() if fits(path)}
            if gone:
                kept = [path not in gone for path in sources["path"].to_pylist()]
                writer.commit(gone, [], sources.filter(kept))
        self._reopen()
        return len(gone)

    def search(
        self,
        text: str | None = None,
        *,
        image: Path | np.ndarray | None = None,
        like: int | None = None,
        k: int = 10,
        minimum: float = -1.0,
        where: Filter | None = None,
    ) -> list[Hit]:
        """Return the tiles that are nearest to what is asked for, best first.

        Args:
            text: What to look for, in words.
            image: An image file, or uint8 ``(h, w, 3)``. With ``text`` too, the mean of both directions is sought.
            like: The id of a tile of this index, which is itself left out: more like this one.
            k: How many at most.
            minimum: Least score.
            where: Only tiles that pass it; :func:`~eotune.search.filters.make_filter` makes one.

        Raises:
            InputError: Nothing is asked for, or something has no meaning; the encoder is not the index's own.
        """
        if not 1 <= k <= MAX_RESULTS:
            raise InputError(f"k={k}: out of range", remedy=f"give 1 to {MAX_RESULTS}")
        query = self._query(text, image, like)
        found = self._snapshot.rows.nearest(query, k + (like is not None), minimum=minimum, where=where)
        return [_hit(row, score) for row, score in found if row["id"] != like][:k]

    @property
    def manifest(self) -> Manifest:
        """What the index is: archive, encoder, tiles."""
        return self._snapshot.manifest

    @cached_property
    def encoder(self) -> Any:
        """The encoder that the index was made with, loaded when first asked for.

        Raises:
            InputError: It cannot be loaded, or is not the same any more.
        """
        name = self._encoder_name or self.manifest.encoder
        model = _load(name, self.manifest.image_size)
        if model.fingerprint() != self.manifest.fingerprint:
            raise InputError(
                f"{self.folder}: was made with {shown(self.manifest.encoder)} of fingerprint "
                f"{self.manifest.fingerprint!r}; {shown(name)} has {model.fingerprint()!r}",
                remedy="restore the encoder's weights of then, or build the index again",
            )
        return model

    def __len__(self) -> int:
        return len(self._snapshot)

    def vector(self, tile: int) -> np.ndarray:
        """Return the vector ``(dim,)`` float32 of a tile.

        Raises:
            InputError: There is no such tile.
        """
        return self._tile(tile)[1]

    def tile(self, tile: int) -> Hit:
        """Return a tile by its id, with score 0.

        Raises:
            InputError: There is no such tile.
        """
        return _hit(self._tile(tile)[0])

    def extent(self) -> Extent:
        """Return where and when the archive's tiles are."""
        table = self._snapshot.rows.columns(["west", "south", "east", "north", "time"])
        box = surrounding(*(table[name].to_numpy() for name in table.column_names[:4]))
        times = pc.min_max(table["time"]).as_py()
        return Extent(len(self._snapshot.sources()), len(self), box, times["min"], times["max"])

    def _tile(self, tile: int) -> tuple[dict[str, Any], np.ndarray]:
        found = self._snapshot.rows.tile(tile)
        if found is None:
            raise InputError(f"{self.folder}: has no tile {tile}", remedy="take an id from an answer of this index")
        return found

    def _query(self, text: str | None, image: Path | np.ndarray | None, like: int | None) -> np.ndarray:
        """Return what is sought, ``(dim,)`` of unit length."""
        if text is not None and not text.strip():
            raise InputError("the text is empty", remedy="say what to look for")
        parts = []
        if text is not None:
            parts.append(self.encoder.embed_texts([text])[0])
        if image is not None:
            pixels = image if isinstance(image, np.ndarray) else read_image(Path(image), self.manifest.tiles.bands)
            parts.append(self.encoder.embed_images([pixels])[0])
        if like is not None:
            parts.append(self.vector(like))
        if not parts:
            raise InputError("nothing is asked for", remedy="give a text, an image, or a tile's id")
        total = np.sum([part / np.linalg.norm(part) for part in parts], axis=0)
        return (total / max(float(np.linalg.norm(total)), 1e-12)).astype(np.float32)

    def _reopen(self) -> None:
        self._snapshot = Snapshot(self.folder)


def _hit(row: dict[str, Any], score: float = 0.0) -> Hit:
    import shapely

    window = (row["column"], row["row"], row["width"], row["height"])
    area = None if row["geometry"] is None else shapely.from_wkb(row["geometry"])
    return Hit(row["id"], score, row["path"], window, area, row["time"])


def _stac(archive: Path, asset: str | None) -> StacInfo | None:
    """Return what names the images of an archive; None where the folder holds them."""
    if archive.is_dir():
        if asset is not None:
            raise InputError(f"asset {shown(asset)}: {archive} is a folder", remedy="name a STAC file, or no asset")
        return None
    if not archive.is_file():
        raise InputError(f"{archive}: no such folder or STAC file", remedy="check the path")
    return StacInfo(file=archive.name, asset=asset)


def _load(name: str, image_size: int | None) -> Any:
    from eotune.methods.adapted import load_model

    return on_best_device(load_model(name, image_size))


def _pairs(key: str, old: Any, new: Any) -> list[tuple[str, Any, Any]]:
    """Return a setting before and now; of several in one, each of its own."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [(f"{key}.{name}", old[name], new.get(name)) for name in old]
    return [(key, old, new)]


def _refuse_other(have: Manifest, want: Manifest, out: Path, *, store: bool) -> None:
    """Refuse to add to an index made with other settings; the archive may have moved, the encoder's folder too."""
    old, new = (one.model_dump(include={"stac", "fingerprint", "image_size", "dim", "tiles"}) for one in (have, want))
    if store:
        old["store"], new["store"] = ((one.table and one.table.url) or one.store for one in (have, want))
    changed = [
        f"{key}: {shown(before)}, now {shown(now)}"
        for key in old
        for key, before, now in _pairs(key, old[key], new[key])
        if before != now
    ]
    if changed:
        raise InputError(
            f"{out}: was made with other settings ({', '.join(changed)})",
            remedy="give those, or choose another --out",
        )
