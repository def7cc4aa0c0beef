"""A folder of Parquet shards, keyed by id: each is whole or not there, and knows what it was made from."""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from eotune.core.errors import InputError, shown
from eotune.core.files import read_json, replaced

MANIFEST = "stage.json"
FORMAT = 1
_KEY = b"eotune"


@dataclass(frozen=True)
class ShardInfo:
    """What a shard's footer says of it.

    Attributes:
        rows: How many rows it has, those that failed among them.
        failed: How many rows have an ``error``.
        fingerprint: Of the settings that it was made with.
        source: Digest of the shard that it was made from; empty for the first stage.
        digest: SHA-256 of its columns, as they are stored.
    """

    rows: int
    failed: int
    fingerprint: str
    source: str
    digest: str


@dataclass(frozen=True)
class RowFailure:
    """A row that a stage could not compute, and why."""

    id: Any
    error: str


def fingerprint(settings: Mapping[str, Any]) -> str:
    """Return a name for ``settings`` that changes with any of them, and not with their order.

    Example:
        >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1})
        True
    """
    text = json.dumps({"format": FORMAT, "settings": settings}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def shard_path(folder: Path, index: int) -> Path:
    """Return the path of shard ``index``."""
    return folder / f"shard-{index:05d}.parquet"


def shard_paths(folder: Path) -> list[Path]:
    """Return the shards of a finished stage, in order.

    Raises:
        InputError: The folder holds no stage, or one that was not brought to its end.
    """
    if not (folder / MANIFEST).is_file():
        raise InputError(f"{folder}: holds no stage (no {MANIFEST})", remedy="check the path")
    manifest = read_json(folder / MANIFEST)
    count = manifest.get("shards") if isinstance(manifest, dict) else None
    paths = [shard_path(folder, index) for index in range(count)] if isinstance(count, int) else []
    if count is None or not all(path.is_file() for path in paths):
        raise InputError(f"{folder}: this stage is not finished", remedy="go on with it by --resume")
    return paths


def write_shard(path: Path, table: pa.Table, *, fingerprint: str, source: str = "") -> bool:
    """Write a shard, whole or not at all, unless the same one is there; equal tables give equal bytes.

    Args:
        path: Where, by :func:`shard_path`.
        table: Its rows, with an ``id`` column; those whose ``error`` is not null count as failed.
        fingerprint: Of the settings, by :func:`fingerprint`.
        source: Digest of the shard that this one was made from.

    Returns:
        Whether it was written.

    Raises:
        OSError: The disk is full; what was there before is left then.
    """
    table = table.combine_chunks().replace_schema_metadata()
    failed = len(table) - table["error"].null_count if "error" in table.column_names else 0
    stream = io.BytesIO()
    # Embeddings do not repeat, so that a dictionary would only cost time; text is left to the compression.
    with pq.ParquetWriter(stream, table.schema, compression="zstd", use_dictionary=False) as writer:
        writer.write_table(table)  # every page is in the stream after this, and the footer is not
        digest = hashlib.sha256(str(table.schema).encode())
        digest.update(stream.getbuffer())
        info = ShardInfo(len(table), failed, fingerprint, source, digest.hexdigest())
        writer.add_key_value_metadata({_KEY.decode(): json.dumps(asdict(info), sort_keys=True)})
    if shard_info(path) == info:
        return False
    with replaced(path) as temporary:
        temporary.write_bytes(stream.getbuffer())
    return True


def shard_info(path: Path) -> ShardInfo | None:
    """Return what a shard's footer says, or None where there is no shard that can be read."""
    try:
        stored = pq.read_metadata(path).metadata or {}
        return ShardInfo(**json.loads(stored[_KEY]))
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None


def read_shard(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the rows of a shard that did not fail, in order.

    Args:
        path: The shard.
        columns: Which columns, in this order; all but ``error`` unless given.

    Raises:
        InputError: It cannot be read, or has no such column.
    """
    try:
        with pq.ParquetFile(path) as file:
            known = file.schema_arrow.names
            wanted = [name for name in known if name != "error"] if columns is None else list(columns)
            info = shard_info(path)
            if info is not None and info.failed == info.rows:  # such a shard may have no column but ids
                return file.schema_arrow.empty_table().select([name for name in wanted if name in known])
            if missing := [name for name in wanted if name not in known]:
                raise InputError(f"{path}: no column {shown(missing[0])}", remedy=f"it has {', '.join(known)}")
            table = file.read(list({*wanted, "error"} & {*known}))
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read ({error})", remedy="remove it and go on with --resume") from None
    if "error" in table.column_names:
        table = table.filter(pc.is_null(table["error"]))
    return table.select(wanted)


def read_columns(folder: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the rows of a finished stage that did not fail, a shard at a time, in order.

    Args:
        folder: The stage's folder.
        columns: Which columns, in this order.

    Raises:
        InputError: The stage is not finished, or has no such column.
    """
    for path in shard_paths(folder):
        table = read_shard(path, columns)
        if len(table):
            yield table


def row_failures(folder: Path) -> Iterator[RowFailure]:
    """Yield the rows of a finished stage that failed, in order.

    Raises:
        InputError: The stage is not finished.
    """
    for path in shard_paths(folder):
        info = shard_info(path)
        if info is None or info.failed:
            table = pq.read_table(path, columns=["id", "error"])
            failed = table.filter(pc.is_valid(table["error"]))
            yield from (RowFailure(row["id"], row["error"]) for row in failed.to_pylist())
