"""Labelled oriented boxes of one image, and what reading them from lines of text has in common."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eotune.core.errors import InputError, shown
from eotune.core.lookup import nearest

_FARTHEST = 1e7  # pixels; no image is as wide


@dataclass(frozen=True, eq=False)
class BoxLabels:
    """The oriented boxes of one image.

    Attributes:
        corners: float64 ``(n, 4, 2)``, x and y in pixels; outside of the image where the file says so.
        labels: Class of each.
        difficult: bool ``(n,)``, as marked by the annotators.
        lines: int64 ``(n,)``, where each stands in its file, from 1.
        gsd: Ground sampling distance in metres a pixel; None where the file does not say.
    """

    corners: np.ndarray
    labels: tuple[str, ...]
    difficult: np.ndarray
    lines: np.ndarray
    gsd: float | None = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class BoxLine:
    """One box as its line gives it: (x, y) of four corners, class, mark and place."""

    corners: list[float]
    label: str
    difficult: bool
    line: int


class LineError(Exception):
    """One line cannot be used; the message says why, without its place."""


def collected(boxes: Sequence[BoxLine], gsd: float | None = None) -> BoxLabels:
    """Join boxes into arrays."""
    return BoxLabels(
        np.array([box.corners for box in boxes], np.float64).reshape(-1, 4, 2),
        tuple(box.label for box in boxes),
        np.array([box.difficult for box in boxes], bool),
        np.array([box.line for box in boxes], np.int64),
        gsd,
    )


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number from 1 and the text of each line that is not blank; an empty file is an image without boxes.

    Raises:
        InputError: The file cannot be read, or is not text.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text", remedy="name a folder of label files (.txt)") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", remedy="check the path") from None
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, line.strip()


def coordinates(words: Sequence[str]) -> list[float]:
    """Return eight numbers that can be pixels.

    Raises:
        LineError: Some word is none.
    """
    values = []
    for word in words:
        try:
            value = float(word)
        except ValueError:
            raise LineError(f"{shown(word)} is no coordinate") from None
        if not abs(value) <= _FARTHEST:
            raise LineError(f"{shown(word)} is no coordinate")
        values.append(value)
    return values


def checked_label(label: str, classes: Sequence[str] | None) -> str:
    """Return the class.

    Raises:
        LineError: It is not among ``classes``, or could not name a folder.
    """
    if classes is not None and label not in classes:
        near = nearest(label, classes)
        raise LineError(f"unknown class {shown(label)}" + (f", did you mean {shown(near)}?" if near else ""))
    if label.startswith(".") or any(sign in label for sign in "/\\:\0") or not label.isprintable():
        raise LineError(f"class {shown(label)} cannot name a folder")
    return label
