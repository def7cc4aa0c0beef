"""Charts as inline SVG, coloured by the page's style sheet, so that one drawing is legible in light and dark.

Every chart is 360 units wide: about its size in pixels on a phone, and half a page on a desk.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 360
_RIGHT = 40  # room for the figure behind a bar
_CHARACTER = 6.4  # width of one at 11 px, generously


@dataclass(frozen=True)
class Bar:
    """One bar with its interval.

    Attributes:
        value: Its length, at least 0.
        low: Lower end of the interval; None where there is none.
        high: Upper end.
        main: Drawn in the accent colour, else in the baseline's grey.
    """

    value: float
    low: float | None = None
    high: float | None = None
    main: bool = True


@dataclass(frozen=True)
class Point:
    """One labelled point of a scatter.

    Attributes:
        label: What it is.
        x: Position, above 0 where it is drawn (the axis is logarithmic).
        y: Position.
        low: Lower end of y's interval; None where there is none.
        high: Upper end.
    """

    label: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Return round values that cover ``[low, high]``, about ``count`` intervals of them.

    Example:
        >>> ticks(0, 23.6)
        [0.0, 10.0, 20.0, 30.0]
        >>> ticks(5.9, 6.1)
        [5.9, 5.95, 6.0, 6.05, 6.1]
    """
    if high <= low:
        low, high = low - 0.5, low + 0.5
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
    return [round(number * step, 10) for number in range(first, last + 1)]


def compact(number: float) -> str:
    """Return a count in three or four characters.

    Example:
        >>> [compact(n) for n in (950, 1000, 188_929, 2_584_161, 151_277_313)]
        ['950', '1 k', '189 k', '2.6 M', '151 M']
    """
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            scaled = number / size
            return f"{scaled:.1f}".removesuffix(".0") + unit if scaled < 10 else f"{scaled:.0f}{unit}"
    return f"{number:.0f}"


def interval_bars(groups: Sequence[tuple[str, Sequence[Bar]]], *, title: str, maximum: float | None = None) -> str:
    """Draw horizontal bars with whiskers, a group of them a label.

    Args:
        groups: (label, its bars from the top down).
        title: What is shown, for those who cannot see it.
        maximum: End of the axis, so that charts side by side share one; the largest upper end where not given.
    """
    left = max(34.0, max(len(label) for label, _ in groups) * _CHARACTER + 10)
    ends = [bar.high if bar.high is not None else bar.value for _, bars in groups for bar in bars]
    marks = ticks(0, max(maximum or 0, *ends, 1e-9))
    scale = (WIDTH - left - _RIGHT) / marks[-1]
    parts, y = [], 4.0
    for label, bars in groups:
        pitch = 15.0 if len(bars) > 1 else 22.0
        parts.append(_text(left - 8, y + pitch * len(bars) / 2 + 3, label, anchor="end", kind="strong"))
        for bar in bars:
            parts.append(_bar(bar, left, y + 2, scale, pitch - 4))
            y += pitch
        y += 10
    bottom = y - 4
    grid = "".join(
        _line(left + mark * scale, 0, left + mark * scale, bottom, "grid")
        + _text(left + mark * scale, bottom + 14, _number(mark), anchor="middle")
        for mark in marks
    )
    return _svg(bottom + 18, title, grid + "".join(parts))


