"""JSON and JSON Lines files of records, of any size: read record by record, and each record's own text kept.

Pieces of a file put together again, all of them, are the file byte for byte; some of them are a file of the same layout
with some of the records.
"""

import codecs
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from eotune.core.errors import InputError, shown
from eotune.data.caption_formats import RowError

LIMIT = 2**26  # bytes of one record; more is no record but a missing bracket or line end
_CHUNK = 2**20
_SLACK = 16  # what is found so close to the end of what was read may depend on what is not read yet
_DIGITS = 4000  # of an integer; Python refuses to convert longer ones
_SPACE = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True, slots=True)
class Piece:
    """One record as it stands in its file.

    Attributes:
        before: What stands between the record before and this one.
        text: The record, with its line end if it is a line; empty only in the last piece, which is what follows the
            last record.
        value: The record, read; a :class:`RowError` where a line cannot be.
    """

    before: bytes
    text: bytes
    value: Any


def kept_pieces(pieces: Iterator[Piece], keep: Callable[[Piece], bytes | None]) -> Iterator[bytes]:
    """Yield the bytes of a file that has some of the records.

    Args:
        pieces: All of them.
        keep: Returns what to write in a record's place, or None to leave it out; called once a record, in order.
    """
    leading: bytes | None = None  # what stands before the first record, until one is kept
    is_first, is_kept = True, False
    for piece in pieces:
        if is_first:
            leading, is_first = piece.before, False
        if not piece.text:
            if not is_kept and leading is not piece.before:
                yield leading or b""
            yield piece.before
            return
        text = keep(piece)
        if text is not None:
            yield piece.before if is_kept else leading or b""
            yield text
            is_kept = True


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading.

    Raises:
        InputError: It is missing, a directory, or cannot be read.
    """
    try:
        with path.open("rb") as stream:
            yield stream
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", remedy="check the path") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a directory", remedy="name a file inside it") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})", remedy="check the path") from None


def line_pieces(path: Path) -> Iterator[Piece]:
    """Yield the lines of a JSON Lines file; empty ones belong to the next.

    Raises:
        InputError: The file cannot be read, or a line is longer than 64 MiB.
    """
    with opened(path) as stream:
        before: list[bytes] = []
        number = 0
        while line := stream.readline(LIMIT + 1):
            number += 1
            if len(line) > LIMIT:
                raise InputError(f"{path}: line {number} is longer than 64 MiB", remedy="write one record a line")
            if number == 1 and line.startswith(codecs.BOM_UTF8):
                before.append(codecs.BOM_UTF8)
                line = line[len(codecs.BOM_UTF8) :]
            if not line.strip():
                before.append(line)
                continue
            yield Piece(b"".join(before), line, line_value(line, number))
            before.clear()
        yield Piece(b"".join(before), b"", None)


def line_value(line: bytes, number: int) -> Any:
    """Return what a line holds, or a :class:`RowError` that says why it cannot be read."""
    try:
        text = line.decode("utf-8")
        end = _SPACE.match(text).end()  # type: ignore[union-attr]
        value, end = _DECODER.raw_decode(text, end)
        rest = _SPACE.match(text, end).end()  # type: ignore[union-attr]
        if rest < len(text):
            return RowError(f"line {number}: more than one value (column {rest + 1}); write one record a line")
    except json.JSONDecodeError as error:
        return RowError(f"line {number}: not valid JSON at column {error.pos + 1} ({error.msg})")
    except UnicodeDecodeError as error:
        return RowError(f"line {number}: not UTF-8 text (byte {error.start} of the line)")
    except RecursionError:
        return RowError(f"line {number}: JSON nested too deeply")
    return value


def document_pieces(path: Path, key: str) -> Iterator[Piece]:
    """Yield the elements of a file that is a list, or an object with a list under ``key``.

    Raises:
        InputError: The file cannot be read, is not UTF-8, not JSON from its first to its last byte, or neither of the
            two; the message has the line and column.
    """
    with opened(path) as stream:
        yield from _Window(str(path), stream).pieces(key)


def element_pieces(text: bytes, key: str) -> Iterator[Piece]:
    """Yield the elements of the list under ``key`` in one record, as :func:`document_pieces` does those of a file.

    Of lists under equal keys it is the last, which alone counts.
    """
    members = json.JSONDecoder(object_pairs_hook=tuple, parse_int=str).decode(text.decode())
    lists = sum(name == key and isinstance(value, list) for name, value in members)
    yield from _Window("record", io.BytesIO(text)).pieces(key, skip=lists - 1)


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _DIGITS else digits


_DECODER = json.JSONDecoder(parse_int=_integer)


class _Window:
    """A JSON document of which only the part that is being read is in memory.

    ``_at`` is where reading goes on, ``_start`` where the text begins that no piece has taken yet.
    """

    def __init__(self, name: str, stream: BinaryIO) -> None:
        self._name = name
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._bytes = 0
        self._buffer = ""
        self._start = self._at = 0
        self._line, self._column = 1, 1  # of the buffer's first character

    def pieces(self, key: str, *, skip: int = 0) -> Iterator[Piece]:
        if not self._peek():
            raise InputError(f"{self._name}: the file is empty", remedy="write or copy it again")
        if self._buffer[self._at] == "\ufeff":
            self._at += 1
        opening = self._peek()
        if opening == "[":
            yield from self._elements()
        elif opening == "{":
            yield from self._members(key, skip)
        else:
            raise self._wrong("neither a list nor an object", self._at)
        if self._peek():
            raise self._wrong("more follows the end of the document", self._at)
        yield Piece(self._take(), b"", None)

    def _elements(self) -> Iterator[Piece]:
        self._at += 1
        if self._peek() == "]":
            self._at += 1
            return
        while True:
            self._peek()
            before = self._take()
            value = self._value()
            yield Piece(before, self._take(), value)
            if not self._goes_on("]"):
                return

    def _members(self, key: str, skip: int) -> Iterator[Piece]:
        self._at += 1
        found: list[str] = []
        is_found = False
        more = self._peek() != "}"
        if not more:
            self._at += 1
        while more:
            self._peek()
            name = self._value()
            if self._peek() != ":" or not isinstance(name, str):
                raise self._wrong("expecting a key and ':'", self._at)
            self._at += 1
            if self._peek() == "[" and name == key and not is_found and skip <= 0:
                is_found = True
                yield from self._elements()
            else:
                skip -= name == key and self._peek() == "["
                found.append(shown(name))
                self._value()
            more = self._goes_on("}")
        if not is_found:
            raise InputError(
                f"{self._name}: one object, without a list {key!r} (found {', '.join(found[:10]) or 'no key'})",
                remedy="write a list of records, or one record a line",
            )

    def _goes_on(self, closing: str) -> bool:
        mark = self._peek()
        if mark not in (",", closing) or not mark:
            raise self._wrong(f"expecting ',' or '{closing}'", self._at)
        self._at += 1
        return mark == ","

    def _peek(self) -> str:
        """Return the next character that is no white space, or nothing at the end."""
        while True:
            self._at = _SPACE.match(self._buffer, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._read_on():
                return ""

    def _value(self) -> Any:
        while True:
            try:
                value, end = _DECODER.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                near_end = error.pos >= len(self._buffer) - _SLACK or error.msg.startswith("Unterminated string")
                if not (near_end and self._read_on()):
                    raise self._wrong(error.msg, error.pos) from None
            except RecursionError:
                raise self._wrong("nested too deeply", self._at) from None
            else:
                if end < len(self._buffer) - _SLACK or not self._read_on():  # 12. may be the beginning of 12.5
                    self._at = end
                    return value

    def _take(self) -> bytes:
        text = self._buffer[self._start : self._at]
        self._start = self._at
        return text.encode("utf-8")

    def _read_on(self) -> bool:
        """Read more, twice as much as is waiting, so that a long record is not parsed over and over."""
        waiting = len(self._buffer) - self._start
        if waiting > LIMIT:
            raise self._wrong("more than 64 MiB without the end of a record", self._start)
        data = self._stream.read(max(_CHUNK, waiting))
        pending = len(self._decoder.getstate()[0])  # bytes of a character that the last read cut
        try:
            text = self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            at = self._bytes - pending + error.start
            raise InputError(f"{self._name}: not UTF-8 text (byte {at})", remedy="save it as UTF-8") from None
        self._bytes += len(data)
        if not data:
            return False
        self._line, self._column = self._place(self._start)
        self._buffer = self._buffer[self._start :] + text
        self._at -= self._start
        self._start = 0
        return True

    def _place(self, at: int) -> tuple[int, int]:
        lines = self._buffer.count("\n", 0, at)
        if not lines:
            return self._line, self._column + at
        return self._line + lines, at - self._buffer.rfind("\n", 0, at)

    def _wrong(self, reason: str, at: int) -> InputError:
        line, column = self._place(at)
        is_end = at >= len(self._buffer)
        return InputError(
            f"{self._name}: not valid JSON at line {line}, column {column} ({reason}"
            f"{'; the file ends here' if is_end else ''})",
            remedy="check that the file is complete",
        )
