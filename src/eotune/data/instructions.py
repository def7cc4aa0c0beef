"""Instruction sets: what is asked and answered about images, streamed from any of the layouts in use.

Layouts are told apart by their keys, files by their first bytes:

- ``conversations``: ``{"id", "image": str | [str], "conversations": [{"from": "human" | "gpt", "value"}]}``, as LLaVA
  and GeoChat have it.
- ``messages``: ``{"messages": [{"role", "content": str | [part]}], "images": [str]}``, as TRL, ms-swift and
  LLaMA-Factory have it.
- ``question_answer``: ``{"image", "question", "answer"}``.
- ``captions``: those of :mod:`eotune.data.caption_formats`; each caption is a sample.

Each is read from a JSON list, JSON Lines, a Parquet file or a folder of them. Nothing is held in memory but the record
that is read, and the ids of those before it.
"""

import os
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from eotune.core.errors import InputError, shown
from eotune.core.lookup import nearest, unknown_name
from eotune.core.progress import say
from eotune.data.caption_formats import RowError, kind_of, refuse_misspelled_split, split_name, split_of
from eotune.data.image_paths import PROBES, ImageFolder, image_root, misplaced
from eotune.data.instruction_json import LIMIT, Piece, document_pieces, line_pieces, line_value, opened
from eotune.data.instruction_parquet import column_names, count_rows, parquet_files, parquet_rows
from eotune.data.instruction_records import (
    KEYS,
    Content,
    InstructionFormat,
    TextKind,
    Turn,
    answer_of,
    contents,
    format_of,
    question_of,
    record_id,
)

__all__ = ["BadRecord", "InstructionSample", "InstructionSource", "Turn", "open_instructions"]

Container = Literal["json", "jsonl", "parquet"]

