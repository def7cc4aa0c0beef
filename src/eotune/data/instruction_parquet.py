"""Parquet files of records, one or a folder of them: read in batches, and written row group by row group."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eotune.core.errors import InputError

_BATCH = 1024  # rows turned into Python objects at a time


def parquet_files(path: Path) -> list[Path]:
    """Return the Parquet files that ``path`` means: itself, or those in the folder, by name.

    Raises:
        InputError: There is none.
    """
    if not path.is_dir():
        return [path]
    files = sorted(found for found in path.glob("*.parquet") if not found.name.startswith("."))
    if not files:
        raise InputError(f"{path}: no .parquet file in it", remedy="name a file, or a folder of Parquet files")
    return files


def parquet_rows(path: Path, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of all files in order, with those of ``keys`` that they have; a null is a key that is absent.

    Raises:
        InputError: A file is no Parquet, is cut off, or is damaged.
    """
    for file in parquet_files(path):
        with _opened(file) as parquet:
            columns = [name for name in parquet.schema_arrow.names if name in keys]
            for group in range(parquet.num_row_groups):
                with _named(file, group):
                    for batch in parquet.iter_batches(_BATCH, row_groups=[group], columns=columns):
                        yield from _rows(batch)


def count_rows(path: Path) -> int:
    """Return the number of rows of all files; raises as :func:`parquet_rows`."""
    total = 0
    for file in parquet_files(path):
        with _opened(file) as parquet:
            total += parquet.metadata.num_rows
    return total


def column_names(file: Path) -> list[str]:
    """Return the names of a file's columns; raises as :func:`parquet_rows`."""
    with _opened(file) as parquet:
        return list(parquet.schema_arrow.names)


def copy_rows(
    file: Path, out: Path, keep: Callable[[Mapping[str, Any]], Mapping[str, Any] | None], keys: Sequence[str]
) -> None:
    """Write the rows that are kept, with the schema, the metadata and the compression of the file.

    Args:
        file: What to read; never changed.
        out: What to write.
        keep: Called for each row in order, with those of ``keys`` that it has; returns None to leave the row out, else
            the columns that are to have another value, if any.
        keys: Of what ``keep`` looks at.

    Raises:
        InputError: The file is no Parquet, is cut off, or is damaged.
    """
    import pyarrow.parquet as pq

    with _opened(file) as parquet:
        schema = parquet.schema_arrow
        with _named(file, None):
            layout = _layout(parquet.metadata)
        with pq.ParquetWriter(out, schema, **layout) as writer:
            for group in range(parquet.num_row_groups):
                with _named(file, group):
                    table = _kept(parquet.read_row_group(group), keep, keys)
                if len(table):
                    writer.write_table(table, row_group_size=len(table))


def _kept(table: Any, keep: Callable[[Mapping[str, Any]], Mapping[str, Any] | None], keys: Sequence[str]) -> Any:
    import pyarrow as pa

    looked_at = table.select([name for name in table.schema.names if name in keys])
    changes = [keep(row) for row in _rows(looked_at)]
    table = table.filter(pa.array([change is not None for change in changes], pa.bool_()))
    changes = [change for change in changes if change is not None]
    for name in {name for change in changes if change for name in change}:
        old = table.column(name).to_pylist()
        values = [change.get(name, value) for change, value in zip(changes, old, strict=True) if change is not None]
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))
    return table


def _rows(batch: Any) -> Iterator[dict[str, Any]]:
    """Yield rows as dictionaries without their nulls; empty ones where there is no column."""
    for row in batch.to_pylist() if batch.num_columns else ({} for _ in range(batch.num_rows)):
        yield {key: value for key, value in row.items() if value is not None}


def _layout(metadata: Any) -> dict[str, Any]:
    """Return what a writer is told to compress columns, and to name the items of lists, as a file does."""
    if not metadata.num_row_groups:
        return {}
    group = metadata.row_group(0)
    columns = (group.column(at) for at in range(group.num_columns))
    codecs = {column.path_in_schema: column.compression for column in columns}
    return {
        "compression": {path: "NONE" if codec == "UNCOMPRESSED" else codec for path, codec in codecs.items()},
        "use_compliant_nested_type": not any(".list.item" in path for path in codecs),
    }


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    import pyarrow.parquet as pq

    with _named(file, None):
        parquet = pq.ParquetFile(file)
    with parquet:
        yield parquet


@contextmanager
def _named(file: Path, group: int | None) -> Iterator[None]:
    """Say which file, and which of its row groups, cannot be read."""
    import pyarrow as pa

    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{file}: no such file", remedy="check the path") from None
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        where = "" if group is None else f" (row group {group})"
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{file}: cannot be read as Parquet{where}: {reason}", remedy="check that the file is complete"
        ) from None
