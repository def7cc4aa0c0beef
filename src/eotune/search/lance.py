"""The LanceDB store: for an archive that outgrows memory, or whose index lies in an object store.

Where a filter leaves up to :data:`SCANNED` rows, a query reads their vectors and multiplies them all. Beyond, a vector
index (IVF, 8 bits a number) proposes and the stored vectors decide. A generation of the index is a version of the
table.
"""

from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from eotune.core.lookup import require
from eotune.search.exact import top_k
from eotune.search.filters import Filter
from eotune.search.store import COLUMNS, Manifest, TableInfo

INDEXED_FROM = 131_072  # rows of a table that gets a vector index; and again when it has doubled since
SCANNED = 16_384  # rows that are rather read than asked for: the fewer a filter leaves, the more an index misses
KEPT = timedelta(days=1)  # what a reader that opened an older version has before it may be removed

_PARTITION = 4096  # rows, on average: more, and a probe reads much; fewer, and finding the nearest ones costs as much
_PROBES = 20
_REFINE = 4  # times as many rows as are wanted are multiplied as they are stored
_GROWTH = 4  # times as many rows are asked for where the outlines of too few meet a box
_PATHS = 500  # in one condition
_JOINED = 32_768  # rows that are multiplied at a time
_NEEDED = ["path", "west", "south", "east", "north", "time", "geometry"]  # by filters


class LanceRows:
    """The rows of a generation; see :class:`~eotune.search.store.Rows`.

    Args:
        folder: Of the index.
        manifest: Of the generation.

    Raises:
        OSError: The table is not there, or not this version of it.
        MissingExtraError: LanceDB is not installed.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._info, self._rows = _info(manifest), manifest.rows
        with _as_os_error():
            self._table = _database(folder, self._info).open_table(self._info.name)
            self._table.checkout(self._info.version)

    def __len__(self) -> int:
        return self._rows

    def nearest(
        self, query: np.ndarray, k: int, *, minimum: float, where: Filter | None
    ) -> list[tuple[dict[str, Any], float]]:
        """Return the k best rows, exactly where they are few or there is no vector index, and their scores."""
        condition = None if where is None else _condition(where)
        with _as_os_error():
            passing = self._table.count_rows(condition) if condition and self._info.indexed else self._rows
            if not self._info.indexed or passing <= SCANNED:
                found = self._scanned(query, k, minimum, where, condition)
            else:
                # So that the cells that are looked through hold as many rows that pass as without a filter.
                probes = round(_PROBES * self._rows / passing)
                found = self._proposed(query, k, where, condition, probes)
        vectors = found["vector"].combine_chunks()
        ((rows, scores),) = top_k([_vectors(vectors)], query[None], k, minimum=minimum)
        answers = found.drop_columns("vector").take(rows).to_pylist()
        return list(zip(answers, scores.tolist(), strict=True))

    def tile(self, tile: int) -> tuple[dict[str, Any], np.ndarray] | None:
        """Return a row by its id, and its vector."""
        with _as_os_error():
            found = self._table.search().where(f"id = {int(tile)}").limit(1).to_arrow()
        if not len(found):
            return None
        vector = _vectors(found["vector"].combine_chunks())[0].astype(np.float32)
        return found.drop_columns("vector").to_pylist()[0], vector

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Return whole columns."""
        with _as_os_error():
            return self._table.search().select(list(names)).limit(max(1, self._rows)).to_arrow()

    def _scanned(
        self, query: np.ndarray, k: int, minimum: float, where: Filter | None, condition: str | None
    ) -> pa.Table:
        """Return the best of all rows that pass, in the order of their ids."""
        search = self._table.search().where(condition) if condition else self._table.search()
        names = ["id", *(_NEEDED if where else ()), "vector"]
        ids, scores = np.zeros(0, np.int64), np.zeros(0, np.float32)
        for batch in _joined(search.select(names).limit(max(1, self._rows)).to_batches()):
            keep = None if where is None else where.rows(_Batch(batch))
            ((rows, found),) = top_k([_vectors(batch["vector"])], query[None], k, keep=[keep], minimum=minimum)
            ids = np.concatenate([ids, batch["id"].to_numpy()[rows]])
            scores = np.concatenate([scores, found])
            best = np.lexsort((ids, -scores))[:k]
            ids, scores = ids[best], scores[best]
        if not len(ids):
            return self._table.search().where("false").limit(1).to_arrow()
        wanted = ",".join(map(str, ids.tolist()))
        return self._table.search().where(f"id IN ({wanted})").limit(k).to_arrow().sort_by("id")

    def _proposed(
        self, query: np.ndarray, k: int, where: Filter | None, condition: str | None, probes: int
    ) -> pa.Table:
        """Return what the vector index proposes and passes, in the order of the ids."""
        wanted = 2 * k  # its products are rounded: the k best by them are not always the k best
        while True:
            search = self._table.search(query, vector_column_name="vector").distance_type("dot")
            search = search.where(condition) if condition else search
            found = search.nprobes(probes).refine_factor(_REFINE).limit(wanted).to_arrow()
            complete = len(found) < wanted
            keep = None
            if where is not None:
                keep = where.rows(_Batch(_one(found.to_batches()))) if len(found) else None
            passed = found if keep is None else found.filter(pa.array(keep))
            if complete or len(passed) >= k:
                return passed.drop_columns("_distance").sort_by("id")
            wanted *= _GROWTH


