"""One record of an instruction set, in any layout, as its images and the turns said about them."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from eotune.core.errors import shown
from eotune.core.lookup import nearest
from eotune.data.caption_formats import Format, RowError, captioned, is_encodable, kind_of, value_of
from eotune.data.instruction_placeholders import without_placeholders

InstructionFormat = Literal["conversations", "messages", "question_answer", "captions"]
Role = Literal["user", "assistant", "system"]
TextKind = Literal["both", "question", "answer"]

ROLES: dict[str, Role] = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "model": "assistant",
    "system": "system",
}  # fmt: skip
# The keys that are read; tables are read without their other columns.
KEYS = (
    "id", "image", "images", "conversations", "messages", "system", "question", "answer", "caption", "captions",
    "sentences", "filename", "filepath", "imgid", "split",
)  # fmt: skip
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|data:")


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side says, with the image placeholders that the file has."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Content:
    """What one sample of a record holds: its name, if it has one, its images as written, and the turns."""

    id: str | None
    images: tuple[str, ...]
    turns: tuple[Turn, ...]


def format_of(row: Any) -> InstructionFormat | None:
    """Return the layout of a record by its keys, or None where it is in none.

    Example:
        >>> format_of({"image": "a.png", "messages": []}), format_of({"image": "a.png", "text": ""})
        ('messages', None)
    """
    if not isinstance(row, Mapping):
        return None
    if "conversations" in row:
        return "conversations"
    if "messages" in row:
        return "messages"
    if "question" in row and "answer" in row:
        return "question_answer"
    return "captions" if any(key in row for key in ("caption", "captions", "sentences")) else None


def contents(kind: InstructionFormat, row: Any) -> list[Content]:
    """Return the samples of a record: one, but of captions one each.

    Raises:
        RowError: The record cannot be used; the message says why.
    """
    if isinstance(row, RowError):
        raise row
    if not isinstance(row, Mapping):
        raise RowError(f"{kind_of(row)} where an object was expected")
    if kind == "captions":
        return _captions(row)
    turns, placed = _LAYOUTS[kind](row)
    images = tuple(_images(row) or placed)
    if not images:
        raise RowError("has no image; keep records of text alone in a file of their own")
    if not any(turn.role == "assistant" and turn.text.strip() for turn in turns):
        raise RowError("has no answer; add one, or remove the record")
    if not all(is_encodable(text) for text in (*images, *(turn.text for turn in turns))):
        raise RowError("holds a lone surrogate (\\udXXX); write it again")
    return [Content(record_id(row), images, tuple(turns))]


def record_id(row: Any) -> str | None:
    """Return what a record calls itself, or None where it has no name.

    Raises:
        RowError: Its ``id`` is neither text nor an integer.
    """
    value = row.get("id") if isinstance(row, Mapping) else None
    if value is None or value == "":
        return None
    if not isinstance(value, str | int) or isinstance(value, bool):
        remedy = "make it text or an integer, or number the records instead (ids: row)"
        raise RowError(f"'id' is {kind_of(value)} ({shown(value)}); {remedy}")
    if not is_encodable(str(value)):
        raise RowError("'id' holds a lone surrogate (\\udXXX); write it again")
    return str(value)


def question_of(turns: Sequence[Turn]) -> str:
    """Return the first that the user says, without image placeholders; nothing for a caption."""
    return next((without_placeholders(turn.text) for turn in turns if turn.role == "user"), "")


def answer_of(turns: Sequence[Turn]) -> str:
    """Return the first that the assistant says."""
    return next((without_placeholders(turn.text) for turn in turns if turn.role == "assistant"), "")


def caption_key(row: Mapping[str, Any]) -> str:
    """Return the key of a record's captions, as :func:`~eotune.data.caption_formats.captioned` chooses it."""
    if is_karpathy(row):
        return "sentences"
    return "captions" if "captions" in row or "caption" not in row else "caption"


def is_karpathy(row: Mapping[str, Any]) -> bool:
    """Return whether captions are those of Karpathy's layout."""
    return "sentences" in row and "filename" in row


