"""The index on disk: float16 vectors in memory-mapped segments, their tiles as GeoParquet, a manifest swapped last."""

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from eotune.core.config import Config, parse
from eotune.core.errors import InputError
from eotune.core.files import held, read_json, replaced, write_json
from eotune.search.tiles import TileConfig

MANIFEST, SEGMENTS, WORK = "index.json", "segments", "work"
_GONE = ".work-gone"
FORMAT = 1
SEGMENT_ROWS = 131_072  # 128 MiB of 512 numbers
_GROUP = 4096  # rows of a Parquet row group: what reading one row costs

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


class Manifest(Config):
    """What index.json holds; files that it does not name are no part of the index.

    Attributes:
        format: Of the files.
        folder: The archive's, absolute; paths of tiles start there.
        encoder: Name of the encoder.
        fingerprint: Of the encoder: a query by another one has no meaning here.
        image_size: Side in pixels at which it was loaded; None for its own.
        dim: Numbers in a vector.
        tiles: How images were cut.
        generation: 0 until the first build is finished; one more with every change.
        next_id: What the next tile will be called.
        segments: In order; ids ascend through them.
    """

    format: int = FORMAT
    folder: str
    encoder: str
    fingerprint: str
    image_size: int | None = None
    dim: int
    tiles: TileConfig
    generation: int = 0
    next_id: int = 0
    segments: tuple[SegmentInfo, ...] = ()

    @property
    def sources(self) -> str:
        """The file that lists the images of this generation."""
        return f"sources-{self.generation:06d}.parquet"


class Segment:
    """Some rows of an index, open: they stay readable when the files are removed.

    Attributes:
        rows: How many.
        vectors: float16 ``(rows, dim)``, memory-mapped.
    """

    def __init__(self, folder: Path, info: SegmentInfo, dim: int) -> None:
        self.rows = info.rows
        path = folder / SEGMENTS / f"{info.name}.f16"
        if path.stat().st_size != 2 * dim * info.rows:
            raise InputError(f"{path}: is damaged (not {2 * dim * info.rows} bytes)", remedy="build the index again")
        # Copy on write only because torch warns of what cannot be written; nobody writes.
        self.vectors = np.memmap(path, np.dtype("<f2"), mode="c", shape=(info.rows, dim))
        self._file = pq.ParquetFile(path.with_suffix(".parquet"), memory_map=True, read_dictionary=["path"])
        self._group = self._file.metadata.row_group(0).num_rows
        self._columns: dict[str, Any] = {}

    def column(self, name: str) -> Any:
        """Return a column as an Arrow array; it is kept, so that filters read it once."""
        if name not in self._columns:
            self._columns[name] = self._file.read([name])[name].combine_chunks()
        return self._columns[name]

    def take(self, rows: Sequence[int]) -> pa.Table:
        """Return some rows, in the order given."""
        groups = sorted({row // self._group for row in rows})
        table = self._file.read_row_groups(groups)
        place = {group: number * self._group for number, group in enumerate(groups)}
        return table.take([place[row // self._group] + row % self._group for row in rows]).cast(COLUMNS)


class Snapshot:
    """A whole index, as one generation has it; later changes do not touch it.

    Attributes:
        folder: Of the index.
        manifest: What it is.
        segments: Its parts, open.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        while True:
            self.manifest = read_manifest(folder)
            if self.manifest.generation == 0:
                raise InputError(f"{folder}: this index is not finished", remedy="go on with eotune index --resume")
            try:
                self.segments = [Segment(folder, info, self.manifest.dim) for info in self.manifest.segments]
                return
            except (OSError, pa.ArrowException) as error:
                # Between the manifest and its segments a writer may have finished; then there is a newer one.
                if read_manifest(folder).generation == self.manifest.generation:
                    raise InputError(f"{folder}: is damaged ({error})", remedy="build the index again") from None

    def __len__(self) -> int:
        return sum(segment.rows for segment in self.segments)

    def sources(self) -> pa.Table:
        """Return the images that are in the index: path, size, time of change, number of tiles."""
        return pq.read_table(self.folder / self.manifest.sources, schema=SOURCES)


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
        generation = old.generation + 1
        new = _Segments(self.folder, generation, old.dim)
        self._remove_strays(old)
        for info in old.segments:
            segment = Segment(self.folder, info, old.dim)
            stays = pc.invert(pc.is_in(segment.column("path").cast(pa.string()), pa.array(sorted(drop), pa.string())))
            if pc.all(stays).as_py() is not False and info.rows >= SEGMENT_ROWS // 2:
                new.keep(info)
            else:
                for start in range(0, info.rows, _GROUP):
                    chosen = stays.slice(start, _GROUP)
                    rows = segment.take(range(start, min(start + _GROUP, info.rows))).filter(chosen)
                    new.add(rows, segment.vectors[start : start + _GROUP][chosen.to_numpy(zero_copy_only=False)])
        following = old.next_id
        for table, vectors in added:
            ids = pa.array(np.arange(following, following + len(table)))
            following += len(table)
            new.add(table.add_column(0, "id", ids).cast(COLUMNS), vectors)
        segments = new.finished()
        changed = {"generation": generation, "next_id": following, "segments": segments}
        manifest = old.model_copy(update=changed)
        with replaced(self.folder / manifest.sources) as temporary:
            pq.write_table(sources.cast(SOURCES), temporary, compression="zstd")
        self._swap(manifest)
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
        named = {info.name for info in manifest.segments}
        for path in (self.folder / SEGMENTS).glob("*"):
            if path.stem not in named:
                path.unlink()
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


class _Segments:
    """Rows on their way into the segments of a new generation."""

    def __init__(self, folder: Path, generation: int, dim: int) -> None:
        self.folder, self.generation, self.dim = folder / SEGMENTS, generation, dim
        self._infos: list[SegmentInfo] = []
        self._tables: list[pa.Table] = []
        self._vectors: list[np.ndarray] = []
        self._rows = 0
        self._written = 0

    def keep(self, info: SegmentInfo) -> None:
        """Take a segment over as it is; what came before it stays before it."""
        self._flush()
        self._infos.append(info)

    def add(self, table: pa.Table, vectors: np.ndarray) -> None:
        """Take in rows."""
        while len(table):
            count = min(len(table), SEGMENT_ROWS - self._rows)
            self._tables.append(table.slice(0, count))
            self._vectors.append(np.array(vectors[:count], np.dtype("<f2")))
            self._rows += count
            table, vectors = table.slice(count), vectors[count:]
            if self._rows == SEGMENT_ROWS:
                self._flush()

    def finished(self) -> tuple[SegmentInfo, ...]:
        """Return all segments, written."""
        self._flush()
        return tuple(self._infos)

    def _flush(self) -> None:
        if not self._rows:
            return
        info = SegmentInfo(name=f"{self.generation:06d}-{self._written:04d}", rows=self._rows)
        with replaced(self.folder / f"{info.name}.f16") as temporary, temporary.open("wb") as stream:
            for part in self._vectors:
                stream.write(part.tobytes())
        table = pa.concat_tables(self._tables).replace_schema_metadata(GEO)
        with replaced(self.folder / f"{info.name}.parquet") as temporary:
            pq.write_table(table, temporary, compression="zstd", row_group_size=_GROUP)
        self._infos.append(info)
        self._tables, self._vectors, self._rows = [], [], 0
        self._written += 1
