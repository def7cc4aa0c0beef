"""DOTA's label files: ``x1 y1 x2 y2 x3 y3 x4 y4 class difficult`` a line, behind ``imagesource:`` and ``gsd:``."""

from collections.abc import Sequence
from pathlib import Path

from eotune.core.errors import shown
from eotune.data.box_labels import BoxLabels, BoxLine, LineError, checked_label, collected, coordinates, text_lines
from eotune.data.captions import listed_error


def read_dota(path: Path, *, classes: Sequence[str] | None = None) -> BoxLabels:
    r"""Read one label file of DOTA-v1.0, 1.5 or 2.0; it may lack the head, and ``difficult`` (then 0).

    Args:
        path: The file.
        classes: Those that may occur; None for any.

    Raises:
        InputError: The file cannot be read, or lines of it are wrong; the message lists the first ten.

    Source:
        Xia et al., DOTA, CVPR 2018; the layout is that of the published ``labelTxt``.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "P0001.txt"
        >>> _ = file.write_text("imagesource:GoogleEarth\ngsd:0.25\n1 1 5 1 5 3 1 3 ship 1\n")
        >>> boxes = read_dota(file)
        >>> boxes.labels, boxes.gsd, boxes.difficult.tolist(), boxes.corners[0, 2].tolist()
        (('ship',), 0.25, [True], [5.0, 3.0])
    """
    boxes, problems = scan_dota(path, classes=classes)
    if problems:
        raise listed_error(str(path), problems, remedy="correct these lines")
    return boxes


def scan_dota(path: Path, *, classes: Sequence[str] | None = None) -> tuple[BoxLabels, list[str]]:
    """Read what can be read of a label file, and one line for each line that is wrong; see :func:`read_dota`."""
    boxes: list[BoxLine] = []
    problems: list[str] = []
    gsd = None
    for number, line in text_lines(Path(path)):
        key, _, value = line.partition(":")
        if key.strip().lower() in ("imagesource", "gsd"):
            gsd = _metres(value) if key.strip().lower() == "gsd" else gsd
            continue
        try:
            boxes.append(_box(number, line.split(), classes))
        except LineError as error:
            problems.append(f"line {number}: {error}")
    return collected(boxes, gsd), problems


def _box(number: int, words: list[str], classes: Sequence[str] | None) -> BoxLine:
    if len(words) not in (9, 10):
        raise LineError(f"{len(words)} words; wanted are eight coordinates, a class and difficult (0 or 1)")
    if _is_number(words[8]):
        raise LineError(f"class {shown(words[8])} is a number; is this YOLO-OBB?")
    difficult = words[9] if len(words) == 10 else "0"
    if not difficult.isdecimal():
        raise LineError(f"difficult is {shown(difficult)}; wanted is 0 or 1")
    return BoxLine(coordinates(words[:8]), checked_label(words[8], classes), int(difficult) > 0, number)


def _metres(text: str) -> float | None:
    value = float(text) if _is_number(text) else 0.0
    return value if 0 < value < float("inf") else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