_KARPATHY_KEY = "images"  # under which a file that is one object has its records
_GLANCE = 1000  # entries of a folder that are looked at for Parquet files
_PACKED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "a zip archive", b"\x28\xb5\x2f\xfd": "Zstandard", b"BZh": "bzip2",
           b"\xfd7zXZ": "xz"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class InstructionSample:
    """One image or more, and what is said about them.

    Attributes:
        id: Unique in its set: what the file calls it, else its row number; of two that would have the same so, the
            second has ``(row N)`` behind it.
        images: Paths relative to the set's root; at least one.
        turns: In order, with the image placeholders that the file has. A caption is one turn of the assistant's.
        row: Its number in the file, from 0; every caption has its own.
    """

    id: str
    images: tuple[str, ...]
    turns: tuple[Turn, ...]
    row: int

    @property
    def question(self) -> str:
        """The first that the user says, without image placeholders; empty for a caption."""
        return question_of(self.turns)

    @property
    def answer(self) -> str:
        """The first that the assistant says; for a caption, the caption."""
        return answer_of(self.turns)

    def text(self, kind: TextKind = "both") -> str:
        r"""Return question, answer, or one under the other.

        Example:
            >>> turns = (Turn("user", "<image>Where?"), Turn("assistant", "Here."))
            >>> sample = InstructionSample("7", ("a.png",), turns, row=7)
            >>> sample.text("question"), sample.text()
            ('Where?', 'Where?\nHere.')
        """
        if kind == "both":
            return "\n".join(text for text in (self.question, self.answer) if text)
        return self.question if kind == "question" else self.answer

    def shows(self, images: frozenset[str]) -> bool:
        """Return whether it has one of some images, given by normal paths relative to the set's root."""
        return bool(images) and any(posixpath.normpath(image) in images for image in self.images)

    def beside(self, kind: TextKind = "both") -> str:
        r"""Return what the turns say that :meth:`text` leaves out, a line a turn; nothing where it has all.

        Example:
            >>> turns = (Turn("user", "Where?"), Turn("assistant", "Here."), Turn("user", "When?"))
            >>> sample = InstructionSample("7", ("a.png",), turns, row=7)
            >>> sample.beside(), sample.beside("question")
            ('user: When?', 'assistant: Here.\nuser: When?')
        """
        roles = ("user", "assistant") if kind == "both" else ("user" if kind == "question" else "assistant",)
        firsts = {next((at for at, turn in enumerate(self.turns) if turn.role == role), None) for role in roles}
        return "\n".join(f"{turn.role}: {turn.text}" for at, turn in enumerate(self.turns) if at not in firsts)


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that cannot be used.

    Attributes:
        row: Its number in the file, from 0.
        id: What the file calls it, if it can be told.
        reason: What is wrong, and what to do.
    """

    row: int
    id: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class _Names:
    """What the records read so far are called: by themselves, or by their row numbers."""

    given: set[str]
    numbered: set[str]

    def take(self, given: str | None, row: int) -> str | None:
        """Return a name that no record before has; None where one has this id."""
        if given in self.given:
            return None
        name = str(row) if given is None else given
        while name in self.given or name in self.numbered:  # one record's number is another's id
            name = f"{name} (row {row})"
        if given is not None:
            self.given.add(given)
        if name != given:
            self.numbered.add(name)
        return name


@dataclass(frozen=True)
class InstructionSource:
    """An instruction set on disk.

    Attributes:
        path: The file, or the folder of Parquet files.
        root: The folder that the images' paths are relative to.
        format: The layout of its records.
        container: The kind of file.
        split: The split that is read; None for all.
        ids: Where ids come from; see :func:`open_instructions`.
        check_files: Whether images are looked up.
        without: Images, by their normal paths relative to ``root``, whose samples are passed over.
    """

    path: Path
    root: Path
    format: InstructionFormat
    container: Container
    split: str | None = None
    ids: Literal["record", "row"] = "record"
    check_files: bool = True
    without: frozenset[str] = frozenset()

    def samples(self) -> Iterator[InstructionSample | BadRecord]:
        """Yield every sample of the split in the order of the file, and in its place each record that is none.

        Raises:
            InputError: The file as a whole cannot be read to its end, or has no record of the split.
        """
        names = _Names(set(), set())
        folder = ImageFolder(self.root) if self.check_files else None
        splits: Counter[str | None] = Counter()
        row = 0
        for record in self.records():
            found, problem = self.read(record)
            try:
                is_wanted = self._is_wanted(record, splits)
            except RowError as error:
                is_wanted, problem = True, problem or error
            if is_wanted and problem is not None:
                yield BadRecord(row, _given_id(record), str(problem))
            elif is_wanted:
                for position, content in enumerate(found):
                    sample = self._sample(content, row + position, names, folder)
                    if isinstance(sample, BadRecord) or not sample.shows(self.without):
                        yield sample
            row += len(found) or 1  # a writer counts the same without looking at splits
        if self.split is not None and splits and not splits.keys() & {None, self.split}:
            listing = ", ".join(f"{split} ({count:,})" for split, count in splits.items())
            raise InputError(f"{self.path}: no split {shown(self.split)}", remedy=f"it has {listing}")

    def records(self) -> Iterator[Any]:
        """Yield every record as it is read, in order; a :class:`RowError` where a line cannot be."""
        if self.container == "parquet":
            yield from parquet_rows(self.path, KEYS)
        else:
            yield from (piece.value for piece in self.pieces() if piece.text)

    def pieces(self) -> Iterator[Piece]:
        """Yield a JSON or JSON Lines file record by record, as text and as value."""
        return line_pieces(self.path) if self.container == "jsonl" else document_pieces(self.path, _KARPATHY_KEY)

    def contents(self, record: Any) -> list[Content]:
        """Return the samples of a record: one, but of captions one each.

        Raises:
            RowError: The record cannot be used; the message says why.
        """
        if self.ids == "row" and isinstance(record, Mapping):  # what it calls itself does not matter
            record = {key: value for key, value in record.items() if key != "id"}
        return contents(self.format, record)

    def read(self, record: Any) -> tuple[list[Content], RowError | None]:
        """Return the samples of a record, or why it has none."""
        try:
            return self.contents(record), None
        except RowError as error:
            return [], error

    def _is_wanted(self, record: Any, splits: Counter[str | None]) -> bool:
        """Return whether a record is of the split; one without belongs to any, as in files that are a split each."""
        if self.split is None or not isinstance(record, Mapping):
            return True
        refuse_misspelled_split(record)
        split = split_of(record)
        splits[split] += 1
        return split is None or split == self.split

    def _sample(
        self, content: Content, row: int, names: "_Names", folder: ImageFolder | None
    ) -> InstructionSample | BadRecord:
        given = content.id if self.ids == "record" else None
        images = tuple(_relative(image, self.root) for image in content.images)
        for image in images:
            problem = None if folder is None else misplaced(image, self.root) or folder.missing(image)
            if problem is not None:
                return BadRecord(row, str(row) if given is None else given, problem)
        name = names.take(given, row)
        if name is None:
            remedy = "rename it, or number the records instead (ids: row)"
            return BadRecord(row, given, f"id {shown(given)} stands already in a record before; {remedy}")
        return InstructionSample(name, images, content.turns, row)


def open_instructions(
    path: Path,
    *,
    images: Path | None = None,
    split: str | None = None,
    ids: Literal["record", "row"] = "record",
    check_files: bool = True,
    without: Iterable[str] = (),
) -> InstructionSource:
    r"""Open an instruction set, and see that it is whole at both ends; what lies between is found while it is read.

    Args:
        path: The file, or a folder of Parquet files.
        images: The folder that image paths are relative to. By default the folder of the file, or its ``images``
            folder where more images are found there.
        split: Read this split only; aliases such as ``validation`` are understood. Records that name none are of every
            split.
        ids: ``record`` takes a record's ``id`` where it has one; ``row`` its number in the file, for sets whose ids are
            not unique.
        check_files: Also look that each image is there, and that neither its path nor a link leads out of ``images``.
        without: Images whose samples are passed over, by their paths in the file: relative to that folder, or absolute.

    Raises:
        InputError: The file is missing, empty, packed, cut off, neither JSON nor Parquet, or its first records are in
            no known layout; a split is asked for, and a Parquet file has none but a column of nearly that name;
            ``images`` is no folder; ``without`` names an image that is not there; ``ids`` is neither of the two.

    Example:
        >>> import json, tempfile
        >>> turns = [{"from": "human", "value": "<image>\nHow many planes?"}, {"from": "gpt", "value": "Two."}]
        >>> file = Path(tempfile.mkdtemp()) / "geochat.json"
        >>> _ = file.write_text(json.dumps([{"id": "a", "image": "a.png", "conversations": turns}]))
        >>> source = open_instructions(file, check_files=False)
        >>> source.format, source.container, [sample.question for sample in source.samples()]
        ('conversations', 'json', ['How many planes?'])
    """
    if ids not in ("record", "row"):
        raise unknown_name("kind of ids", ids, ("record", "row"))
    path = Path(path)
    source = InstructionSource(
        path, path.parent, "captions", _container(path), split_name(split) if split else None, ids, check_files
    )  # fmt: skip
    if source.container == "parquet":
        if path.is_dir():
            _warn_of_nested(path)
        count_rows(path)  # opens every file: a later one may be cut off
        _refuse_repeated_columns(path)
        if source.split is not None:
            _refuse_misspelled_columns(path)
    else:
        _check_end(path, source.container)
    probes = list(islice(source.records(), PROBES))
    known = next((kind for kind in map(format_of, probes) if kind is not None), None)
    if known is None:
        raise _unknown(path, probes)
    source = replace(source, format=known)
    names = [image for probe in probes for content in source.read(probe)[0][:1] for image in content.images]
    root = image_root(path if path.is_dir() else path.parent, names, images)
    return replace(source, root=root, without=_held_out(without, root, check_files=check_files))


def _held_out(without: Iterable[str], root: Path, *, check_files: bool) -> frozenset[str]:
    """Return images by their normal paths; one that is not there would pass over nothing, without a word."""
    images = [_relative(image, root) for image in without]
    folder = ImageFolder(root)
    wrong = (image for image in images if misplaced(image, root) or folder.missing(image)) if check_files else iter(())
    if image := next(wrong, None):
        raise InputError(f"without: no image {shown(image)} in {root}", remedy="name images by their paths in the set")
    return frozenset(map(posixpath.normpath, images))


def _container(path: Path) -> Container:
    if path.is_dir() or path.suffix.lower() == ".parquet":
        return "parquet"
    with opened(path) as stream:
        line = stream.readline(LIMIT)
        while line and not line.strip():
            line = stream.readline(LIMIT)
    if not line:
        raise InputError(f"{path}: the file is empty", remedy="write or copy it again")
    if line.startswith(b"PAR1"):
        return "parquet"
    packed = next((name for mark, name in _PACKED.items() if line.startswith(mark)), None)
    if packed is not None:
        raise InputError(f"{path}: is packed ({packed})", remedy="unpack it")
    if line.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path}: not UTF-8 text but UTF-16", remedy="save it as UTF-8")
    line = line.removeprefix(b"\xef\xbb\xbf")
    if path.suffix.lower() in {".jsonl", ".ndjson"}:
        return "jsonl"
    # A line that is a whole object is the first of many, unless it is all that Karpathy's layout is.
    value = line_value(line, 1) if line.lstrip().startswith(b"{") else None
    is_all = isinstance(value, Mapping) and isinstance(value.get(_KARPATHY_KEY), list) and format_of(value) is None
    return "jsonl" if isinstance(value, Mapping) and not is_all else "json"


@cache
def _warn_of_nested(path: Path) -> None:
    """Say, once, that Parquet files in folders of a folder are not read; large folders are not looked through."""
    for folder in (one for one in path.iterdir() if one.is_dir() and not one.name.startswith(".")):
        with os.scandir(folder) as inside:
            found = next((one.name for one in islice(inside, _GLANCE) if one.name.endswith(".parquet")), None)
        if found is not None:
            say(f"warning: {path}: files in folders of it, such as {folder.name}/{found}, are not read")
            return


def _refuse_repeated_columns(path: Path) -> None:
    """Refuse a column that stands twice: which of the two is meant, nobody can tell."""
    for file in parquet_files(path):
        names = list(column_names(file))
        twice = next((name for name in names if name in KEYS and names.count(name) > 1), None)
        if twice:
            raise InputError(f"{file}: has the column {twice!r} twice", remedy="remove or rename one of them")


def _refuse_misspelled_columns(path: Path) -> None:
    """Refuse ``spilt`` before rows are read without that column: records of all splits would pass."""
    for file in parquet_files(path):
        try:
            refuse_misspelled_split(dict.fromkeys(column_names(file)))
        except RowError as error:
            raise InputError(f"{file}: {error}", remedy="rename the column, or ask for no split") from None


def _check_end(path: Path, container: Container) -> None:
    """Refuse a file that was cut off before anything is done with its beginning."""
    with opened(path) as stream:
        size = stream.seek(0, 2)
        length = min(size, 2**16)
        while True:
            stream.seek(size - length)
            tail = stream.read(length)
            if container == "json" or length == size or length > LIMIT or b"\n" in tail.rstrip():
                break
            length = min(size, 2 * length)
    if container == "json":
        is_whole = tail.rstrip().endswith((b"]", b"}"))
    else:
        last = tail.rstrip().rpartition(b"\n")[2].removeprefix(b"\xef\xbb\xbf")
        is_whole = tail.endswith(b"\n") or not isinstance(line_value(last, 0), RowError)
    if not is_whole:
        raise InputError(
            f"{path}: cut off at its end, byte {size:,} (...{shown(tail[-20:].decode('utf-8', 'replace'))})",
            remedy="copy it again",
        )


def _unknown(path: Path, probes: list[Any]) -> InputError:
    if not probes:
        return InputError(f"{path}: holds no record", remedy="add at least one")
    first = probes[0]
    if isinstance(first, RowError):
        return InputError(f"{path}: {first}", remedy="check that it is a JSON, JSON Lines or Parquet file")
    found = ", ".join(map(shown, list(first)[:10])) if isinstance(first, Mapping) else kind_of(first)
    known = ("conversations", "messages", "question", "captions", "sentences")
    others = [key for key in map(str, first) if key not in KEYS] if isinstance(first, Mapping) else []
    near = next((key for key in others if nearest(key, known)), None)
    hint = f"rename {shown(near)} to {nearest(near, known)!r}, or " if near else ""
    return InputError(
        f"{path}: records of no known layout (found {found or 'no key'})",
        remedy=f"{hint}give each 'conversations', 'messages', 'question' and 'answer', or 'caption'",
    )


def _given_id(record: Any) -> str | None:
    try:
        return record_id(record)
    except RowError:
        return None


def _relative(image: str, root: Path) -> str:
    """Return an absolute path that lies under the root relative to it, ``..`` in either aside; any other as it is."""
    if not image.startswith("/"):
        return image
    try:
        return str(Path(os.path.abspath(image)).relative_to(os.path.abspath(root)))  # noqa: PTH100 - Path's keeps ".."
    except ValueError:
        return image
