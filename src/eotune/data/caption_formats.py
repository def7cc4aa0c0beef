"""The caption files in use, each turned into the same records; every problem is collected, none is fatal.

Three layouts are known, and told apart by their content:

- ``karpathy``: ``{"images": [{"filename", "filepath"?, "imgid"?, "split", "sentences": [{"raw"}]}]}``, as RSICD,
  RSITMD, UCM and COCO are published.
- ``list``: ``[{"image", "caption": str | [str], "label_name"? | "label"?, "split"?}]``, as HarMA and PIR use it. A
  training file has a row a caption, a test file a row an image; rows with the same image are merged, in order.
- ``jsonl``: one ``{"image", "captions": [str] | "caption": str, "id"?, "split"?, "label"?}`` a line.

Keys beyond these are left alone: the published files carry many.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from eotune.core.errors import InputError, shown
from eotune.core.lookup import nearest

Format = Literal["karpathy", "list", "jsonl"]

_SPLIT_ALIASES = {
    "training": "train",
    "restval": "train",  # COCO's remainder of the validation images, which everyone trains on
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "testing": "test",
}


@dataclass(frozen=True)
class Record:
    """One image as its file describes it, with its place there for messages.

    Attributes:
        where: ``line 3`` or ``images[3]``.
        id: What the file calls it; None where it has no name of its own.
        image: Path as written.
        captions: At least one, none empty.
        split: ``train``, ``val``, ``test`` or a name of the user's; None where the file has none.
        label: Its class, if given.
        source: The larger image that it was cut from, if given; read of labelled images alone.
    """

    where: str
    id: str | None
    image: str
    captions: tuple[str, ...]
    split: str | None
    label: str | None
    source: str | None = None


@dataclass(frozen=True)
class Parsed:
    """A caption file, read: its records, and one line for each thing that is wrong with it."""

    format: Format
    records: tuple[Record, ...]
    problems: tuple[str, ...]


RecordParser = Callable[[Format, str, Mapping[str, Any]], Record]  # of a layout, a row's place and the row


class RowError(Exception):
    """One row cannot be used; the message says why, without its place."""


def split_name(name: str) -> str:
    """Return the canonical name of a split.

    ``validation``, ``valid`` and ``dev`` are ``val``; ``restval`` and ``training`` ``train``; ``testing`` ``test``.

    Example:
        >>> split_name("Validation"), split_name("restval"), split_name("fold3")
        ('val', 'train', 'fold3')
    """
    lowered = name.strip().lower()
    return _SPLIT_ALIASES.get(lowered, lowered)


def parse_captions(path: Path) -> Parsed:
    """Read a caption file of any known layout.

    Raises:
        InputError: The file is missing, empty, not UTF-8, not JSON, or in no known layout. What is wrong with single
            rows is not raised but listed in ``problems``.
    """
    return parse_records(path, captioned)


def parse_records(path: Path, parser: RecordParser) -> Parsed:
    """Read a file of any known layout, a record a row as ``parser`` makes them; raises as :func:`parse_captions`."""
    text = read_text(path)
    if path.suffix.lower() in {".jsonl", ".ndjson"}:
        return parse_rows("jsonl", _json_lines(text), parser)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip().startswith("{"):  # one object after another: lines
            return parse_rows("jsonl", _json_lines(text), parser)
        raise InputError(
            f"{path}: not valid JSON at line {error.lineno}, column {error.colno} ({error.msg})",
            remedy="check that the file is complete",
        ) from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets in brackets
        raise InputError(f"{path}: not usable JSON ({error})", remedy="check the file") from None
    return _parse_value(path, value, parser)


def read_text(path: Path) -> str:
    """Return a file's text; raises as :func:`parse_captions`."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", remedy="check the path") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a directory", remedy="name a caption file inside it (.json or .jsonl)") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 text (byte {error.start})", remedy="save it as UTF-8, or name a .json or .jsonl file"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})", remedy="check the path") from None
    if not text.strip():
        raise InputError(f"{path}: the file is empty ({path.stat().st_size} bytes)", remedy="write or copy it again")
    return text


