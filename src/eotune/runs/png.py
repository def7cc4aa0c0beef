"""A drawing of matplotlib as a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from eotune.core.files import replaced

BASE, MAIN, MARK = "#a9b3bf", "#2f6f6a", "#c46a2b"  # before, after, and what stands out: as in report.html


def draw(path: Path, paint: Callable[[Any], None], *, size: tuple[float, float] = (7, 3.6)) -> None:
    """Write what ``paint`` draws on a figure of ``size`` inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    paint(figure)
    with replaced(path) as temporary:
        figure.savefig(temporary, dpi=120)