def line_chart(
    points: Sequence[tuple[float, float]],
    *,
    title: str,
    x_label: str,
    mark: tuple[float, float] | None = None,
    baseline: tuple[float, str] | None = None,
    dots: bool = False,
) -> str:
    """Draw one curve.

    Args:
        points: (x, y), at least one, in the order of x.
        title: What is shown, for those who cannot see it.
        x_label: Below the axis.
        mark: A point to mark, with its y written beside it.
        baseline: A level to compare with: (y, what it is).
        dots: Whether single points are shown.
    """
    levels = [y for _, y in points] + ([baseline[0]] if baseline else [])
    y_marks = ticks(min(levels), max(levels))
    x_marks = _x_ticks(points[0][0], points[-1][0])
    left, top, bottom = 12 + _CHARACTER * max(len(_number(mark)) for mark in y_marks), 22.0, 160.0
    first, last = min(points[0][0], x_marks[0]), max(points[-1][0], x_marks[-1])
    across = (WIDTH - left - 14) / ((last - first) or 1.0)
    down = (bottom - top) / (y_marks[-1] - y_marks[0])

    def place(x: float, y: float) -> tuple[float, float]:
        return left + (x - first) * across, bottom - (y - y_marks[0]) * down

    parts = [
        _line(left, place(0, y)[1], WIDTH - 14, place(0, y)[1], "grid")
        + _text(left - 7, place(0, y)[1] + 4, _number(y), anchor="end")
        for y in y_marks
    ]
    parts += [_text(place(x, 0)[0], bottom + 15, _number(x), anchor="middle") for x in x_marks]
    parts.append(_text((left + WIDTH - 14) / 2, bottom + 30, x_label, anchor="middle"))
    if baseline:
        level = place(0, baseline[0])[1]
        parts.append(_line(left, level, WIDTH - 14, level, "dashed"))
        parts.append(_text(WIDTH - 14, level - 5, baseline[1], anchor="end"))
    spots = [place(x, y) for x, y in points]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in spots)
    parts.append(f'<path class="curve" d="{path}"/>')
    if dots or len(points) == 1:
        parts += [f'<circle class="main" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>' for x, y in spots]
    if mark:
        x, y = place(*mark)
        anchor = "end" if x > WIDTH - 80 else "start" if x < left + 60 else "middle"
        parts.append(f'<circle class="best" cx="{x:.1f}" cy="{y:.1f}" r="4.6"/>')
        parts.append(_text(x, y - 9, f"best {mark[1]:.2f}", anchor=anchor, kind="best"))
    return _svg(bottom + 36, title, "".join(parts))


def scatter(points: Sequence[Point], *, title: str, x_label: str, baseline: tuple[float, str] | None = None) -> str:
    """Draw labelled points with vertical intervals over a logarithmic axis.

    Args:
        points: At least one.
        title: What is shown, for those who cannot see it.
        x_label: Below the axis.
        baseline: A level to compare with: (y, what it is).
    """
    highest = max([p.high if p.high is not None else p.y for p in points] + ([baseline[0]] if baseline else []))
    y_marks = ticks(0, highest)
    powers = range(
        math.floor(math.log10(min(p.x for p in points))), math.ceil(math.log10(max(p.x for p in points)) + 1e-9) + 1
    )
    left, top, bottom = 12 + _CHARACTER * max(len(_number(mark)) for mark in y_marks), 10.0, 170.0
    across = (WIDTH - left - 24) / (powers[-1] - powers[0] or 1)
    down = (bottom - top) / y_marks[-1]
    parts = [
        _line(left, bottom - y * down, WIDTH - 14, bottom - y * down, "grid")
        + _text(left - 7, bottom - y * down + 4, _number(y), anchor="end")
        for y in y_marks
    ]
    parts += [_text(left + (p - powers[0]) * across, bottom + 15, compact(10.0**p), anchor="middle") for p in powers]
    parts.append(_text((left + WIDTH - 14) / 2, bottom + 30, x_label, anchor="middle"))
    if baseline:
        level = bottom - baseline[0] * down
        parts.append(_line(left, level, WIDTH - 14, level, "dashed"))
        parts.append(_text(WIDTH - 14, level - 5, baseline[1], anchor="end"))
    for point in points:
        x, y = left + (math.log10(point.x) - powers[0]) * across, bottom - point.y * down
        if point.low is not None and point.high is not None:
            parts.append(_line(x, bottom - point.low * down, x, bottom - point.high * down, "whisker"))
        parts.append(f'<circle class="main" cx="{x:.1f}" cy="{y:.1f}" r="5"/>')
        beside, anchor = (x - 10, "end") if x > WIDTH * 0.62 else (x + 10, "start")
        parts.append(_text(beside, y + 4, point.label, anchor=anchor, kind="strong"))
    return _svg(bottom + 36, title, "".join(parts))


