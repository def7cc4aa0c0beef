"""YOLO's oriented boxes: ``class x1 y1 x2 y2 x3 y3 x4 y4`` a line, coordinates as shares of the image's sides."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from eotune.core.errors import InputError, shown
from eotune.data.box_labels import BoxLabels, BoxLine, LineError, checked_label, collected, coordinates, text_lines
from eotune.data.captions import listed_error


def read_yolo_obb(path: Path, *, classes: Sequence[str], height: int, width: int) -> BoxLabels:
    """Read one label file.

    Args:
        path: The file.
        classes: Names, by the numbers from 0 that the file has; :func:`read_class_names` reads them.
        height: Of the image.
        width: Of the image.

    Returns:
        Boxes in pixels; none is difficult.

    Raises:
        InputError: The file cannot be read, or lines of it are wrong; the message lists the first ten.

    Source:
        Ultralytics, docs.ultralytics.com/datasets/obb (the file layout).

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "a.txt"
        >>> _ = file.write_text("1 0.1 0.1 0.5 0.1 0.5 0.3 0.1 0.3")
        >>> boxes = read_yolo_obb(file, classes=("plane", "ship"), height=20, width=10)
        >>> boxes.labels, boxes.corners[0, 2].tolist()
        (('ship',), [5.0, 6.0])
    """
    boxes, problems = scan_yolo_obb(path, classes=classes, height=height, width=width)
    if problems:
        raise listed_error(str(path), problems, remedy="correct these lines")
    return boxes


def scan_yolo_obb(path: Path, *, classes: Sequence[str], height: int, width: int) -> tuple[BoxLabels, list[str]]:
    """Read what can be read, and one line for each line that is wrong; arguments as for :func:`read_yolo_obb`."""
    boxes: list[BoxLine] = []
    problems: list[str] = []
    for number, line in text_lines(Path(path)):
        try:
            boxes.append(_box(number, line.split(), classes, np.array([width, height] * 4)))
        except LineError as error:
            problems.append(f"line {number}: {error}")
    return collected(boxes), problems


def read_class_names(path: Path) -> tuple[str, ...]:
    """Read class names from a data set's YAML (its ``names``, a list or numbered), or a text file with a name a line.

    Raises:
        InputError: The file cannot be read, or holds no names, or they are not numbered from 0.
    """
    path = Path(path)
    lines = [line for _, line in text_lines(path)]
    names: Any = lines
    if path.suffix.lower() in (".yaml", ".yml"):
        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
        except yaml.YAMLError as error:
            raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())})", remedy="check it") from None
        names = found.get("names") if isinstance(found, dict) else None
        if isinstance(names, dict):
            if sorted(names, key=str) != sorted(range(len(names)), key=str):
                raise InputError(f"{path}: names are numbered {shown(list(names))}", remedy="number them from 0")
            names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names or len(set(map(str, names))) < len(names):
        raise InputError(f"{path}: no list of different class names", remedy="give 'names' in YAML, or a name a line")
    return tuple(str(name) for name in names)


def _box(number: int, words: list[str], classes: Sequence[str], sides: np.ndarray) -> BoxLine:
    if len(words) != 9:
        hint = "; these are upright boxes" if len(words) == 5 else ""
        raise LineError(f"{len(words)} words{hint}; wanted are a class's number and eight coordinates")
    if not words[0].isdecimal() or int(words[0]) >= len(classes):
        raise LineError(f"class {shown(words[0])}; wanted is a number from 0 to {len(classes) - 1}")
    label = checked_label(classes[int(words[0])], None)
    return BoxLine((np.array(coordinates(words[1:])) * sides).tolist(), label, False, number)
