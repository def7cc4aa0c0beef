"""The first stage of a selection: the records of a set as rows, numbered, the bad ones with the reason."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from eotune.core.errors import InputError
from eotune.core.files import sha256
from eotune.data.caption_formats import RowError, split_of
from eotune.data.instruction_parquet import parquet_files
from eotune.data.instruction_records import TextKind
from eotune.data.instructions import BadRecord, InstructionSample, InstructionSource, open_instructions
from eotune.selection.config import SelectionConfig

SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "position": pa.int64(),  # among the readable records
        "row": pa.int64(),  # of the file
        "images": pa.list_(pa.string()),
        "text": pa.string(),  # what is embedded
        "words": pa.string(),  # what is perturbed: the question, or a caption
        "beside": pa.binary(),  # digest of what the record says that is not embedded; null where it says no more
        "error": pa.string(),
    }
)
_AT_ONCE = 4096
_DIGEST = 16  # bytes: two of 10**8 texts are taken for equal with a chance of 1e-23


def open_samples(config: SelectionConfig) -> InstructionSource:
    """Open the set that a selection reads.

    Raises:
        InputError: It cannot be read.
    """
    return open_instructions(
        config.samples, images=config.images, split=config.split, ids=config.ids, without=config.without
    )


def open_targets(config: SelectionConfig) -> InstructionSource:
    """Open the set that the model shall become good at, of which the texts alone are read.

    Raises:
        InputError: It cannot be read.
    """
    if config.targets is None:
        raise ValueError("no targets")
    return open_instructions(config.targets, split=config.targets_split, ids=config.ids, check_files=False)


def refuse_splits(source: InstructionSource) -> None:
    """Refuse targets of several splits where none is chosen: those of a test split would steer the choice.

    Raises:
        InputError: There are.
    """
    found: set[str] = set()
    for record in source.records() if source.split is None else ():
        with suppress(RowError):  # a bad record, which is named where it is read
            found |= {split for split in [split_of(record)] if split} if isinstance(record, Mapping) else set()
    if len(found) > 1:
        raise InputError(
            f"{source.path}: targets of {len(found)} splits ({', '.join(sorted(found))})",
            remedy="choose one: --set targets_split=NAME",
        )


def sample_tables(source: InstructionSource, kind: TextKind) -> Iterator[pa.Table]:
    """Yield all records in order; a bad one has the reason in ``error`` and an id that no record has."""
    position = 0

    def row(found: InstructionSample | BadRecord) -> dict[str, Any]:
        nonlocal position
        if isinstance(found, BadRecord):
            named = f"row {found.row}" if found.id is None else f"row {found.row}, id {found.id}"
            return {"id": named, "position": -1, "row": found.row, "error": found.reason}
        number, position = position, position + 1
        embedded = kind if found.text(kind) else "both"
        text, beside = found.text(embedded), found.beside(embedded)
        return {
            "id": found.id, "position": number, "row": found.row, "images": found.images, "text": text,
            "words": found.question or found.answer, "beside": text_digest(beside) if beside else None,
        }  # fmt: skip

    samples = source.samples()
    while batch := list(islice(samples, _AT_ONCE)):
        yield pa.Table.from_pylist([row(one) for one in batch], schema=SCHEMA)


def text_digest(text: str) -> bytes:
    """Return a digest of a text, letter case and spaces aside."""
    return hashlib.blake2b(" ".join(text.lower().split()).encode(), digest_size=_DIGEST).digest()


def source_checksums(path: Path) -> dict[str, str]:
    """Return the SHA-256 of the set's files, by name."""
    return {file.name: sha256(file) for file in (parquet_files(path) if path.is_dir() else [path])}