def _parse_value(path: Path, value: Any, parser: RecordParser) -> Parsed:
    """Choose the layout of a whole JSON document."""
    if isinstance(value, list):
        return _merge_images(parse_rows("list", ((f"row {i + 1}", row) for i, row in enumerate(value)), parser))
    if isinstance(value, Mapping) and "images" in value:
        if not isinstance(value["images"], list):
            raise InputError(
                f"{path}: 'images' is {kind_of(value['images'])}", remedy="it must be a list of {filename, sentences}"
            )
        return parse_rows("karpathy", ((f"images[{i}]", row) for i, row in enumerate(value["images"])), parser)
    if isinstance(value, Mapping) and "image" in value:
        return parse_rows("jsonl", iter([("line 1", value)]), parser)
    found = ", ".join(map(shown, list(value)[:5])) if isinstance(value, Mapping) else kind_of(value)
    near = nearest("images", list(map(str, value))) if isinstance(value, Mapping) else None
    hint = f"rename {shown(near)} to 'images', or " if near else ""
    raise InputError(
        f"{path}: no known caption layout (found {found})",
        remedy=f"{hint}use Karpathy JSON {{'images': [...]}}, a list of {{'image', 'caption'}}, "
        "or JSONL with 'image' and 'captions' in each line",
    )


def _json_lines(text: str) -> Iterator[tuple[str, Any]]:
    """Yield each line's place and value; a broken line gives the reason as an exception object."""
    for number, line in enumerate(text.split("\n"), start=1):  # not splitlines: U+2028 may stand inside a caption
        if not line.strip():
            continue
        try:
            yield f"line {number}", json.loads(line)
        except json.JSONDecodeError as error:
            yield f"line {number}", RowError(f"not valid JSON at column {error.colno} ({error.msg})")
        except (ValueError, RecursionError) as error:
            yield f"line {number}", RowError(f"not usable JSON ({error})")


def parse_rows(kind: Format, rows: Iterator[tuple[str, Any]], parser: RecordParser) -> Parsed:
    """Turn (place, row) pairs into records; a :class:`RowError`, raised or in a row's stead, becomes a problem."""
    records, problems = [], []
    for where, row in rows:
        try:
            if isinstance(row, RowError):
                raise row
            if not isinstance(row, Mapping):
                raise RowError(f"{kind_of(row)} where an object was expected")
            refuse_misspelled_split(row)
            records.append(parser(kind, where, row))
        except RowError as error:
            problems.append(f"{where}: {error}")
    if not records and not problems:
        problems.append("holds no image; add at least one")
    return Parsed(kind, tuple(records), tuple(problems))


def image_of(kind: Format, row: Mapping[str, Any]) -> str:
    """Return the image's path as a row of this layout has it."""
    if kind != "karpathy":
        return _text(row, "image")
    folder, name = row.get("filepath"), _text(row, "filename")
    return f"{folder.rstrip('/')}/{name}" if isinstance(folder, str) and folder.strip("/ ") else name


def captioned(kind: Format, where: str, row: Mapping[str, Any]) -> Record:
    """Return the record that a row of this layout is; a :class:`RowError` says what is wrong with it."""
    return _karpathy_record(where, row) if kind == "karpathy" else _flat_record(where, row)


def _karpathy_record(where: str, row: Mapping[str, Any]) -> Record:
    image = image_of("karpathy", row)
    sentences = value_of(row, "sentences")
    if not isinstance(sentences, list):
        raise RowError(f"'sentences' is {kind_of(sentences)}; it must be a list of {{'raw': text}}")
    raw = []
    for position, sentence in enumerate(sentences):
        if not isinstance(sentence, Mapping):
            raise RowError(f"sentences[{position}] is {kind_of(sentence)}; it must be {{'raw': text}}")
        try:
            raw.append(value_of(sentence, "raw"))
        except RowError as error:
            raise RowError(f"sentences[{position}]: {error}") from None
    return Record(where, name_of(row, "imgid"), image, _captions(raw, image), split_of(row), label_of(row))


