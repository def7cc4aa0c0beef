"""The index on disk: a manifest, replaced last, that names the rows and the images of one generation."""

import json
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eotune.core.config import Config, parse
from eotune.core.errors import InputError
from eotune.core.files import held, read_json, replaced, write_json
from eotune.core.lookup import require, resolve, unknown_name
from eotune.search.filters import Filter
from eotune.search.tiles import TileConfig

MANIFEST, WORK = "index.json", "work"
_GONE = ".work-gone"
FORMAT = 1
STORES = {  # what reads the rows of an index, and what changes them
    "exact": ("eotune.search.segments:SegmentRows", "eotune.search.segments:SegmentWriter"),
    "lance": ("eotune.search.lance:LanceRows", "eotune.search.lance:LanceWriter"),
}

COLUMNS = pa.schema(
    [
        ("id", pa.int64()),
        ("path", pa.string()),
        *((name, pa.int32()) for name in ("column", "row", "width", "height")),
        *((name, pa.float64()) for name in ("west", "south", "east", "north")),
        ("time", pa.timestamp("us", "UTC")),
        ("geometry", pa.binary()),
    ]
)
SOURCES = pa.schema([("path", pa.string()), ("size", pa.int64()), ("modified", pa.int64()), ("tiles", pa.int64())])
GEO = {
    b"geo": json.dumps(
        {
            "version": "1.1.0",
            "primary_column": "geometry",
            "columns": {"geometry": {"encoding": "WKB", "geometry_types": ["Polygon", "MultiPolygon"]}},
        }
    ).encode()
}


class SegmentInfo(Config):
    """A part of an index: its files' name, and its number of rows."""

    name: str
    rows: int


class StacInfo(Config):
    """The STAC file that names the images of an archive.

    Attributes:
        file: Its name in the archive's folder.
        asset: Key or role of the assets; None for the usual ones.
    """

    file: str
    asset: str | None = None


class TableInfo(Config):
    """The LanceDB table of an index.

    Attributes:
        url: Of its database; None for the folder ``lance`` of the index.
        name: Of the table.
        version: Of the table, that this generation is.
        indexed: Number of rows when its vector index was trained; 0 where it has none.
    """

    url: str | None = None
    name: str
    version: int = 0
    indexed: int = 0


class Manifest(Config):
    """What index.json holds; files that it does not name are no part of the index.

    Attributes:
        format: Of the files.
        folder: The archive's, absolute; paths of tiles start there.
        stac: Where a STAC file names the images.
        encoder: Name of the encoder.
        fingerprint: Of the encoder: a query by another one has no meaning here.
        image_size: Side in pixels at which it was loaded; None for its own.
        dim: Numbers in a vector.
        tiles: How images were cut.
        generation: 0 until the first build is finished; one more with every change.
        next_id: What the next tile will be called.
        rows: How many tiles.
        segments: In order; ids ascend through them.
        table: Of LanceDB, which takes the place of segments; None in an exact store.
    """

    format: int = FORMAT
    folder: str
    stac: StacInfo | None = None
    encoder: str
    fingerprint: str
    image_size: int | None = None
    dim: int
    tiles: TileConfig
    generation: int = 0
    next_id: int = 0
    rows: int = 0
    segments: tuple[SegmentInfo, ...] = ()
    table: TableInfo | None = None

    @property
    def store(self) -> str:
        """One of :data:`STORES`."""
        return "exact" if self.table is None else "lance"

    @property
    def sources(self) -> str:
        """The file that lists the images of this generation."""
        return f"sources-{self.generation:06d}.parquet"


class Rows(Protocol):
    """The rows of one generation, open for reading."""

    def __init__(self, folder: Path, manifest: Manifest) -> None: ...

    def __len__(self) -> int: ...

    def nearest(
        self, query: np.ndarray, k: int, *, minimum: float, where: Filter | None
    ) -> list[tuple[dict[str, Any], float]]:
        """Return rows with the greatest products with ``query`` ``(dim,)``, best first, and these."""

    def tile(self, tile: int) -> tuple[dict[str, Any], np.ndarray] | None:
        """Return a row by its id, and its vector float32 ``(dim,)``; None where there is none."""

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Return some of :data:`COLUMNS`, whole."""


class RowWriter(Protocol):
    """Changes the rows of an index, without a trace for who reads by the manifest of before."""

    def __init__(self, folder: Path, manifest: Manifest) -> None: ...

    def changed(self, drop: Set[str], added: Iterable[tuple[pa.Table, np.ndarray]]) -> dict[str, Any]:
        """Drop tiles of these images, add others at the end; return what the manifest has to say then."""

    def remove_strays(self, manifest: Manifest) -> None:
        """Remove what the manifest does not name."""


class Snapshot:
    """A whole index, as one generation has it; later changes do not touch it.

    Attributes:
        folder: Of the index.
        manifest: What it is.
        rows: Its tiles.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        while True:
            self.manifest = read_manifest(folder)
            if self.manifest.generation == 0:
                raise InputError(f"{folder}: this index is not finished", remedy="go on with eotune index --resume")
            try:
                self.rows: Rows = resolve(STORES[self.manifest.store][0])(folder, self.manifest)
                return
            except (OSError, pa.ArrowException) as error:
                # Between the manifest and its rows a writer may have finished; then there is a newer one.
                if read_manifest(folder).generation == self.manifest.generation:
                    raise InputError(f"{folder}: is damaged ({error})", remedy="build the index again") from None

    def __len__(self) -> int:
        return len(self.rows)

    def sources(self) -> pa.Table:
        """Return the images that are in the index: path, size, time of change, number of tiles."""
        return pq.read_table(self.folder / self.manifest.sources, schema=SOURCES)


