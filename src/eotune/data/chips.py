"""Object chips: the pixels around each labelled box of large images, as a labelled set for classification."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from eotune.boxes.obb import clip_hbb, corners_to_hbb, polygon_area, windows
from eotune.core.config import Config
from eotune.core.errors import InputError, shown
from eotune.core.files import read_json, write_json, write_text
from eotune.core.progress import progress
from eotune.data.box_labels import BoxLabels, collected
from eotune.data.captions import listed_error
from eotune.data.chip_files import Cutter
from eotune.data.dota import scan_dota
from eotune.data.images import IMAGE_SUFFIXES
from eotune.data.labelled import alike
from eotune.data.yolo_obb import scan_yolo_obb

_REMEDY = "correct what is listed, or skip what is bad (--skip-bad)"
_ASIDE = {"classes.txt"}  # what labelling tools put beside YOLO's label files


class ChipConfig(Config):
    """Which chips are cut.

    Attributes:
        format: Of the label files: ``dota`` or ``yolo`` (YOLO-OBB).
        classes: Those that may occur; YOLO's files number them, so there all are needed, in order.
        margin: Added around the upright box of an object on each side, as a share of its longer side. A chip ends at
            the image's border: nothing is padded.
        square: Extend the shorter side to the longer one, so that a model's square input shows no object distorted.
        minimum_size: Boxes whose part inside the image is shorter than this on its longer side, in pixels, or has no
            area, are left out.
        difficult: Whether boxes marked as difficult are cut.
    """

    format: Literal["dota", "yolo"] = "dota"
    classes: tuple[str, ...] | None = None
    margin: float = Field(default=0.1, ge=0, le=10)
    square: bool = False
    minimum_size: float = Field(default=8, ge=0)
    difficult: bool = True


@dataclass(frozen=True)
class Chips:
    """What was cut.

    Attributes:
        path: ``chips.jsonl``, which :func:`~eotune.data.labelled.read_labelled` reads.
        counts: Chips of each class, most first.
        images: That labels were found for.
        too_small: Boxes left out as smaller than asked.
        difficult: Boxes left out as difficult.
        problems: What was skipped as wrong, a line each.
    """

    path: Path
    counts: dict[str, int]
    images: int
    too_small: int
    difficult: int
    problems: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self) | {"path": str(self.path), "chips": sum(self.counts.values())}


@dataclass(frozen=True)
class _Labelled:
    """A label file with its image; ``name`` begins the names of its chips."""

    name: str
    labels: Path
    image: Path


def cut_chips(
    images: Path,
    labels: Path,
    out: Path,
    config: ChipConfig | None = None,
    *,
    skip_bad: bool = False,
    threads: int | None = None,
) -> Chips:
    """Cut a chip for each box.

    ``out`` gets ``<class>/<label file>_<line>.png`` for images of 8 bits in grey or RGB without coordinates, else
    ``.tif`` with the image's bands, values, names and place; and ``chips.jsonl`` with ``image``, ``label``, ``source``
    (the image it was cut from: split by it, since chips of one image overlap), ``line``, ``corners`` (in the image),
    ``window`` (first column and row, and those behind the last), ``difficult`` and, where known, ``gsd``.

    Interrupted, it goes on where it was; with other settings or labels, another ``out`` is wanted.

    Args:
        images: A folder, searched with its sub-folders.
        labels: A folder of label files, likewise; each belongs to the image at the same place below ``images``, or
            else to the only one of its name.
        out: Folder to write.
        config: Which chips.
        skip_bad: Leave out lines and files that are wrong, and list them, instead of raising.
        threads: That read images; None for as many as there are processors, at most 16.

    Raises:
        InputError: Lines, label files or images are wrong (the message lists the first ten with file and line), classes
            differ by case only, no box is left, or ``out`` holds something else.

    Example:
        >>> import tempfile
        >>> from eotune.data.scenes import write_dataset
        >>> data = write_dataset(Path(tempfile.mkdtemp()), {"train": 1}, classes=("Harbour",)).parent
        >>> chips = cut_chips(data / "images", data / "labelTxt", data / "chips")
        >>> list(chips.counts), chips.path.name
        (['ship'], 'chips.jsonl')
    """
    config = config or ChipConfig()
    if config.format == "yolo" and not config.classes:
        raise InputError(
            "YOLO's label files only number the classes",
            remedy="give their names in order: --classes FILE, or ChipConfig(classes=...)",
        )
    images, labels, out = Path(images), Path(labels), Path(out)
    found, problems = _matched(images, labels)
    scanned = [_scan(one, config) for one in progress(found, description="reading labels")]
    problems += [problem for one in scanned for problem in one.problems]
    if problems and not skip_bad:
        raise listed_error(str(labels), problems, remedy=_REMEDY)
    if wrong := alike(dict.fromkeys(one.boxes.labels[at] for one in scanned for at in one.kept)):
        raise listed_error(str(labels), wrong, remedy="correct the labels, or the class names")
    _claim(out, config, found)
    executor = ThreadPoolExecutor(threads or min(16, os.cpu_count() or 1))
    try:
        results = executor.map(partial(_cut, out), scanned)
        unreadable = list(progress(results, total=len(found), description="cutting chips"))
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
    problems += (bad := [one for one in unreadable if one])
    if bad and not skip_bad:
        raise listed_error(str(images), bad, remedy=_REMEDY)
    rows = [row for one, problem in zip(scanned, unreadable, strict=True) if not problem for row in _rows(one, images)]
    if not rows:
        raise InputError(f"{labels}: no box to cut", remedy="check the folders, the classes and the minimum size")
    write_text(out / "chips.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    counts = dict(Counter(row["label"] for row in rows).most_common())
    left_out = (sum(one.too_small for one in scanned), sum(one.difficult for one in scanned))
    return Chips(out / "chips.jsonl", counts, len(found), *left_out, tuple(problems))


def _matched(images: Path, labels: Path) -> tuple[list[_Labelled], list[str]]:
    """Find the image of each label file."""
    for folder in (images, labels):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder", remedy="check the path")
    by_place: dict[str, list[Path]] = {}
    by_name: dict[str, list[Path]] = {}
    for path in sorted(one for one in images.rglob("*") if one.suffix.lower() in IMAGE_SUFFIXES):
        if not any(part.startswith(".") for part in path.relative_to(images).parts):
            by_place.setdefault(path.relative_to(images).with_suffix("").as_posix(), []).append(path)
            by_name.setdefault(path.stem, []).append(path)
    found, problems = [], []
    for path in sorted(one for one in labels.rglob("*.txt") if one.name not in _ASIDE and one.name[0] != "."):
        place = path.relative_to(labels).with_suffix("").as_posix()
        candidates = by_place.get(place) or by_name.get(path.stem) or []
        if len(candidates) == 1:
            found.append(_Labelled(place.replace("/", "__"), path, candidates[0]))
        else:
            several = ", ".join(str(one) for one in candidates[:3])
            problems.append(f"{path}: {f'several images: {several}' if candidates else f'no image in {images}'}")
    if not found and not problems:
        raise InputError(f"{labels}: no label file (.txt) in it", remedy="check the path")
    twice = [name for name, count in Counter(one.name for one in found).items() if count > 1]
    if twice:
        raise InputError(f"{labels}: two label files would both be called {shown(twice[0])}", remedy="rename one")
    return found, problems


def _claim(out: Path, config: ChipConfig, found: Sequence[_Labelled]) -> None:
    """Write down what ``out`` is made from, or check that it is the same."""
    digest = hashlib.sha256()
    for one in found:
        digest.update(f"{one.name}\0{one.image.name}\0".encode() + hashlib.sha256(one.labels.read_bytes()).digest())
    settings = {**config.model_dump(mode="json"), "labels": digest.hexdigest()}
    record = out / "chips.json"
    if record.exists():
        before = read_json(record)
        changed = [key for key in settings if not isinstance(before, dict) or before.get(key) != settings[key]]
        if changed:
            raise InputError(
                f"{out}: holds chips cut otherwise ({', '.join(changed)} differ)", remedy="choose another --out"
            )
    elif out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: is there already, and holds no chips", remedy="choose another --out")
    else:
        write_json(record, settings)


@dataclass
class _Scanned:
    """What is to be cut from one image."""

    source: _Labelled
    boxes: BoxLabels
    kept: np.ndarray  # positions of the boxes to cut
    windows: np.ndarray
    suffix: str
    problems: list[str]
    too_small: int = 0
    difficult: int = 0

    def chip(self, index: int) -> str:
        """Name the chip of a box."""
        return f"{self.boxes.labels[index]}/{self.source.name}_{self.boxes.lines[index]:04d}{self.suffix}"


def _scan(one: _Labelled, config: ChipConfig) -> _Scanned:
    """Read an image's size and its labels."""
    try:
        with Cutter(one.image) as cutter:
            height, width, suffix = cutter.height, cutter.width, cutter.suffix
        if config.format == "dota":
            boxes, wrong = scan_dota(one.labels, classes=config.classes)
        else:
            boxes, wrong = scan_yolo_obb(one.labels, classes=config.classes or (), height=height, width=width)
    except InputError as error:
        nothing = np.zeros((0, 4), np.int64)
        return _Scanned(one, collected([]), nothing[:, 0], nothing, "", [str(error)])
    hbb, area = corners_to_hbb(boxes.corners), polygon_area(boxes.corners)
    inside = _inside(boxes.corners, hbb, height, width)
    longer = (inside[:, 2:] - inside[:, :2]).max(axis=1)
    outside = (hbb[:, 2:] <= 0).any(axis=1) | (hbb[:, :2] >= (width, height)).any(axis=1) | ((longer == 0) & (area > 0))
    wrong += [f"line {line}: the box lies outside the image ({width} x {height})" for line in boxes.lines[outside]]
    small = ~outside & ((longer < config.minimum_size) | (area <= 0))
    hidden = ~outside & ~small & boxes.difficult & (not config.difficult)
    return _Scanned(
        one,
        boxes,
        np.flatnonzero(~(outside | small | hidden)),
        windows(hbb, height, width, margin=config.margin, square=config.square),
        suffix,
        [f"{one.labels}: {problem}" for problem in wrong],
        int(small.sum()),
        int(hidden.sum()),
    )


