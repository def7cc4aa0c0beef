"""A matrix of counts as a heat map in SVG: a confusion matrix, or how classes lie in clusters."""

import html
from collections.abc import Sequence

import numpy as np

_WIDEST, _NARROWEST, _ROOM = 24.0, 9.0, 860.0  # of a cell, and of all cells where there are many; pixels
_LABELLED, _COUNTED = 11.0, 16.0  # cells from which labels, and figures in cells, are legible
_CHARACTER = 6.4
_LONGEST = 24  # characters of a label
MOST = 150  # rows or columns: of more, a page has no room


def heat_map(
    counts: np.ndarray,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    groups: Sequence[tuple[str, int]] = (),
    diagonal: bool = False,
) -> str:
    """Draw counts, coloured by their share of the row's sum.

    Names and counts are shown where the pointer rests, and beside and in the cells as far as these are large enough.

    Args:
        counts: ``(r, k)`` integers.
        rows: Names, r of them.
        columns: Names, k of them.
        title: What is shown, for those who cannot see it.
        groups: (name, number of rows) from the top down, separated by lines.
        diagonal: Rows and columns are the same; what is off the diagonal is coloured as a mistake.

    Returns:
        A drawing with its own width: of 30 columns about 900 pixels.
    """
    r, k = counts.shape
    cell = min(_WIDEST, max(_NARROWEST, _ROOM / k))
    left, top = (_CHARACTER * max(len(_short(name)) for name in names) + 10 for names in (rows, columns))
    if cell < _LABELLED:
        left = top = 8.0
    right = 12 + _CHARACTER * max([len(name) for name, _ in groups], default=0)
    width, height = left + k * cell + right, top + r * cell + 8
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    parts = [f'<rect class="bed" x="{left:.1f}" y="{top:.1f}" width="{k * cell:.1f}" height="{r * cell:.1f}"/>']
    for i, j in zip(*np.nonzero(counts), strict=True):
        kind = "mark" if diagonal and i != j else "main"
        at = left + j * cell, top + i * cell
        hint = f"{rows[i]}, {columns[j]}: {counts[i, j]}"
        parts.append(_cell(at, cell, kind, float(shares[i, j]), int(counts[i, j]), hint))
    if cell >= _LABELLED:
        parts += [_label(left - 6, top + (i + 0.5) * cell + 4, name) for i, name in enumerate(rows)]
        parts += [_label(left + (j + 0.5) * cell + 4, top - 6, name, upright=True) for j, name in enumerate(columns)]
    begin = 0
    for name, size in groups:
        y, x = top + begin * cell, left + begin * cell
        parts.append(
            f'<text class="strong" x="{left + k * cell + 6:.1f}" y="{y + size * cell / 2 + 4:.1f}">{name}</text>'
        )
        if begin:
            parts.append(f'<path class="bed" d="M{left:.1f} {y:.1f}h{k * cell:.1f}"/>')
            parts += [f'<path class="bed" d="M{x:.1f} {top:.1f}v{r * cell:.1f}"/>'] if diagonal else []
        begin += size
    return (
        f'<svg role="img" aria-label="{html.escape(title)}" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'style="width:{width:.0f}px">{"".join(parts)}</svg>'
    )


def _cell(at: tuple[float, float], side: float, kind: str, share: float, count: int, hint: str) -> str:
    x, y = at
    figure = ""
    if side >= _COUNTED:
        over = " over" if share > 0.6 else ""
        figure = f'<text class="count{over}" x="{x + side / 2:.1f}" y="{y + side / 2 + 3:.1f}">{count}</text>'
    return (
        f'<g><title>{html.escape(hint)}</title><rect class="{kind}" fill-opacity="{0.1 + 0.9 * share:.2f}" '
        f'x="{x + 0.5:.1f}" y="{y + 0.5:.1f}" width="{side - 1:.1f}" height="{side - 1:.1f}"/>{figure}</g>'
    )


def _label(x: float, y: float, name: str, *, upright: bool = False) -> str:
    place = (
        f'transform="translate({x:.1f} {y:.1f}) rotate(-90)"'
        if upright
        else f'x="{x:.1f}" y="{y:.1f}" text-anchor="end"'
    )
    return f"<text {place}>{html.escape(_short(name))}</text>"


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
