"""A stage: a folder of shards made from a stream of rows, or from another stage's shards by workers."""

import contextlib
import shutil
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from eotune.core.errors import EotuneError, InputError, InterruptedRunError, shown
from eotune.core.files import held, new_directory, read_json, write_json
from eotune.core.progress import progress
from eotune.engines.base import Engine, WorkerClass
from eotune.engines.pieces import Pieces
from eotune.engines.shards import (
    MANIFEST,
    ShardInfo,
    fingerprint,
    read_shard,
    shard_info,
    shard_path,
    shard_paths,
    write_shard,
)


@dataclass(frozen=True)
class Stage:
    """What a stage is.

    Attributes:
        name: What messages and the progress bar call it.
        out: Its folder.
        settings: All that its rows depend on besides its source, for JSON. What only decides how fast it goes (batch
            size, device, workers) stays out: a stage can be resumed with other values of those.
    """

    name: str
    out: Path
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StageResult:
    """What became of a stage.

    Attributes:
        out: Its folder.
        shards: How many it has.
        kept: How many of them were there already.
        rows: How many rows, those that failed among them.
        failed: How many rows failed; ``shards.row_failures`` has them.
    """

    out: Path
    shards: int
    kept: int
    rows: int
    failed: int


def write_rows(
    tables: Iterable[pa.Table], stage: Stage, *, rows_per_shard: int = 4096, redo: bool = False
) -> StageResult:
    """Cut a stream of tables with an ``id`` column into shards: the first stage.

    A stage that is finished is not read again; one that was interrupted is, and only the shards that are missing are
    written.

    Args:
        tables: The rows; the same ones each time, so ``stage.settings`` should tell the source by a checksum.
        stage: Where they go.
        rows_per_shard: What one call of a worker will be given, and what an interruption costs at most.
        redo: Throw away what was made with other settings.

    Raises:
        InputError: Settings differ and ``redo`` is off, or the folder holds something else.
        InterruptedRunError: Ctrl-C.
        OSError: The disk is full.
    """
    if rows_per_shard < 1:
        raise InputError(f"rows_per_shard={rows_per_shard}: not a number of rows", remedy="give 1 or more")
    settings = {**stage.settings, "rows_per_shard": rows_per_shard}
    with _opened(stage, settings, redo=redo), _resumable(stage):
        count = read_json(stage.out / MANIFEST).get("shards")
        if count is not None and all(shard_info(shard_path(stage.out, index)) for index in range(count)):
            return _result(stage, kept=count)
        mark, kept, count = fingerprint(settings), 0, 0
        for table in progress(_regrouped(tables, rows_per_shard), description=stage.name):
            kept += not write_shard(shard_path(stage.out, count), table, fingerprint=mark)
            count += 1
        _write_manifest(stage, settings, shards=count)
        return _result(stage, kept=kept)


