"""Many images classified into one file; what is finished is kept in parts beside it until the file is there."""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from eotune.core import files
from eotune.core.errors import InputError, InterruptedRunError
from eotune.data.find_images import find_images
from eotune.engines.shards import fingerprint, read_shard, shard_info, shard_path, write_shard
from eotune.methods.adapted import ADAPTER
from eotune.runs.predict import BEST, Predictions, SavedModel, classified, none_classified, open_model
from eotune.runs.prediction_files import GEOJSON, check_out, write_predictions
from eotune.runs.saved_classifiers import FOLDER

_SETTINGS = "predictions.json"
_IMAGES = 1024  # a part, about: what an interruption costs at most


@dataclass(frozen=True)
class PredictedFile:
    """What :func:`predict_file` wrote.

    Attributes:
        images: How many images were named.
        predicted: How many of them have a class.
        classifier: As in :class:`~eotune.runs.predict.Predictions`.
        counts: How many images each class got, in the order of the classes.
        problems: One line for each image that could not be classified.
    """

    images: int
    predicted: int
    classifier: str
    counts: dict[str, int]
    problems: tuple[str, ...]


def parts_of(out: Path) -> Path:
    """Return the folder of the parts that become ``out``."""
    return out.with_name(f"{out.name}.parts")


def predict_file(
    run: str | Path,
    images: Sequence[str | Path],
    out: Path,
    *,
    classifier: str = BEST,
    batch_size: int = 128,
    top: int = 1,
    probabilities: bool = False,
    resume: bool = False,
) -> PredictedFile:
    """Classify images as :func:`~eotune.runs.predict.predict` does and write them to a file, part after part.

    Parts lie in the folder ``OUT.parts`` until the file is there. What ended an earlier process, a part that it
    finished is not computed again, and the file has the bytes that it would have had. Memory holds one part at a time.

    Args:
        run: As for ``predict``, like ``images``, ``classifier`` and ``batch_size``.
        images: Files, folders and patterns.
        out: ``.csv``, ``.jsonl`` or ``.geojson``, replaced if it is there; see
            :func:`~eotune.runs.prediction_files.write_predictions`.
        classifier: Which one.
        batch_size: Images at once.
        top: How many of the likeliest classes are written.
        probabilities: Write the probability of every class.
        resume: Go on with the parts of an earlier process, where there are any.

    Raises:
        InputError: As ``predict``; or ``out`` cannot be written; or there are parts and ``resume`` is off, or parts of
            another run, other images or other settings.
        InterruptedRunError: Ctrl-C.
    """
    check_out(out, overwrite=True)
    folder = parts_of(out)
    if folder.exists() and not resume:
        raise InputError(
            f"{folder}: holds predictions that were interrupted", remedy="go on with --resume, or remove the folder"
        )
    paths = find_images(images)
    model = open_model(run, classifier)
    settings = _settings(model, paths, batch_size, footprints=out.suffix.lower() == GEOJSON)
    counts = np.zeros(len(model.description.classes), np.int64)

    def counted(parts: Iterable[Predictions]) -> Iterator[Predictions]:
        for part in parts:
            counts[:] += list(part.counts().values())
            yield part

    with _opened(folder, settings):
        _compute(model, paths, folder, settings)
        shards = [shard_path(folder, index) for index in range(len(_cuts(paths, batch_size)))]
        problems = [os.fsdecode(one) for shard in shards for one in _column(read_shard(shard, ["problem"]), "problem")]
        if len(problems) == len(paths):
            shutil.rmtree(folder)
            raise none_classified(model, problems)
        parts = (_predictions(read_shard(shard), model, paths) for shard in shards)
        write_predictions(counted(parts), out, top=top, probabilities=probabilities)
        shutil.rmtree(folder)
    given = dict(zip(model.description.classes, counts.tolist(), strict=True))
    return PredictedFile(len(paths), len(paths) - len(problems), model.classifier, given, tuple(problems))


def _settings(model: SavedModel, paths: Sequence[Path], batch_size: int, *, footprints: bool) -> dict[str, Any]:
    """Return all that the numbers in the parts depend on; batches too, as sums are rounded otherwise in others."""
    run, images = sha256(), sha256()
    adapter, classifiers = (sorted((model.path / name).rglob("*")) for name in (ADAPTER, FOLDER))
    for path in (model.path / "recipe.yaml", *adapter, *classifiers):
        if path.is_file():
            run.update(f"{path.relative_to(model.path)} {files.sha256(path)}\n".encode())
    for path in paths:
        try:
            status = path.stat()
            state = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:  # it becomes a problem when it is read
            state = "gone"
        images.update(os.fsencode(path) + f"\0{state}\0".encode())
    return {
        "run": run.hexdigest(), "classifier": model.classifier, "images": images.hexdigest(),
        "batch_size": batch_size, "footprints": footprints,
    }  # fmt: skip


