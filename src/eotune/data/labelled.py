"""Labelled images: one class an image, from class folders, JSONL, CSV or a caption file with labels."""

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from eotune.core.errors import InputError, shown
from eotune.core.lookup import nearest
from eotune.core.progress import say
from eotune.data.caption_formats import (
    Format,
    Parsed,
    Record,
    RowError,
    image_of,
    label_of,
    name_of,
    parse_records,
    parse_rows,
    read_text,
    split_name,
    split_of,
    value_of,
)  # fmt: skip
from eotune.data.captions import CaptionSample, CaptionSet, checked_records, listed_error
from eotune.data.images import IMAGE_SUFFIXES

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_USUAL_SPLITS = {"train", "val", "test"}


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Images with one class each.

    Attributes:
        source: The file or folder that was read.
        root: The folder that the images' paths are relative to.
        images: Path of each, relative to ``root``.
        labels: Class of each, int64 ``(n,)``, into ``classes``.
        classes: The names; some may have no image.
        origins: What each was cut from: its row's ``source``, or, without one, the image itself; None where no row has
            one. Images of one origin may share pixels.
    """

    source: Path
    root: Path
    images: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    origins: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def paths(self) -> list[Path]:
        """Return where each image lies, in order."""
        return [self.root / image for image in self.images]

    def counts(self) -> np.ndarray:
        """Return the number of images of each class, int64 ``(c,)``."""
        return np.bincount(self.labels, minlength=len(self.classes)).astype(np.int64)

    def subset(self, positions: Iterable[int]) -> "LabelledSet":
        """Return the images at these positions, in the order given; the classes stay."""
        chosen = np.fromiter(positions, np.int64)
        origins = None if self.origins is None else tuple(self.origins[one] for one in chosen)
        images = tuple(self.images[one] for one in chosen)
        return replace(self, images=images, labels=self.labels[chosen], origins=origins)


def read_labelled(
    path: Path, *, images: Path | None = None, split: str | None = None, classes: Sequence[str] | None = None
) -> LabelledSet:
    """Read images with one class each.

    Three layouts are known:

    - A folder whose sub-folders are the classes: ``Forest/a.png``, or ``train/Forest/a.png`` where ``split`` is given.
    - ``.csv`` (or ``.tsv``) with a header that has ``image`` and ``label``, and perhaps ``split`` and ``source``.
    - ``.jsonl`` or ``.json`` as :func:`~eotune.data.captions.read_captions` takes it, captions or not, with a
      ``label`` (or ``label_name``) in each row, and perhaps the ``source`` that it was cut from.

    Args:
        path: The folder or file.
        images: The folder that the paths in a file are relative to. By default the folder of the file, or its
            ``images`` folder where the images are found there instead.
        split: Keep this split only; aliases such as ``validation`` are understood.
        classes: The class names in order, as another split has them; another label is refused. By default those that
            occur, sorted.

    Raises:
        InputError: Anything is wrong; one message lists the first ten problems and their number.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("Forest/a.png", "Beach/b.png", "Forest/c.png"):
        ...     (folder / name).parent.mkdir(exist_ok=True)
        ...     (folder / name).touch()
        >>> labelled = read_labelled(folder)
        >>> labelled.classes, labelled.counts().tolist(), labelled.images[1]
        (('Beach', 'Forest'), [1, 2], 'Forest/a.png')
    """
    path = Path(path)
    if path.is_dir():
        if images is not None:
            raise InputError(f"{images}: an image folder beside class folders ({path})", remedy="leave it out")
        root, records, problems = _class_folders(path, split)
    else:
        parsed = _parse(path)
        if split is not None and parsed.records and all(record.split is None for record in parsed.records):
            raise InputError(f"{path}: gives no split, so none is {shown(split)}", remedy="ask for none, or write them")
        without = [record.image for record in parsed.records if split is not None and record.split is None]
        if without:
            say(
                f"warning: {path}: {len(without):,} of {len(parsed.records):,} rows give no split and are left out, "
                f"the first of them {shown(without[0])}"
            )
        root, records, problems = checked_records(path, parsed, images=images, split=split, check_files=True)
    names = sorted({_label(record) for record in records}) if classes is None else list(classes)
    problems = [*problems, *_unknown_labels(records, names), *alike(names)]
    if problems:
        raise listed_error(str(path), problems, remedy="correct what is listed")
    position = {name: number for number, name in enumerate(names)}
    labels = np.array([position[_label(record)] for record in records], np.int64)
    chosen = tuple(record.image for record in records)
    return LabelledSet(path, root, chosen, labels, tuple(names), _origins(records))


def scan_labelled(path: Path, *, images: Path | None = None) -> tuple[CaptionSet, list[str]]:
    """Read what can be read of labelled images, and one line for each thing that is wrong.

    Args:
        path: As for :func:`read_labelled`; a folder whose sub-folders are all called as splits are (train, val, test)
            has class folders in each.
        images: Likewise.

    Returns:
        All splits as a set without captions, which can be compared with others.

    Raises:
        InputError: The file or folder as a whole cannot be used.
    """
    path = Path(path)
    if path.is_dir():
        root, records, problems = path, *_all_splits(path)
        if not records:
            raise listed_error(str(path), problems, remedy="make a sub-folder for each class")
    else:
        root, records, problems = checked_records(path, _parse(path), images=images, split=None, check_files=True)
    problems = [*problems, *alike(sorted({_label(record) for record in records if record.label is not None}))]
    origins = _origins(records) or [None] * len(records)
    samples = (
        CaptionSample(one.image, one.image, (), one.split, one.label, origin)
        for one, origin in zip(records, origins, strict=True)
    )
    return CaptionSet(path, root, tuple(samples), "list"), problems


def is_table(path: Path) -> bool:
    """Tell whether a file is a table of labels by its suffix, .csv or .tsv."""
    return path.suffix.lower() in _DELIMITERS


def _all_splits(path: Path) -> tuple[list[Record], list[str]]:
    """Return the records below a folder, with their splits where it has a folder for each, and what is wrong."""
    names = [entry.name for entry in _entries(path) if entry.is_dir()]
    if not names or not {split_name(name) for name in names} <= _USUAL_SPLITS:
        return _class_folders(path, None)[1:]
    records: list[Record] = []
    problems: list[str] = []
    for name in names:
        _, found, wrong = _class_folders(path / name, None)
        records += [replace(one, image=f"{name}/{one.image}", split=split_name(name)) for one in found]
        problems += [f"{name}/{problem}" for problem in wrong]
    return records, problems


def _origins(records: Sequence[Record]) -> tuple[str, ...] | None:
    if not any(record.source for record in records):
        return None
    return tuple(record.source or record.image for record in records)


def _label(record: Record) -> str:
    return str(record.label)


def _unknown_labels(records: Sequence[Record], classes: Sequence[str]) -> list[str]:
    """Return one line for each class that is not among ``classes``."""
    known, unknown = set(classes), dict[str, list[str]]()
    for record in records:
        if record.label not in known:
            unknown.setdefault(_label(record), []).append(record.where)
    lines = []
    for label, places in unknown.items():
        near = nearest(label, classes)
        hint = f"did you mean {shown(near)}?" if near else f"known are {', '.join(map(shown, list(classes)[:10]))}"
        lines.append(f"{places[0]}: unknown class {shown(label)} (of {len(places)} images); {hint}")
    return lines


def alike(names: Iterable[str]) -> list[str]:
    """Return one line for each class that differs from another by case only."""
    names = list(names)
    known: dict[str, str] = {}
    first = [known.setdefault(name.casefold(), name) for name in names]
    return [
        f"classes {shown(one)} and {shown(name)} differ by case only; write them alike"
        for one, name in zip(first, names, strict=True)
        if one != name
    ]


def _parse(path: Path) -> Parsed:
    delimiter = _DELIMITERS.get(path.suffix.lower())
    if delimiter is None:
        return parse_records(path, _record)
    return parse_rows("list", _table_rows(path, delimiter), _record)


def _record(kind: Format, where: str, row: Mapping[str, Any]) -> Record:
    label = label_of(row)
    if label is None:
        value = value_of(row, "label")
        raise RowError(f"'label' is {shown(value)}; it must be the name or the number of a class")
    if not label.strip():
        raise RowError("'label' is empty; it must be the name or the number of a class")
    return Record(where, None, image_of(kind, row), (), split_of(row), label.strip(), name_of(row, "source"))


def _table_rows(path: Path, delimiter: str) -> Iterator[tuple[str, Any]]:
    """Yield each row's place and its fields by the names in the header."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            where = f"line {reader.line_num}"
            if header is None:
                header = [cell.strip() for cell in cells]
                _check_header(path, header)
            elif len(cells) != len(header):
                yield where, RowError(f"{len(cells)} fields where the header has {len(header)}")
            else:
                yield (
                    where,
                    {name: cell or None if name == "split" else cell for name, cell in zip(header, cells, strict=True)},
                )
    except csv.Error as error:
        yield f"line {reader.line_num}", RowError(f"not a valid table ({error})")