class LanceWriter:
    """Changes the rows of an index; see :class:`~eotune.search.store.RowWriter`."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest

    def changed(self, drop: Set[str], added: Iterable[tuple[pa.Table, np.ndarray]]) -> dict[str, Any]:
        """Add versions to the table; the last of them is the new generation."""
        info, schema = _info(self.manifest), _schema(self.manifest.dim)
        with _as_os_error():
            database = _database(self.folder, info)
            if info.version == 0:
                table = database.create_table(info.name, schema=schema, mode="overwrite")
            else:
                table = database.open_table(info.name)
                if table.version != info.version:  # a commit was interrupted
                    table.checkout(info.version)
                    table.restore()
                # Only now, before the version that readers have open is succeeded by another.
                table.optimize(cleanup_older_than=KEPT)
            paths = sorted(drop)
            for start in range(0, len(paths), _PATHS):
                table.delete(f"path IN ({','.join(map(_quoted, paths[start : start + _PATHS]))})")
            batches = (batch for piece in added for batch in _stored(*piece, schema))
            table.add(pa.RecordBatchReader.from_batches(schema, batches))
            rows = table.count_rows()
            indexed = info.indexed
            if rows >= max(INDEXED_FROM, 2 * indexed):
                _train(table, rows)
                indexed = rows
            else:
                table.optimize(cleanup_older_than=timedelta(days=36_500))  # joins fragments, extends the vector index
            return {"table": info.model_copy(update={"version": table.version, "indexed": indexed}), "rows": rows}

    def remove_strays(self, manifest: Manifest) -> None:
        """Do nothing: versions are removed when they are old, before the next ones are made."""


def _joined(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield larger ones, as LanceDB's have 1,024 rows and each costs what waking threads does."""
    few: list[pa.RecordBatch] = []
    for batch in batches:
        few.append(batch)
        if sum(map(len, few)) >= _JOINED:
            yield _one(few)
            few = []
    if few:
        yield _one(few)


def _one(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]


class _Batch:
    """Some rows, as filters ask for them."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch

    def column(self, name: str) -> Any:
        found = self.batch[name]
        return found.dictionary_encode() if name == "path" else found


def _train(table: Any, rows: int) -> None:
    from lancedb.index import IvfSq

    # Normed vectors: the dot product is the cosine. SQ beside PQ: its steps are even, and it needs no codebooks.
    config = IvfSq(distance_type="dot", num_partitions=max(1, rows // _PARTITION), max_iterations=20)
    table.create_index("vector", config=config)


def _database(folder: Path, info: TableInfo) -> Any:
    return require("lancedb", "lance").connect(info.url or str(folder / "lance"))


def _info(manifest: Manifest) -> TableInfo:
    if manifest.table is None:
        raise ValueError("the manifest names no table")
    return manifest.table


def _schema(dim: int) -> pa.Schema:
    return COLUMNS.append(pa.field("vector", pa.list_(pa.float16(), dim)))


def _stored(table: pa.Table, vectors: np.ndarray, schema: pa.Schema) -> list[pa.RecordBatch]:
    flat = pa.array(np.ascontiguousarray(vectors, np.float16).reshape(-1))
    column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    return table.append_column(schema.field("vector"), column).to_batches()


def _vectors(column: pa.FixedSizeListArray) -> np.ndarray:
    """Return float16 ``(n, dim)``, copied, since torch warns of what cannot be written."""
    return np.array(column.flatten()).reshape(len(column), column.type.list_size)


def _condition(where: Filter) -> str | None:
    """Return SQL that every tile passes that the filter lets through, and few others."""
    parts = []
    if where.since is not None:
        parts.append(f"time >= to_timestamp_micros({where.since})")
    if where.until is not None:
        parts.append(f"time < to_timestamp_micros({where.until})")
    if where.path is not None:
        parts.append(f"path LIKE {_quoted(_like(where.path))} ESCAPE '\\'")
    if where.bbox is not None:
        left, bottom, right, top = where.bbox
        spans = [(left, right)] if left <= right else [(left, 180.0), (-180.0, right)]
        across = " OR ".join(f"(west <= {end!r} AND east >= {start!r})" for start, end in spans)
        parts.append(f"({across}) AND south <= {top!r} AND north >= {bottom!r}")
    return " AND ".join(parts) or None


def _like(pattern: str) -> str:
    r"""Return a pattern of ``LIKE`` that fits whatever one of :mod:`fnmatch` fits; a set ``[...]`` is any character.

    Example:
        >>> _like("2024/a_[0-9]*.tif")
        '2024/a\\__%.tif'
    """
    found, place = "", 0
    while place < len(pattern):
        one = pattern[place]
        end = pattern.find("]", place + (3 if pattern[place + 1 : place + 2] == "!" else 2)) if one == "[" else -1
        if end > 0:
            found, place = found + "_", end
        else:
            found += {"*": "%", "?": "_"}.get(one, "\\" + one if one in "%_\\" else one)
        place += 1
    return found


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Turn what LanceDB raises when it cannot read or write into what files raise."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        words = " ".join(str(error).split())[:300]
        raise OSError(f"LanceDB: {words}") from error