def _flat_record(where: str, row: Mapping[str, Any]) -> Record:
    image = image_of("jsonl", row)
    key = "captions" if "captions" in row or "caption" not in row else "caption"
    value = value_of(row, key)
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        raise RowError(f"{key!r} is {kind_of(value)}; it must be text or a list of texts")
    return Record(where, name_of(row, "id"), image, _captions(value, image), split_of(row), label_of(row))


def _merge_images(parsed: Parsed) -> Parsed:
    """Join the rows of one image, captions in order: the HarMA training files have a row a caption."""
    merged: dict[str, Record] = {}
    parts: dict[str, list[str]] = {}
    problems = list(parsed.problems)
    for record in parsed.records:
        first = merged.setdefault(record.image, record)
        if record.split != first.split:
            problems.append(
                f"{record.where}: image {shown(record.image)} is in split {shown(record.split)}, "
                f"but {first.where} puts it in {shown(first.split)}"
            )
            continue
        if record.label != first.label and None not in (record.label, first.label):
            problems.append(
                f"{record.where}: image {shown(record.image)} is {shown(record.label)}, "
                f"but {first.where} calls it {shown(first.label)}"
            )
        parts.setdefault(record.image, []).extend(record.captions)
    records = tuple(replace(record, captions=tuple(parts[image])) for image, record in merged.items())
    return replace(parsed, records=records, problems=tuple(problems))


def value_of(row: Mapping[str, Any], key: str) -> Any:
    """Return what stands under ``key``; without it, a :class:`RowError` that names the nearest key."""
    if key in row:
        return row[key]
    near = nearest(key, [str(found) for found in row])
    found = (
        f"did you mean it where the file says {shown(near)}?"
        if near
        else f"found {', '.join(shown(one) for one in list(row)[:10]) or 'none'}"
    )
    raise RowError(f"no key {key!r}; {found}")


def _text(row: Mapping[str, Any], key: str) -> str:
    value = value_of(row, key)
    if not isinstance(value, str) or not value.strip():
        found = "empty" if isinstance(value, str) else kind_of(value)
        raise RowError(f"{key!r} is {found}; it must be the path of an image")
    return value


def _captions(values: Sequence[Any], image: str) -> tuple[str, ...]:
    if not values:
        raise RowError(f"image {shown(image)} has no captions; add one or remove the image")
    captions = []
    for position, value in enumerate(values, start=1):
        if not isinstance(value, str):
            raise RowError(f"image {shown(image)}: caption {position} is {kind_of(value)}, not text")
        if not value.strip():
            raise RowError(f"image {shown(image)}: caption {position} is empty; write it or remove it")
        if not is_encodable(value):
            raise RowError(f"image {shown(image)}: caption {position} holds a lone surrogate (\\udXXX); write it again")
        captions.append(value.strip())
    return tuple(captions)


def split_of(row: Mapping[str, Any]) -> str | None:
    """Return the canonical name of a row's split; None where it gives none."""
    value = row.get("split")
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise RowError(f"'split' is {'empty' if isinstance(value, str) else kind_of(value)}; write train, val or test")
    return split_name(value)


def label_of(row: Mapping[str, Any]) -> str | None:
    """Return a row's class; None where it gives none."""
    name = row.get("label_name")  # HarMA's lists number classes in label and name them in label_name
    value = row.get("label") if name is None else name
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


def name_of(row: Mapping[str, Any], key: str) -> str | None:
    """Return the text or number under ``key``; None where there is none."""
    value = row.get(key)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


def refuse_misspelled_split(row: Mapping[str, Any]) -> None:
    """Refuse ``spilt``: a split that is overlooked would train on the test images."""
    if "split" not in row:
        near = nearest("split", [str(key) for key in row])
        if near is not None:
            raise RowError(f"{shown(near)} is not a known key; did you mean 'split'?")


def is_encodable(text: str) -> bool:
    """Return whether a text can be written as UTF-8: one with a lone surrogate cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def kind_of(value: Any) -> str:
    """Say in JSON's words what ``value`` is."""
    names = {bool: "a boolean", type(None): "null", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), "a number")