def _captions(row: Mapping[str, Any]) -> list[Content]:
    layout: Format = "karpathy" if is_karpathy(row) else "jsonl"
    record = captioned(layout, "", row)
    name = record.id if layout == "karpathy" else record_id(row)
    many = len(record.captions) > 1
    if not all(is_encodable(text) for text in (name or "", record.image)):
        raise RowError("its name or its image holds a lone surrogate (\\udXXX); write it again")
    return [
        Content(f"{name}#{i}" if name and many else name, (record.image,), (Turn("assistant", caption),))
        for i, caption in enumerate(record.captions)
    ]


def _conversation(key: str) -> Callable[[Mapping[str, Any]], tuple[list[Turn], list[str]]]:
    def read(row: Mapping[str, Any]) -> tuple[list[Turn], list[str]]:
        values = value_of(row, key)
        if not isinstance(values, list) or not values:
            found = "empty" if isinstance(values, list) else kind_of(values)
            raise RowError(f"{key!r} is {found}; it must be a list of turns")
        turns, images = [], []
        if isinstance(row.get("system"), str) and row["system"].strip():
            turns.append(Turn("system", row["system"]))
        for position, value in enumerate(values, start=1):
            try:
                turn, placed = _turn(value)
            except RowError as error:
                raise RowError(f"turn {position}: {error}") from None
            turns.append(turn)
            images += placed
        return turns, images

    return read


def _turn(value: Any) -> tuple[Turn, list[str]]:
    if not isinstance(value, Mapping):
        raise RowError(f"{kind_of(value)} where an object was expected")
    role = value_of(value, "role" if "role" in value else "from")
    known = ROLES.get(role) if isinstance(role, str) else None
    if known is None:
        near = nearest(str(role), ROLES)
        hint = f"did you mean {near!r}?" if near else f"known are {', '.join(ROLES)}"
        raise RowError(f"role {shown(role)} is not known; {hint}")
    key = "content" if "content" in value else "value"
    text = value_of(value, key)
    if isinstance(text, str):
        return Turn(known, text), []
    if not isinstance(text, list):
        raise RowError(f"{key!r} is {kind_of(text)}; it must be text or a list of parts")
    return _joined(known, text)


def _joined(role: Role, parts: Sequence[Any]) -> tuple[Turn, list[str]]:
    """Join parts such as ``{"type": "image"}`` and ``{"type": "text", "text": ...}`` to one text."""
    texts, images = [], []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "text":
            text = value_of(part, "text")
            if not isinstance(text, str):
                raise RowError(f"'text' is {kind_of(text)}; it must be text")
            texts.append(text)
        elif kind in ("image", "image_url"):
            texts.append("<image>")
            named = next((part[key] for key in ("image", "image_url", "path", "url") if part.get(key)), None)
            named = named.get("url", named) if isinstance(named, Mapping) else named
            images += [] if named is None else [_image(named)]
        else:
            raise RowError(f"a part of type {shown(kind)}; known are text and image")
    return Turn(role, "\n".join(texts)), images


def _question_answer(row: Mapping[str, Any]) -> tuple[list[Turn], list[str]]:
    texts = []
    for key in ("question", "answer"):
        value = value_of(row, key)
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise RowError(f"{key!r} is {kind_of(value)}; it must be text or an integer")
        texts.append(str(value))
    return [Turn("user", texts[0]), Turn("assistant", texts[1])], []


_LAYOUTS: dict[str, Callable[[Mapping[str, Any]], tuple[list[Turn], list[str]]]] = {
    "conversations": _conversation("conversations"),
    "messages": _conversation("messages"),
    "question_answer": _question_answer,
}


def _images(row: Mapping[str, Any]) -> list[str]:
    key = "images" if row.get("images") is not None else "image"
    value = row.get(key)
    if value is None:
        return []
    return [_image(one) for one in (value if isinstance(value, list) else [value])]


def _image(value: Any) -> str:
    is_struct = isinstance(value, Mapping)
    if isinstance(value, bytes) or (is_struct and value.get("bytes") is not None):
        raise RowError("an image lies in the file itself; write it to a file of its own, and its path here")
    if is_struct:
        value = value.get("path")
    if not isinstance(value, str) or not value.strip():
        found = "empty" if isinstance(value, str) else kind_of(value)
        raise RowError(f"an image is {found}; it must be a path")
    if _ADDRESS.match(value):
        raise RowError(f"image {shown(value)} is an address; download it, and write its path")
    return value