def table_of(store: str) -> TableInfo | None:
    """Return the table of a new index.

    Args:
        store: ``exact``; ``lance``; or the URL of a LanceDB database, such as ``s3://bucket/folder``.

    Raises:
        InputError: It is none of these.
        MissingExtraError: LanceDB is not installed.
    """
    if store == "exact":
        return None
    if store != "lance" and "://" not in store:
        raise unknown_name("store", store, STORES)
    require("lancedb", "lance")
    # A database may hold several indexes' tables.
    return TableInfo(name="tiles") if store == "lance" else TableInfo(url=store, name=f"tiles-{uuid.uuid4().hex}")


def read_manifest(folder: Path) -> Manifest:
    """Return what an index is.

    Raises:
        InputError: There is none, it is damaged, or of a later version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"{folder}: holds no index (no {MANIFEST})", remedy="check the path, or make it: eotune index")
    values = read_json(path)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise InputError(f"{path}: is no index of format {FORMAT}", remedy="build the index again")
    return parse(Manifest, values, source=str(path))


class Writer:
    """The one process that may change an index, by :func:`writing`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._remove_gone()
        self.manifest: Manifest | None = read_manifest(folder) if (folder / MANIFEST).is_file() else None

    def begin(self, manifest: Manifest) -> None:
        """Write the manifest of an index that is still empty, and cannot be read."""
        self._swap(manifest)

    def commit(self, drop: Set[str], added: Iterable[tuple[pa.Table, np.ndarray]], sources: pa.Table) -> None:
        """Change the index in one step.

        Args:
            drop: Paths of images whose tiles go.
            added: Tiles (without ``id``) and their vectors, in pieces; they go to the end.
            sources: All images of the index from now on.

        Raises:
            OSError: The disk is full; the index is as it was.
        """
        old = self._required()
        rows: RowWriter = resolve(STORES[old.store][1])(self.folder, old)
        rows.remove_strays(old)
        self._remove_strays(old)
        numbered = _Numbered(added, old.next_id)
        changed = rows.changed(drop, numbered)
        manifest = old.model_copy(
            update={"generation": old.generation + 1, "next_id": numbered.following, **changed},
        )
        with replaced(self.folder / manifest.sources) as temporary:
            pq.write_table(sources.cast(SOURCES), temporary, compression="zstd")
        self._swap(manifest)
        rows.remove_strays(manifest)
        self._remove_strays(manifest)

    def move(self, folder: str) -> None:
        """Note that the archive lies elsewhere now."""
        self._swap(self._required().model_copy(update={"folder": folder}))

    def _required(self) -> Manifest:
        if self.manifest is None:
            raise ValueError("begin comes before commit")
        return self.manifest

    def _swap(self, manifest: Manifest) -> None:
        write_json(self.folder / MANIFEST, manifest.model_dump(mode="json"))
        self.manifest = manifest

    def _remove_strays(self, manifest: Manifest) -> None:
        """Remove what no manifest names: of the generation before, or of a commit that was interrupted."""
        for pattern in ("sources-*.parquet", ".sources-*", f".{Path(MANIFEST).stem}.*"):
            for path in self.folder.glob(pattern):
                if path.name != manifest.sources:
                    path.unlink()

    def clear_work(self) -> None:
        """Remove what an interrupted build would go on from."""
        if (self.folder / WORK).is_dir():  # at once: what is left of half a removal, no build could go on from
            (self.folder / WORK).rename(self.folder / _GONE)
        self._remove_gone()

    def _remove_gone(self) -> None:
        shutil.rmtree(self.folder / _GONE, ignore_errors=True)


@contextmanager
def writing(folder: Path) -> Iterator[Writer]:
    """Hold an index, or a new folder for one, against other writers; readers go on.

    Raises:
        InputError: Another process is writing, or the folder holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file", remedy="choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / MANIFEST).is_file() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise InputError(f"{folder}: is not empty and holds no index", remedy="choose another --out")
    with held(folder):
        yield Writer(folder)


class _Numbered:
    """Tables with ids, ascending from a first one."""

    def __init__(self, added: Iterable[tuple[pa.Table, np.ndarray]], first: int) -> None:
        self.added, self.following = added, first

    def __iter__(self) -> Iterator[tuple[pa.Table, np.ndarray]]:
        for table, vectors in self.added:
            ids = pa.array(np.arange(self.following, self.following + len(table)))
            self.following += len(table)
            yield table.add_column(0, "id", ids).cast(COLUMNS), vectors