def before_and_after(points: Sequence[tuple[str, float, float, float]], *, title: str, x_label: str) -> str:
    """Draw a grey and a coloured point for each label, joined, over a logarithmic axis.

    Args:
        points: (label, x above 0, y before, y after), at least one; the label is shown where the pointer rests.
        title: What is shown, for those who cannot see it.
        x_label: Below the axis.
    """
    x_marks = log_ticks(min(x for _, x, _, _ in points), max(x for _, x, _, _ in points))
    y_marks = ticks(0, max(max(before, after) for _, _, before, after in points))
    left, top, bottom, right = 12 + _CHARACTER * max(len(_number(y)) for y in y_marks), 10.0, 190.0, WIDTH - 18.0
    across = (right - left - 16) / (math.log10(x_marks[-1] / x_marks[0]) or 1)
    down = (bottom - top) / y_marks[-1]
    parts = [
        _line(left, bottom - y * down, right, bottom - y * down, "grid")
        + _text(left - 7, bottom - y * down + 4, _number(y), anchor="end")
        for y in y_marks
    ]
    place = {x: left + 8 + math.log10(x / x_marks[0]) * across for x in [*x_marks, *(x for _, x, _, _ in points)]}
    parts += [_text(place[x], bottom + 15, compact(x), anchor="middle") for x in x_marks]
    parts.append(_text((left + right) / 2, bottom + 30, x_label, anchor="middle"))
    for label, x, *levels in points:
        low, high = (bottom - y * down for y in levels)
        dots = "".join(
            f'<circle class="{kind}" cx="{place[x]:.1f}" cy="{y:.1f}" r="3.6"/>'
            for kind, y in (("base", low), ("main", high))
        )
        hint = html.escape(f"{label}: {levels[0]:.1f}, then {levels[1]:.1f}")
        parts.append(f"<g><title>{hint}</title>{_line(place[x], low, place[x], high, 'link')}{dots}</g>")
    return _svg(bottom + 36, title, "".join(parts))


def log_ticks(low: float, high: float) -> list[float]:
    """Return values of a logarithmic axis that cover ``[low, high]``: 1, 2 and 5 of each power, or powers where many.

    Example:
        >>> log_ticks(3, 145)
        [2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0]
        >>> log_ticks(3, 14_500)
        [1.0, 10.0, 100.0, 1000.0, 10000.0, 100000.0]
    """
    for factors in ((1, 2, 5), (1,)):
        powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
        values = [
            float(factor * 10**power) if power >= 0 else factor / 10**-power for power in powers for factor in factors
        ]
        first = max(i for i, value in enumerate(values) if value <= low)
        last = min(i for i, value in enumerate(values) if value >= high)
        if last - first < 8:
            break
    return values[first : last + 1]


def cost_chart(points: Sequence[Point], *, metric: str, baseline: tuple[float, str] | None) -> list[tuple[str, str]]:
    """Return the chart, with its caption, of what a metric takes in trained parameters; none where nothing trains.

    Args:
        points: A method each; those at 0, which train nothing, have no place on the axis.
        metric: Its name, with unit.
        baseline: What training nothing gives: (y, what it is).
    """
    shown = [point for point in points if point.x]
    if not shown:
        return []
    drawing = scatter(shown, title=f"{metric} over parameters trained", x_label="parameters trained", baseline=baseline)
    return [(f"What it takes: {metric} over parameters trained", drawing)]


