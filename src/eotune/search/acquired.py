"""When an image was taken: from its tags, or from its file's name."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

# 20240131, 20240131T103021, 2024-01-31, 2024_01_31: as Sentinel, Landsat and most providers name their files.
_USUAL = r"(?<!\d)(?P<time>(?:19|20)\d\d([-_]?)(?:0[1-9]|1[0-2])\2(?:0[1-9]|[12]\d|3[01])(?:T\d{6})?)(?!\d)"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def check_pattern(pattern: str) -> None:
    """Refuse what is no pattern of a time.

    Raises:
        ValueError: It is no regular expression, or has no group ``time``.
    """
    try:
        groups = re.compile(pattern).groupindex
    except re.error as error:
        raise ValueError(f"time_pattern is no regular expression ({error})") from None
    if "time" not in groups:
        raise ValueError("time_pattern wants a group (?P<time>...)")


def acquired(path: Path, source: Any, pattern: str | None = None) -> int | None:
    """Return when an image was taken, in microseconds since 1970 UTC.

    The first of these that says: GDAL's ``ACQUISITIONDATETIME``, the file's name, the tag ``TIFFTAG_DATETIME`` (which
    may be when the file was written).

    Args:
        path: Of the image.
        source: The image opened by rasterio.
        pattern: Regular expression with a group ``time``, searched for in the file's name: a date such as 20240131 or
            2024-01-31, with or without a time of day. None for the usual ones.
    """
    found = re.search(pattern or _USUAL, path.name)
    candidates = (
        source.tags(ns="IMAGERY").get("ACQUISITIONDATETIME"),
        found["time"] if found else None,
        source.tags().get("TIFFTAG_DATETIME"),
    )
    return next((time for text in candidates if text and (time := parse_time(text)) is not None), None)


def parse_time(text: str) -> int | None:
    """Return a time in microseconds since 1970, UTC unless it says otherwise; None where it is none.

    Example:
        >>> parse_time("1970-01-02"), parse_time("1970:01:01 00:00:01"), parse_time("soon")
        (86400000000, 1000000, None)
    """
    text = re.sub(r"^(\d{4})[:_](\d\d)[:_](\d\d)", r"\1-\2-\3", text.strip())
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return ((time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)
