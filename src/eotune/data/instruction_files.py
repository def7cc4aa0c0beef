"""Subsets of instruction sets: in the file format they came in, and as trainers of vision-language models read them."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count as count_up
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from eotune.core.errors import InputError
from eotune.core.files import new_directory, replaced
from eotune.data.caption_formats import RowError
from eotune.data.instruction_json import Piece, element_pieces, kept_pieces
from eotune.data.instruction_parquet import copy_rows, parquet_files
from eotune.data.instruction_placeholders import PLACEHOLDER
from eotune.data.instruction_records import KEYS, ROLES, caption_key
from eotune.data.instructions import InstructionSample, InstructionSource, Turn

_XCOMPOSER_IMAGE = "<ImageHere>"


def write_subset(source: InstructionSource, rows: np.ndarray | Sequence[int], out: Path) -> None:
    r"""Write some rows of a set in its own format: each record as it stands, byte for byte, in the same order.

    Of a record with several captions, those not chosen are taken out and the rest stays as it is; a record of which no
    row is chosen is left out. A Parquet file keeps its schema, metadata and compression; a folder of them becomes a
    folder of files of the same names.

    Args:
        source: The set; its files are only read.
        rows: Row numbers, ascending, as :class:`~eotune.data.instructions.InstructionSample` has them.
        out: The file, or for a folder the folder, to write: whole or not at all.

    Raises:
        InputError: ``out`` is the input, or a folder that is there already; rows do not ascend or are not in the set;
            the set cannot be read to its end.

    Example:
        >>> import tempfile
        >>> from eotune.data.instructions import open_instructions
        >>> folder = Path(tempfile.mkdtemp())
        >>> lines = [f'{{"image": "{name}.png", "caption": "{name}",  "x": 1.50}}' for name in "abc"]
        >>> _ = (folder / "all.jsonl").write_text("\n".join(lines))
        >>> write_subset(open_instructions(folder / "all.jsonl"), [1], folder / "some.jsonl")
        >>> (folder / "some.jsonl").read_text()
        '{"image": "b.png", "caption": "b",  "x": 1.50}\n'
    """
    wanted = _Wanted(source, rows)
    _refuse_input(source, out)
    if source.container != "parquet":
        with replaced(out) as temporary, temporary.open("wb") as stream:
            for part in kept_pieces(source.pieces(), lambda piece: _kept_piece(source, wanted, piece)):
                stream.write(part)
            wanted.check_end()
        return
    keys = KEYS if source.format == "captions" else ()
    keep = lambda row: _kept_row(source, wanted, row)  # noqa: E731
    if not source.path.is_dir():
        with replaced(out) as temporary:
            copy_rows(source.path, temporary, keep, keys)
            wanted.check_end()
        return
    with new_directory(out) as folder:
        for file in parquet_files(source.path):
            copy_rows(file, folder / file.name, keep, keys)
        wanted.check_end()


def dataset_info(source: InstructionSource, file: Path | str, name: str) -> dict[str, Any]:
    """Return what LLaMA-Factory's ``dataset_info.json`` says about a subset.

    Args:
        source: The set that the subset is of; the keys and roles of its first good record go into the columns and tags.
        file: The subset, as it is called from LLaMA-Factory's ``dataset_dir``.
        name: What it is to be called.

    Returns:
        One entry, to be merged into ``dataset_info.json``. Image paths are looked up in its ``media_dir``.

    Raises:
        InputError: LLaMA-Factory cannot read the layout: captions have no instruction, contents are lists of parts, or
            a record has not as many ``<image>`` as images.
    """
    record = _first_good(source)
    columns = {"images": "images" if record.get("images") is not None else "image"}
    entry: dict[str, Any] = {"file_name": str(file), "columns": columns}
    if source.format == "captions":
        raise InputError(f"{source.path}: captions have no instruction for LLaMA-Factory", remedy="write questions too")
    if isinstance(record.get("system"), str):
        columns["system"] = "system"
    if source.format == "question_answer":
        _refuse_marks(source, record)
        columns |= {"prompt": "question", "response": "answer"}
        return {name: {**entry, "formatting": "alpaca"}}
    turns = record[source.format]
    role, content = ("role" if "role" in turns[0] else "from", "content" if "content" in turns[0] else "value")
    if not all(role in turn and isinstance(turn.get(content), str) for turn in turns):
        raise InputError(
            f"{source.path}: LLaMA-Factory reads text, and here turns are lists of parts",
            remedy="give this file to a trainer that reads parts, such as TRL or ms-swift",
        )
    _refuse_marks(source, record)
    tags = {"role_tag": role, "content_tag": content}
    for tag, standing in (("user_tag", "user"), ("assistant_tag", "assistant"), ("system_tag", "system")):
        said = [turn[role] for turn in turns if ROLES[turn[role]] == standing]
        default = {"user": "human", "assistant": "gpt"}.get(standing, standing) if role == "from" else standing
        tags[tag] = said[0] if said else default
    columns["messages"] = source.format
    return {name: {**entry, "formatting": "sharegpt", "tags": tags}}


def write_xcomposer(source: InstructionSource, rows: np.ndarray | Sequence[int], out: Path) -> None:
    """Write some rows as InternLM-XComposer's fine-tuning script reads them.

    A JSON list of ``id``, ``image`` (a list of absolute paths: the script opens them as they stand) and
    ``conversations`` between ``user`` and ``assistant``, with ``<ImageHere>`` where an image stands. That script takes
    every role but the user's for the assistant, so what the system says goes before the user's first turn.

    Args:
        source: The set; its files are only read.
        rows: Row numbers of samples, ascending.
        out: The file to write, whole or not at all.

    Raises:
        InputError: As :func:`write_subset`; or a row is a record that cannot be used.
    """
    wanted = _Wanted(source, rows)
    _refuse_input(source, out)
    with replaced(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        separator = "[\n"
        for sample in source.samples():
            wanted.skip_to(sample.row)
            if not wanted.take(1):
                continue
            if not isinstance(sample, InstructionSample):
                raise InputError(f"{source.path}: row {sample.row} cannot be used ({sample.reason})")
            stream.write(separator + json.dumps(_xcomposer(source, sample), ensure_ascii=False))
            separator = ",\n"
        stream.write(("[" if separator == "[\n" else "\n") + "]\n")
        wanted.check_end()


class _Wanted:
    """The rows that are chosen, while a file is gone through from its first row to its last."""

    def __init__(self, source: InstructionSource, rows: np.ndarray | Sequence[int]) -> None:
        chosen = np.asarray(rows if len(rows) else [], dtype=np.int64)
        if chosen.ndim != 1 or (len(chosen) and (chosen[0] < 0 or (np.diff(chosen) <= 0).any())):
            raise InputError(f"{source.path}: rows to write do not ascend from 0", remedy="sort them, each once")
        self._path = source.path
        self._rows = chosen
        self._next = 0  # position in rows
        self._row = 0  # of the file

    def take(self, count: int) -> list[int]:
        """Go on by ``count`` rows of the file; return which of them are chosen, counted from the first of them."""
        first = self._next
        while self._next < len(self._rows) and self._rows[self._next] < self._row + count:
            self._next += 1
        found = (self._rows[first : self._next] - self._row).tolist()
        self._row += count
        return found

    def skip_to(self, row: int) -> None:
        """Go on to a row; rows before it that are chosen are not in the set."""
        if self.take(row - self._row):
            self._refuse(int(self._rows[self._next - 1]))

    def check_end(self) -> None:
        if self._next < len(self._rows):
            self._refuse(int(self._rows[self._next]))

    def _refuse(self, row: int) -> None:
        raise InputError(f"{self._path}: no row {row}", remedy="was the file changed since it was read?")


def _kept_piece(source: InstructionSource, wanted: _Wanted, piece: Piece) -> bytes | None:
    count = _samples_in(source, piece.value)
    chosen = wanted.take(count)
    if not chosen:
        return None
    if len(chosen) == count:
        return piece.text
    key = caption_key(piece.value)
    elements = count_up()
    keep: Callable[[Piece], bytes | None] = lambda one: one.text if next(elements) in chosen else None  # noqa: E731
    return b"".join(kept_pieces(element_pieces(piece.text, key), keep))


def _kept_row(source: InstructionSource, wanted: _Wanted, row: Mapping[str, Any]) -> Mapping[str, Any] | None:
    count = _samples_in(source, row)
    chosen = wanted.take(count)
    if not chosen:
        return None
    if len(chosen) == count:
        return {}
    key = caption_key(row)
    return {key: [row[key][position] for position in chosen]}


def _samples_in(source: InstructionSource, record: Any) -> int:
    """Return how many row numbers a record takes."""
    if source.format != "captions":
        return 1
    try:
        return len(source.contents(record))
    except RowError:
        return 1


def _refuse_input(source: InstructionSource, out: Path) -> None:
    inputs = [source.path, *(parquet_files(source.path) if source.path.is_dir() else [])]
    if any(out.exists() and os.path.samefile(out, one) for one in inputs):  # noqa: PTH121 - follows links on both sides
        raise InputError(f"{out}: is the input, which is never changed", remedy="name another file")


def _first_good(source: InstructionSource) -> Mapping[str, Any]:
    for record in islice(source.records(), 10_000):
        try:
            source.contents(record)
        except RowError:
            continue
        return dict(record)
    raise InputError(f"{source.path}: no usable record among the first 10,000", remedy="correct the file")


def _refuse_marks(source: InstructionSource, record: Mapping[str, Any]) -> None:
    """Refuse a record that has not as many ``<image>`` as images: LLaMA-Factory counts both, and stops."""
    content = source.contents(record)[0]
    marks = sum(turn.text.count("<image>") for turn in content.turns if turn.role != "system")
    if marks != len(content.images):
        raise InputError(
            f"{source.path}: LLaMA-Factory expects <image> once for each image; the first record has {marks} for "
            f"{len(content.images)}",
            remedy="put it where each image stands",
        )


def _xcomposer(source: InstructionSource, sample: InstructionSample) -> dict[str, Any]:
    turns = list(_two_sided(sample.turns))
    places = sum(len(PLACEHOLDER.findall(turn.text)) for turn in turns)
    if places == len(sample.images):
        turns = [Turn(turn.role, PLACEHOLDER.sub(_XCOMPOSER_IMAGE, turn.text)) for turn in turns]
    else:  # unmarked, or marked by a rule of the model's own: all images first
        turns = [Turn(turn.role, PLACEHOLDER.sub("", turn.text).strip()) for turn in turns]
        turns[0] = Turn(
            "user", " ".join([_XCOMPOSER_IMAGE] * len(sample.images) + [turns[0].text] * bool(turns[0].text))
        )
    images = [str(source.root.absolute() / image) for image in sample.images]
    said = [{"from": turn.role, "value": turn.text} for turn in turns]
    return {"id": sample.id, "image": images, "conversations": said}


def _two_sided(turns: Sequence[Turn]) -> Iterator[Turn]:
    """Yield the user's and the assistant's turns, the user's first with what the system says before it."""
    system = [turn.text for turn in turns if turn.role == "system"]
    rest = [turn for turn in turns if turn.role != "system"]
    if rest[0].role != "user":
        rest.insert(0, Turn("user", ""))
    yield Turn("user", "\n".join([*system, rest[0].text]) if system else rest[0].text)
    yield from rest[1:]
