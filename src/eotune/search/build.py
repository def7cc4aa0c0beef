"""From an archive to its index: what is new or changed is embedded, what is gone is dropped, in one step at the end."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from eotune.core.errors import InputError, shown
from eotune.data.find_images import find_images
from eotune.engines.base import Engine
from eotune.engines.shards import fingerprint, read_columns, row_failures
from eotune.engines.stages import Stage, map_shards, write_rows
from eotune.search.filters import bounds
from eotune.search.stac import StacImage, stac_images
from eotune.search.store import COLUMNS, SOURCES, WORK, Manifest, Snapshot, Writer
from eotune.search.tiles import find_tiles
from eotune.search.workers import EmbedConfig, EmbedTiles

_LISTED = 1000  # failures in the summary
_ROWS = 4096  # tiles that are handed on at a time
_TILE = pa.schema([("id", pa.string()), *(field for field in COLUMNS if field.name != "id"), ("error", pa.string())])


@dataclass(frozen=True)
class Speed:
    """What decides how fast a build goes, and nothing of its result but the last bits.

    Attributes:
        precision: ``fp32``, ``bf16`` or ``fp16``.
        batch_size: Tiles at once.
        shard_size: Tiles that a worker is given at a time, and that an interruption costs at most.
    """

    precision: str = "fp32"
    batch_size: int = 32
    shard_size: int = 1024


@dataclass(frozen=True)
class _Change:
    """What an archive holds now, against what an index has of it.

    Attributes:
        files: Every image's path in the archive, to its size and time of change.
        items: Of those that a STAC file names, what it says of them.
        new: Those that are not in the index as they are, in order.
        drop: Those whose tiles have to go: changed, or gone.
        kept: Numbers of tiles of the others.
    """

    files: dict[str, tuple[int, int]]
    items: dict[str, StacImage]
    new: list[str]
    drop: set[str]
    kept: dict[str, int]


def update_index(writer: Writer, folder: Path, engine: Engine, speed: Speed, *, resume: bool) -> dict[str, Any]:
    """Bring an index up to date with its archive.

    Args:
        writer: Of an index that was begun.
        folder: The archive's.
        engine: Where tiles are embedded.
        speed: How.
        resume: Go on with what was interrupted; nothing is lost of it, unless the archive has changed since.

    Returns:
        The summary: numbers of images and tiles, failures, seconds.

    Raises:
        InputError: There is no image, or something was interrupted and ``resume`` is off.
        InterruptedRunError: Ctrl-C.
        OSError: The disk is full; the index is as it was.
    """
    start = time.perf_counter()
    manifest = writer.manifest
    if manifest is None:
        raise ValueError("begin comes before update_index")
    work = writer.folder / WORK
    change = _changes(writer.folder, manifest, folder)
    if work.is_dir() and not resume and change.new:
        raise InputError(f"{writer.folder}: indexing was interrupted here", remedy="go on with --resume")
    if manifest.folder != str(folder):
        writer.move(str(folder))
    tiles, vectors = work / "tiles", work / "vectors"
    marks = [[path, *change.files[path]] for path in change.new]
    settings = {"files": fingerprint({"files": marks}), "tiles": manifest.tiles.model_dump(mode="json")}
    # What the archive has become since an interruption replaces what it was; vectors of unchanged shards stay.
    write_rows(
        _tables(folder, change, manifest),
        Stage("tiles", tiles, settings),
        rows_per_shard=speed.shard_size,
        redo=True,
    )
    config = EmbedConfig(
        str(folder), manifest.encoder, manifest.image_size, manifest.tiles, speed.precision, speed.batch_size
    )
    stage = Stage("vectors", vectors, {"encoder": manifest.fingerprint, "precision": speed.precision})
    map_shards(engine, EmbedTiles, config, tiles, stage, redo=True, retry_failed=resume)
    failures = [(one.id, one.error) for part in (tiles, vectors) for one in row_failures(part)]
    embedded, skipped = _counts(vectors)
    if change.new or change.drop or manifest.generation == 0:
        broken = {name.partition("@")[0] for name, _ in failures}
        counts = change.kept | {path: embedded.get(path, 0) for path in change.new if path not in broken}
        writer.commit(change.drop | set(change.new), _added(vectors), _sources(change.files, counts))
    writer.clear_work()
    return {
        "index": str(writer.folder),
        "images": len(change.files),
        "tiles": writer.manifest.rows if writer.manifest else 0,
        "added": sum(embedded.values()),
        "skipped": skipped,
        "dropped_images": len(change.drop),
        "failed": len(failures),
        "failures": [{"id": name, "error": error} for name, error in failures[:_LISTED]],
        "seconds": round(time.perf_counter() - start, 3),
    }


def _changes(index: Path, manifest: Manifest, folder: Path) -> _Change:
    items = _items(folder, manifest)
    paths = [path.relative_to(folder).as_posix() for path in find_images([folder])] if items is None else [*items]
    files = {}
    for path in paths:
        try:
            state = (folder / path).stat()
        except FileNotFoundError:
            if not (folder / path).is_symlink():  # removed since it was listed
                continue
            state = (folder / path).lstat()  # leads nowhere, which reading it will say
        # An image whose item says something else has changed too.
        files[path] = (state.st_size, state.st_mtime_ns + (0 if items is None else items[path].mark()))
    before: dict[str, tuple[tuple[int, int], int]] = {}
    if manifest.generation:
        for row in Snapshot(index).sources().to_pylist():
            before[row["path"]] = ((row["size"], row["modified"]), row["tiles"])
    same = {path: tiles for path, (state, tiles) in before.items() if files.get(path) == state}
    return _Change(files, items or {}, [path for path in files if path not in same], {*before} - {*same}, same)


def _items(folder: Path, manifest: Manifest) -> dict[str, StacImage] | None:
    """Return what a STAC file names, by path: from the folder where it lies in there, absolute elsewhere."""
    if manifest.stac is None:
        return None
    images = stac_images(folder / manifest.stac.file, manifest.stac.asset)
    return {
        (one.path.relative_to(folder) if one.path.is_relative_to(folder) else one.path).as_posix(): one
        for one in images
    }


def _tables(folder: Path, change: _Change, manifest: Manifest) -> Iterator[pa.Table]:
    """Yield the tiles of images; one that cannot be opened is a row with the reason."""
    rows = (row for path in change.new for row in _rows(folder, path, manifest, change.items.get(path)))
    while chunk := list(islice(rows, _ROWS)):
        yield pa.Table.from_pylist(chunk, schema=_TILE)


def _rows(folder: Path, path: str, manifest: Manifest, item: StacImage | None) -> Iterator[dict[str, Any]]:
    import shapely

    if os.fsencode(path).decode("utf-8", "replace") != path:
        yield {"id": shown(path), "error": "its name is not UTF-8"}
        return
    try:
        for tile in find_tiles(folder / path, manifest.tiles):
            column, row, width, height = tile.window
            area = item.footprint if tile.footprint is None and item else tile.footprint
            time = item.time if tile.time is None and item else tile.time
            west, south, east, north = bounds(area)
            yield {
                "id": f"{path}@{column},{row}", "path": path, "column": column, "row": row, "width": width,
                "height": height, "west": west, "south": south, "east": east, "north": north, "time": time,
                "geometry": None if area is None else shapely.to_wkb(area),
            }  # fmt: skip
    except InputError as error:
        yield {"id": path, "error": str(error)}


def _counts(vectors: Path) -> tuple[dict[str, int], int]:
    """Return the number of embedded tiles of each image, and how many had too little data."""
    found: dict[str, int] = {}
    skipped = 0
    for table in read_columns(vectors, ["path", "embedding"]):
        has = table["embedding"].is_valid()
        skipped += len(table) - (has.to_pylist().count(True))
        for path in table.filter(has)["path"].to_pylist():
            found[path] = found.get(path, 0) + 1
    return found, skipped


def _added(vectors: Path) -> Iterator[tuple[pa.Table, np.ndarray]]:
    names = [field.name for field in COLUMNS if field.name != "id"]
    for table in read_columns(vectors, [*names, "embedding"]):
        table = table.filter(table["embedding"].is_valid()).combine_chunks()
        if len(table):
            flat = table["embedding"].combine_chunks().flatten().to_numpy()
            yield table.select(names), flat.reshape(len(table), -1)


def _sources(files: dict[str, tuple[int, int]], counts: dict[str, int]) -> pa.Table:
    rows = [
        {"path": path, "size": files[path][0], "modified": files[path][1], "tiles": counts[path]}
        for path in sorted(counts)
    ]
    return pa.Table.from_pylist(rows, schema=SOURCES)
