"""The exact store: float16 vectors in memory-mapped segments, beside the table of their tiles as GeoParquet."""

import threading
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from eotune.core.errors import InputError
from eotune.core.files import replaced
from eotune.search.exact import top_k
from eotune.search.filters import Filter
from eotune.search.store import COLUMNS, GEO, Manifest, SegmentInfo

SEGMENTS = "segments"
SEGMENT_ROWS = 131_072  # 128 MiB of 512 numbers
_GROUP = 256  # rows of a Parquet row group: what reading one row costs


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
        self._reading = threading.Lock()  # pyarrow's file is not for several threads at a time

    def column(self, name: str) -> Any:
        """Return a column as an Arrow array; it is kept, so that filters read it once."""
        if name not in self._columns:
            with self._reading:
                self._columns[name] = self._file.read([name])[name].combine_chunks()
        return self._columns[name]

    def tiles(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return some rows, in the order given; what filters have read is not read again."""
        held = dict(self._columns)
        names = [name for name in COLUMNS.names if name not in held]
        groups = {number: self._read(number, names) for number in {row // self._group for row in rows}}
        found = []
        for row in rows:  # pyarrow's take costs more than reading the group does
            (tile,) = groups[row // self._group].slice(row % self._group, 1).to_pylist()
            found.append({name: held[name][row].as_py() if name in held else tile[name] for name in COLUMNS.names})
        return found

    def groups(self) -> Iterator[pa.Table]:
        """Yield all rows, some at a time."""
        for group in range(self._file.num_row_groups):
            yield self._read(group, COLUMNS.names)

    def _read(self, group: int, names: list[str]) -> pa.Table:
        with self._reading:
            return self._file.read_row_group(group, names, use_threads=False)  # few rows: handing out costs more


class SegmentRows:
    """The rows of a generation, open; see :class:`~eotune.search.store.Rows`.

    Args:
        folder: Of the index.
        manifest: Of the generation.

    Attributes:
        segments: Its parts.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.segments = [Segment(folder, info, manifest.dim) for info in manifest.segments]
        self._last: tuple[Filter, list[np.ndarray | None]] | None = None

    def __len__(self) -> int:
        return sum(segment.rows for segment in self.segments)

    def nearest(
        self, query: np.ndarray, k: int, *, minimum: float, where: Filter | None
    ) -> list[tuple[dict[str, Any], float]]:
        """Return the k best rows, exactly, and their scores."""
        keep = None if where is None else self._passing(where)
        vectors = [segment.vectors for segment in self.segments]
        ((rows, scores),) = top_k(vectors, query[None], k, keep=keep, minimum=minimum)
        return list(zip(self.tiles(rows), scores.tolist(), strict=True))

    def _passing(self, where: Filter) -> list[np.ndarray | None]:
        """Return which rows of each segment pass; the last answer is kept: one box is asked several questions."""
        last = self._last
        if last is None or last[0] != where:
            last = self._last = where, [where.rows(segment) for segment in self.segments]
        return last[1]

    def tiles(self, rows: np.ndarray) -> list[dict[str, Any]]:
        """Return some rows, numbered through all segments, in the order given."""
        found: dict[int, dict[str, Any]] = {}
        first = 0
        for segment in self.segments:
            inside = rows[(rows >= first) & (rows < first + segment.rows)]
            found |= zip(inside.tolist(), segment.tiles((inside - first).tolist()), strict=True)
            first += segment.rows
        return [found[row] for row in rows.tolist()]

    def tile(self, tile: int) -> tuple[dict[str, Any], np.ndarray] | None:
        """Return a row by its id, and its vector."""
        for segment in self.segments:
            row = pc.index(segment.column("id"), tile).as_py()
            if row >= 0:
                return segment.tiles([row])[0], segment.vectors[row].astype(np.float32)
        return None

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Return whole columns."""
        tables = [pa.table({name: segment.column(name) for name in names}) for segment in self.segments]
        return pa.concat_tables(tables) if tables else COLUMNS.empty_table().select(names)


class SegmentWriter:
    """Changes the rows of an index; see :class:`~eotune.search.store.RowWriter`."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest

    def changed(self, drop: Set[str], added: Iterable[tuple[pa.Table, np.ndarray]]) -> dict[str, Any]:
        """Write the segments that change; those that lose nothing are taken over, unless they are small."""
        old = self.manifest
        new = _Segments(self.folder, old.generation + 1, old.dim)
        for info in old.segments:
            segment = Segment(self.folder, info, old.dim)
            stays = pc.invert(pc.is_in(segment.column("path").cast(pa.string()), pa.array(sorted(drop), pa.string())))
            if pc.all(stays).as_py() is not False and info.rows >= SEGMENT_ROWS // 2:
                new.keep(info)
            else:
                start = 0
                for rows in segment.groups():
                    chosen = stays.slice(start, len(rows))
                    vectors = segment.vectors[start : start + len(rows)]
                    new.add(rows.filter(chosen).cast(COLUMNS), vectors[chosen.to_numpy(zero_copy_only=False)])
                    start += len(rows)
        for table, vectors in added:
            new.add(table, vectors)
        segments = new.finished()
        return {"segments": segments, "rows": sum(info.rows for info in segments)}

    def remove_strays(self, manifest: Manifest) -> None:
        """Remove segments that the manifest does not name."""
        named = {info.name for info in manifest.segments}
        for path in (self.folder / SEGMENTS).glob("*"):
            if path.stem not in named:
                path.unlink()


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
            pq.write_table(table, temporary, compression="snappy", row_group_size=_GROUP)
        self._infos.append(info)
        self._tables, self._vectors, self._rows = [], [], 0
        self._written += 1