def _check_header(path: Path, header: list[str]) -> None:
    for wanted in ("image", "label"):
        if wanted in header or (wanted == "label" and "label_name" in header):
            continue
        near = nearest(wanted, header)
        hint = f"rename {shown(near)}, or " if near else ""
        raise InputError(
            f"{path}: no column {wanted!r} in the header ({', '.join(map(shown, header[:10]))})",
            remedy=f"{hint}begin the file with a line such as image,label,split",
        )


def _class_folders(path: Path, split: str | None) -> tuple[Path, list[Record], list[str]]:
    """Return the folder of the class folders, a record an image, and what is wrong."""
    root = path if split is None else _split_folder(path, split)
    records: list[Record] = []
    problems: list[str] = []
    for folder in _entries(root):
        if not folder.is_dir():
            if _is_image(folder.name):
                problems.append(f"{folder.name}: lies in no class folder; move it into one")
            continue
        inside = _entries(Path(folder.path))
        found = [entry.name for entry in inside if _is_image(entry.name) and entry.is_file()]
        problems += [
            f"{folder.name}/{entry.name}: is a link to nothing; mend it, or remove it"
            for entry in inside
            if _is_image(entry.name) and entry.is_symlink() and not os.path.exists(entry.path)  # noqa: PTH110
        ]
        nested = next((entry.name for entry in inside if entry.is_dir()), None)
        if nested is not None:
            problems.append(
                f"{folder.name}: has a folder inside ({shown(nested)}); name the folder whose sub-folders are the "
                "classes, or a split"
            )
        elif not found:
            others = f"; of its {len(inside)} files none is called as one" if inside else ""
            problems.append(f"{folder.name}: no image in this class folder{others}; remove it, or fill it")
        records += [Record(folder.name, None, f"{folder.name}/{name}", (), None, folder.name) for name in found]
    if not records and not problems:
        raise InputError(f"{root}: no class folder in it", remedy="make a sub-folder for each class")
    return root, records, problems


def _split_folder(path: Path, split: str) -> Path:
    folders = [entry.name for entry in _entries(path) if entry.is_dir()]
    found = [name for name in folders if split_name(name) == split_name(split)]
    if len(found) != 1:
        what = "no folder" if not found else f"{len(found)} folders ({', '.join(found)})"
        raise InputError(
            f"{path}: {what} of split {shown(split)}",
            remedy=f"it has {', '.join(map(shown, folders[:10])) or 'no folder'}",
        )
    return path / found[0]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder and not hidden, by name."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda one: one.name)
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror})", remedy="check its permissions") from None


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - strings, for speed
