"""Which tiles a query may find: where they lie, when they were taken, what their image is called."""

import fnmatch
import re
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from eotune.core.errors import InputError, shown
from eotune.search.acquired import parse_time

_DAY = 86_400_000_000  # microseconds


class Columns(Protocol):
    """Tiles, a column at a time."""

    def column(self, name: str) -> Any:
        """Return a column as an Arrow array; ``path`` as a dictionary."""


@dataclass(frozen=True)
class Filter:
    """What a tile has to be; a tile without position or time passes no filter of those.

    Attributes:
        bbox: West, south, east, north in degrees: its footprint meets this box, whose west may lie east of its east,
            across the antimeridian.
        since: It was taken at this time or later, microseconds since 1970.
        until: It was taken before this time.
        path: A pattern such as ``2024/*.tif`` that its image's path in the archive fits; ``*`` spans folders too.
    """

    bbox: tuple[float, float, float, float] | None = None
    since: int | None = None
    until: int | None = None
    path: str | None = None

    def rows(self, segment: Columns) -> np.ndarray | None:
        """Return which rows of a segment pass, ``(rows,)`` bool; None for all."""
        keep: np.ndarray | None = None
        for passes in (self._in_time, self._of_path, self._in_box):  # the dearest last
            keep = passes(segment, keep)
        return keep

    def _in_time(self, segment: Columns, keep: np.ndarray | None) -> np.ndarray | None:
        if self.since is None and self.until is None:
            return keep
        column = segment.column("time")
        times = column.cast(pa.int64()).fill_null(0).to_numpy()
        found = column.is_valid().to_numpy(zero_copy_only=False)
        found = found if self.since is None else found & (times >= self.since)
        return found if self.until is None else found & (times < self.until)

    def _of_path(self, segment: Columns, keep: np.ndarray | None) -> np.ndarray | None:
        if self.path is None:
            return keep
        column = segment.column("path")
        fits = re.compile(fnmatch.translate(self.path)).match
        matching = np.array([fits(path) is not None for path in column.dictionary.to_pylist()], bool)
        found = matching[column.indices.to_numpy()]
        return found if keep is None else keep & found

    def _in_box(self, segment: Columns, keep: np.ndarray | None) -> np.ndarray | None:
        if self.bbox is None:
            return keep
        west, south, east, north = (segment.column(name).to_numpy(zero_copy_only=False) for name in
                                    ("west", "south", "east", "north"))  # fmt: skip
        left, bottom, right, top = self.bbox
        # Bounds that are not known are NaN, of which no comparison is true.
        halves = [(left, right)] if left <= right else [(left, 180.0), (-180.0, right)]
        meets = np.logical_or.reduce([(west <= end) & (east >= start) for start, end in halves])
        rows = np.flatnonzero(meets if keep is None else meets & keep)
        rows = rows[(south[rows] <= top) & (north[rows] >= bottom)]
        west, south, east, north = (bound[rows] for bound in (west, south, east, north))
        inside = np.logical_or.reduce([(west >= start) & (east <= end) for start, end in halves])
        inside &= (south >= bottom) & (north <= top)
        meets = np.zeros(len(meets), bool)
        meets[rows] = True
        # Of those whose bounds only meet the box, the outline decides: it need not fill its bounds.
        unsure = rows[~inside]
        if len(unsure):
            import shapely

            outlines = shapely.from_wkb(
                segment.column("geometry").take(pa.array(unsure)).to_numpy(zero_copy_only=False)
            )
            meets[unsure] = shapely.intersects(outlines, box_of(self.bbox))
        return meets


def make_filter(
    bbox: tuple[float, float, float, float] | str | None = None,
    since: str | None = None,
    until: str | None = None,
    path: str | None = None,
) -> Filter:
    """Return a filter from what a user writes.

    Args:
        bbox: West, south, east, north in degrees, or these with commas between.
        since: A date such as 2024-01-31, or a time in ISO 8601.
        until: Likewise; a date's day is within.
        path: See :class:`Filter`.

    Raises:
        InputError: One of these has no meaning.

    Example:
        >>> make_filter("5,45,15,55").bbox
        (5.0, 45.0, 15.0, 55.0)
    """
    first, last = _time("since", since), _time("until", until)
    if last is not None and until is not None and len(until.strip()) <= len("2024-01-31"):
        last += _DAY
    if first is not None and last is not None and first >= last:
        raise InputError(f"since {since} comes after until {until}", remedy="exchange them")
    return Filter(None if bbox is None else _box(bbox), first, last, path)


def box_of(bbox: tuple[float, float, float, float]) -> Any:
    """Return a box as a shapely geometry, in two parts where it lies across the antimeridian."""
    from shapely import MultiPolygon, box

    west, south, east, north = bbox
    if west <= east:
        return box(west, south, east, north)
    return MultiPolygon([box(west, south, 180, north), box(-180, south, east, north)])


def _box(value: tuple[float, float, float, float] | str) -> tuple[float, float, float, float]:
    try:
        numbers = [float(one) for one in (value.split(",") if isinstance(value, str) else value)]
        west, south, east, north = numbers
    except (TypeError, ValueError):
        raise InputError(f"bbox {shown(value)}: is not four numbers", remedy="give west,south,east,north") from None
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90):
        raise InputError(
            f"bbox {shown(value)}: no box on Earth", remedy="give west,south,east,north in degrees, south below north"
        )
    return west, south, east, north


def _time(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    time = parse_time(text)
    if time is None:
        raise InputError(f"{name} {shown(text)}: is no date", remedy="write it as 2024-01-31")
    return time


def bounds(area: Any | None) -> tuple[float | None, ...]:
    """Return west, south, east and north of a footprint; one that the antimeridian cuts has the whole width.

    Its outline decides then, as of every tile whose bounds only meet the box.
    """
    return (None,) * 4 if area is None else tuple(map(float, area.bounds))


def surrounding(
    west: np.ndarray, south: np.ndarray, east: np.ndarray, north: np.ndarray
) -> tuple[float, float, float, float] | None:
    """Return the smallest box around many, in degrees: west is greater than east where it lies across the antimeridian.

    Args:
        west: ``(n,)``; NaN where there is no position. What the antimeridian cuts has -180 and 180, as from `bounds`.
        south: Likewise.
        east: Likewise.
        north: Likewise.

    Example:
        >>> surrounding(np.array([179.0, -180.0, -179.9]), np.zeros(3), np.array([179.5, 180.0, -179.0]), np.ones(3))
        (179.0, 0.0, -179.0, 1.0)
    """
    known = ~np.isnan(west)
    if not known.any():
        return None
    west, south, east, north = west[known], south[known], east[known], north[known]
    cut = (west == -180) & (east == 180)
    if cut.all():  # nothing says which side of the antimeridian is the narrower
        return -180.0, float(south.min()), 180.0, float(north.max())
    ends = np.array([-180.0, 180.0] if cut.any() else [])
    west, east = np.concatenate([west[~cut], ends]), np.concatenate([east[~cut], ends])
    order = np.argsort(west)
    west, east = west[order], np.maximum.accumulate(east[order])
    gaps = np.append(west[1:] - east[:-1], west[0] + 360 - east[-1])
    widest = int(np.argmax(gaps))
    box = west[(widest + 1) % len(west)], south.min(), east[widest], north.max()
    return tuple(map(float, box))  # type: ignore[return-value]  # four