def map_shards(
    engine: Engine,
    worker: WorkerClass,
    config: Any,
    source: Path,
    stage: Stage,
    *,
    redo: bool = False,
    retry_failed: bool = False,
) -> StageResult:
    """Have workers compute a stage's shards from those of a finished stage, row for row.

    Shards that are there, made with these settings from the source as it is, are not computed again, whatever ended
    an earlier process. Rows that failed in the source are left out; those that fail here get an ``error`` and the
    rest is finished.

    Args:
        engine: Where workers run, by ``by_name.engine``.
        worker: A class that is given ``config`` and then tables, as :class:`~eotune.engines.base.Worker` says. More
            than one process, or Ray, needs one that can be imported.
        config: What the worker takes; it can be pickled.
        source: Folder of the stage that is read.
        stage: Where the rows go.
        redo: Throw away what was made with other settings.
        retry_failed: Compute again the shards that have failed rows.

    Raises:
        InputError: The source is not finished; settings differ and ``redo`` is off; the folder holds something else.
        EotuneError: No worker can be started, or row after row fails.
        InterruptedRunError: Ctrl-C.
        OSError: The disk is full, here or at a worker's.

    Example:
        >>> import tempfile
        >>> import pyarrow.compute as pc
        >>> from eotune.engines.by_name import engine
        >>> class Lengths:
        ...     def __init__(self, column): self.column = column
        ...     def __call__(self, table):
        ...         return table.select(["id"]).append_column("length", pc.utf8_length(table[self.column]))
        >>> folder = Path(tempfile.mkdtemp())
        >>> samples = pa.table({"id": ["a", "b"], "text": ["one", "three"]})
        >>> _ = write_rows([samples], Stage("samples", folder / "samples"))
        >>> stage = Stage("lengths", folder / "lengths", {"column": "text"})
        >>> result = map_shards(engine("local"), Lengths, "text", folder / "samples", stage)
        >>> result.rows, result.failed
        (2, 0)
    """
    paths = shard_paths(source)
    sources = [_info(path).digest for path in paths]
    with _opened(stage, stage.settings, redo=redo), _resumable(stage):
        mark = fingerprint(stage.settings)

        def is_done(index: int) -> bool:
            info = shard_info(shard_path(stage.out, index))
            if info is None or (retry_failed and info.failed):
                return False
            return (info.fingerprint, info.source) == (mark, sources[index])

        done = {index for index in range(len(paths)) if is_done(index)}
        for path in {*stage.out.glob("shard-*.parquet")} - {shard_path(stage.out, index) for index in done}:
            path.unlink()  # what is there from now on is right, so that nobody reads a stage that is half old
        _write_manifest(stage, stage.settings, shards=len(paths))
        missing = [index for index in range(len(paths)) if index not in done]
        if missing:
            pieces = Pieces(missing, lambda index: read_shard(paths[index]))
            with contextlib.closing(_computed(engine, worker, config, pieces, len(missing))) as shards:
                for index, table in progress(shards, total=len(missing), description=stage.name):
                    write_shard(shard_path(stage.out, index), table, fingerprint=mark, source=sources[index])
        return _result(stage, kept=len(done))


def usable(stage: Stage, made: Path, source: Path) -> float:
    """Return the share of another folder's shards that a stage can take over, 0 to 1.

    Args:
        stage: What it must be; 0 where its folder is begun.
        made: The other's folder; it may be missing.
        source: Folder of the finished stage that this one is made from.
    """
    if not _is_made(stage, made):
        return 0.0
    pairs = [(shard_info(shard_path(made, index)), _info(path)) for index, path in enumerate(shard_paths(source))]
    matching = sum(info is not None and info.source == rows.digest for info, rows in pairs)
    return matching / max(len([*made.glob("shard-*.parquet")]), 1)


def take_over(stage: Stage, made: Path) -> bool:
    """Copy a stage that another folder holds with the same settings, where this one is not begun; whether it was.

    `map_shards` then computes only what was made from other rows.

    Args:
        stage: Where it goes, and what it must be.
        made: The other's folder; it may be missing.
    """
    if not _is_made(stage, made):
        return False
    with new_directory(stage.out) as temporary:
        shutil.copytree(made, temporary, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))
    return True


def _is_made(stage: Stage, made: Path) -> bool:
    """Return whether another folder holds a stage, by its name and settings, that is not begun in its own."""
    manifest = made / MANIFEST
    return (
        not stage.out.exists() and manifest.is_file() and not _changes(read_json(manifest), stage.name, stage.settings)
    )


def _computed(
    engine: Engine, worker: WorkerClass, config: Any, pieces: Pieces, shards: int
) -> Generator[tuple[int, pa.Table], None, None]:
    with engine.pool(worker, config, at_most=shards) as pool:
        waiting, finished = 0, list[tuple[int, pa.Table]]()
        while True:
            while waiting < pool.capacity and (piece := pieces.next()) is not None:
                pool.submit(piece)
                waiting += 1
            yield from finished  # after the workers have got the next: they compute while these are written
            if not waiting:
                return
            answer = pool.wait()
            waiting -= 1
            finished = list(pieces.answered(*answer))