def _inside(corners: np.ndarray, hbb: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the upright boxes around the parts of boxes that lie inside an image; sides of 0 where nothing does."""
    import shapely

    inside = clip_hbb(hbb, height, width).astype(np.float64)
    cut = (inside != hbb).any(axis=1)
    boxes = shapely.make_valid(shapely.polygons(corners[cut]))
    parts = shapely.intersection(boxes, shapely.box(0, 0, width, height))
    inside[cut] = np.where(shapely.area(parts)[:, None] > 0, shapely.bounds(parts), 0)
    return inside


def _cut(out: Path, one: _Scanned) -> str | None:
    """Write an image's chips; return why it cannot be read, if so."""
    if not len(one.kept):
        return None
    try:
        with Cutter(one.source.image) as cutter:
            # From top to bottom, the order in which PNG and JPEG are decoded.
            for index in one.kept[np.argsort(one.windows[one.kept, 1], kind="stable")].tolist():
                cutter.write(one.windows[index], out / one.chip(index))
    except InputError as error:
        return str(error)
    return None


def _rows(one: _Scanned, images: Path) -> list[dict[str, Any]]:
    known = {} if one.boxes.gsd is None else {"gsd": one.boxes.gsd}
    return [
        {
            "image": one.chip(index),
            "label": one.boxes.labels[index],
            "source": one.source.image.relative_to(images).as_posix(),
            "line": int(one.boxes.lines[index]),
            "corners": one.boxes.corners[index].round(2).tolist(),
            "window": one.windows[index].tolist(),
            "difficult": bool(one.boxes.difficult[index]),
        }
        | known
        for index in one.kept.tolist()
    ]