def histogram(groups: Sequence[tuple[str, Sequence[float]]], *, title: str, x_label: str, bins: int = 30) -> str:
    """Draw how values are distributed, one group's columns over the other's.

    Args:
        groups: (kind: ``base`` or ``main``, its values); all share their bins. At least one value.
        title: What is shown, for those who cannot see it.
        x_label: Below the axis.
        bins: Number of columns.
    """
    every = [value for _, values in groups for value in values]
    x_marks = ticks(min(every), max(every))
    low, high = x_marks[0], x_marks[-1]
    left, top, bottom, width = 12.0, 8.0, 150.0, (high - low) / bins or 1.0
    across = (WIDTH - left - 14) / (high - low or 1.0)
    counted = [(kind, [0] * bins) for kind, _ in groups]
    for (_, counts), (_, values) in zip(counted, groups, strict=True):
        for value in values:
            counts[min(bins - 1, int((value - low) / width))] += 1
    down = (bottom - top) / max(max(counts) for _, counts in counted)
    column = max(1.0, width * across - 1)
    parts = [
        f'<rect class="{kind}" x="{left + number * width * across:.1f}" y="{bottom - count * down:.1f}" '
        f'width="{column:.1f}" height="{count * down:.1f}"/>'
        for kind, counts in counted
        for number, count in enumerate(counts)
        if count
    ]
    parts.append(_line(left, bottom, WIDTH - 14, bottom, "grid"))
    parts += [_text(left + (mark - low) * across, bottom + 15, _number(mark), anchor="middle") for mark in x_marks]
    parts.append(_text((left + WIDTH - 14) / 2, bottom + 30, x_label, anchor="middle"))
    return _svg(bottom + 36, title, "".join(parts))


def cloud(groups: Sequence[tuple[str, Sequence[tuple[float, float]]]], *, title: str) -> str:
    """Draw points without axes, as of a map whose directions mean nothing.

    Args:
        groups: (kind: ``dot`` or ``ring``, ``base``, ``main`` or ``mark``; its points), drawn one over the other.
        title: What is shown, for those who cannot see it.
    """
    xs, ys = zip(*(point for _, points in groups for point in points), strict=True)
    across, down = (max(values) - min(values) or 1.0 for values in (xs, ys))
    scale, left, top = (WIDTH - 12) / max(across, down), min(xs), max(ys)
    parts = [
        f'<circle class="{kind}" cx="{6 + (x - left) * scale:.1f}" cy="{6 + (top - y) * scale:.1f}" r="2.4"/>'
        for kind, points in groups
        for x, y in points
    ]
    return _svg(12 + down * scale, title, "".join(parts))


def _bar(bar: Bar, left: float, y: float, scale: float, height: float) -> str:
    end, middle = left + bar.value * scale, y + height / 2
    kind = "main" if bar.main else "base"
    size = f'width="{bar.value * scale:.1f}" height="{height:.0f}"'
    parts = [f'<rect class="{kind}" x="{left:.1f}" y="{y:.1f}" {size} rx="1.5"/>']
    if bar.low is not None and bar.high is not None:
        low, high = left + bar.low * scale, left + bar.high * scale
        parts.append(_line(low, middle, high, middle, "whisker"))
        parts += [_line(x, middle - 3, x, middle + 3, "whisker") for x in (low, high)]
        end = max(end, high)
    parts.append(_text(end + 6, middle + 4, f"{bar.value:.1f}", kind="strong" if bar.main else ""))
    return "".join(parts)


def _x_ticks(first: float, last: float) -> list[float]:
    """Return whole numbers below the axis, where the range holds at least two of them."""
    step = max(1, math.ceil((last - first) / 6))
    whole = [float(x) for x in range(math.ceil(first), math.floor(last) + 1) if x % step == 0]
    return whole if len(whole) > 1 else [first, last] if last > first else [first]


def _number(value: float) -> str:
    return f"{value:,.10g}" if abs(value) < 1e4 else compact(value)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, words: str, *, anchor: str = "start", kind: str = "") -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f'<text{attribute} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(words)}</text>'


def _svg(height: float, title: str, body: str) -> str:
    escaped = html.escape(title)
    return f'<svg role="img" aria-label="{escaped}" viewBox="0 0 {WIDTH} {height:.0f}">{body}</svg>'