def _regrouped(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Yield tables of ``rows`` rows, the last one shorter."""
    held_back: list[pa.Table] = []
    count = 0
    for table in tables:
        if "id" not in table.column_names:
            raise InputError(f"rows without an id (columns {', '.join(table.column_names)})", remedy="name it 'id'")
        held_back.append(table)
        count += len(table)
        if count >= rows:
            joined = pa.concat_tables(held_back, promote_options="default")
            whole = count // rows * rows
            yield from (joined.slice(begin, rows) for begin in range(0, whole, rows))
            held_back, count = [joined.slice(whole)], count - whole
    if count:
        yield pa.concat_tables(held_back, promote_options="default")


@contextlib.contextmanager
def _opened(stage: Stage, settings: Mapping[str, Any], *, redo: bool) -> Iterator[None]:
    """Hold the stage's folder, with a manifest of these settings in it and nothing that a crash left behind."""
    out, manifest = stage.out, stage.out / MANIFEST
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file", remedy="choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    if not manifest.is_file() and any(not path.name.startswith(".") for path in out.iterdir()):
        raise InputError(f"{out}: is not empty and holds no stage", remedy="choose another folder")
    with held(out):
        for torn in (*out.glob(".shard-*.parquet"), *out.glob(f".{manifest.stem}.*")):
            torn.unlink()
        before = read_json(manifest) if manifest.is_file() else None
        if before is not None and (changed := _changes(before, stage.name, settings)):
            if not redo:
                raise InputError(
                    f"{out}: stage {stage.name!r} was begun with other settings ({changed})",
                    remedy="go back to those, redo this stage, or choose another folder",
                )
            for path in out.glob("shard-*.parquet"):
                path.unlink()
            before = None  # only now: an interruption above leaves the old settings, and the refusal
        if before is None:
            _write_manifest(stage, settings, shards=None)
        yield


@contextlib.contextmanager
def _resumable(stage: Stage) -> Iterator[None]:
    """Name the stage where it ends early."""
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"{stage.name}: interrupted; its finished shards are kept in {stage.out}, go on with --resume"
        ) from None
    except InputError as error:
        raise InputError(f"{stage.name}: {error}") from None
    except EotuneError as error:
        raise EotuneError(f"{stage.name}: {error}; its finished shards are kept, go on with --resume") from error


def _changes(before: Any, name: str, settings: Mapping[str, Any]) -> str:
    """Return what differs from an earlier manifest, or an empty string."""
    before = before if isinstance(before, dict) else {}
    old, new = {"stage": before.get("name"), **before.get("settings", {})}, {"stage": name, **settings}
    return ", ".join(
        f"{key}: {shown(old.get(key))}, now {shown(new.get(key))}"
        for key in sorted({*old, *new})
        if fingerprint({"": old.get(key)}) != fingerprint({"": new.get(key)})
    )


def _write_manifest(stage: Stage, settings: Mapping[str, Any], *, shards: int | None) -> None:
    value = {"name": stage.name, "settings": dict(settings), "shards": shards}
    path = stage.out / MANIFEST
    if not path.is_file() or read_json(path) != value:
        write_json(path, value)


def _info(path: Path) -> ShardInfo:
    info = shard_info(path)
    if info is None:
        raise InputError(f"{path}: is not a shard, or is damaged", remedy="remove it and go on with --resume")
    return info


def _result(stage: Stage, *, kept: int) -> StageResult:
    infos = [_info(path) for path in shard_paths(stage.out)]
    return StageResult(
        out=stage.out,
        shards=len(infos),
        kept=kept,
        rows=sum(info.rows for info in infos),
        failed=sum(info.failed for info in infos),
    )