@contextmanager
def _opened(folder: Path, settings: dict[str, Any]) -> Iterator[None]:
    """Hold the folder of the parts; where none is in it at the end, it goes."""
    path = folder / _SETTINGS
    if folder.exists() and (not folder.is_dir() or (not path.is_file() and any(folder.glob("[!.]*")))):
        raise InputError(f"{folder}: holds something else than predictions", remedy="choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    with files.held(folder):
        before = files.read_json(path) if path.is_file() else settings
        before = before if isinstance(before, dict) else {}
        if changed := [key for key, value in settings.items() if before.get(key) != value]:
            raise InputError(
                f"{folder}: was begun with other {', '.join(changed)}", remedy="go back to those, or remove the folder"
            )
        try:
            if not path.is_file():
                files.write_json(path, settings)
            for torn in folder.glob(".shard-*"):
                torn.unlink()
            yield
        except KeyboardInterrupt:
            raise InterruptedRunError(
                f"interrupted; what is finished is kept in {folder}, go on with --resume"
            ) from None
        finally:
            if not any(folder.glob("shard-*")):
                shutil.rmtree(folder, ignore_errors=True)


def _cuts(paths: Sequence[Path], batch_size: int) -> list[slice]:
    """Return which images each part has: whole batches, so that they are those of an undisturbed run."""
    size = max(1, _IMAGES // batch_size) * batch_size
    return [slice(start, start + size) for start in range(0, len(paths), size)]


def _compute(model: SavedModel, paths: Sequence[Path], folder: Path, settings: dict[str, Any]) -> None:
    """Write the parts that are missing."""
    mark, batch_size = fingerprint(settings), settings["batch_size"]
    cuts = dict(enumerate(_cuts(paths, batch_size)))
    infos = {index: shard_info(shard_path(folder, index)) for index in cuts}
    missing = [index for index, info in infos.items() if info is None or info.fingerprint != mark]
    rest = [path for index in missing for path in paths[cuts[index]]]
    batches = classified(model, rest, batch_size=batch_size, footprints=settings["footprints"])
    for index in missing:
        own = paths[cuts[index]]
        places = {path: number for number, path in enumerate(own, cuts[index].start)}
        table = _table(list(islice(batches, -(-len(own) // batch_size))), places)
        write_shard(shard_path(folder, index), table, fingerprint=mark)


def _table(batches: Sequence[Predictions], places: Mapping[Path, int]) -> pa.Table:
    """Return a row for every image, and below them one for every problem."""
    images = [image for batch in batches for image in batch.images]
    outlines = [outline for batch in batches for outline in batch.footprints]
    problems = [os.fsencode(problem) for batch in batches for problem in batch.problems]
    shares = np.concatenate([batch.probabilities for batch in batches])
    shares = np.concatenate([shares, np.zeros((len(problems), shares.shape[1]), shares.dtype)])
    wkb = [None if outline is None else shapely.to_wkb(outline) for outline in outlines]
    none, unknown = [None] * len(images), [None] * len(problems)
    return pa.table({
        "id": pa.array([*(places[image] for image in images), *([-1] * len(problems))], pa.int64()),
        "probabilities": pa.FixedSizeListArray.from_arrays(pa.array(shares.ravel()), shares.shape[1]),
        "outline": pa.array([*wkb, *unknown], pa.binary()),
        "problem": pa.array([*none, *problems], pa.binary()),
    })  # fmt: skip


def _predictions(table: pa.Table, model: SavedModel, paths: Sequence[Path]) -> Predictions:
    """Return what :func:`_table` was made of."""
    problems = tuple(map(os.fsdecode, _column(table, "problem")))
    table = table.slice(0, len(table) - len(problems))
    classes = model.description.classes
    shares = table["probabilities"].combine_chunks().flatten().to_numpy().reshape(-1, len(classes))
    wkb = table["outline"].to_pylist()
    outlines = tuple(None if one is None else shapely.from_wkb(one) for one in wkb)
    images = tuple(paths[place] for place in table["id"].to_pylist())
    return Predictions(images, classes, shares, outlines, model.classifier, problems)


def _column(table: pa.Table, name: str) -> list[bytes]:
    """Return what is not null of a column."""
    return pc.drop_null(table[name]).to_pylist()
