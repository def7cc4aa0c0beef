"""Where tiles lie, as a drawing: a raster's tiles in longitude and latitude, those that were found stand out."""

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any

from eotune.runs.charts import WIDTH

_MARGIN = 6


def footprint_map(groups: Sequence[tuple[str, Iterable[Any]]], *, title: str, width: int = WIDTH) -> str:
    """Draw footprints, a degree of longitude as long as it is in the middle of them.

    Args:
        groups: (kind: ``tile``, or ``tile found``; its polygons in longitude and latitude), one drawn over the other.
        title: What is shown, for those who cannot see it.
        width: Of the drawing.

    Example:
        >>> from shapely import box
        >>> footprint_map([("tile", [box(9, 48, 10, 49)])], title="a tile").count("<polygon")
        1
    """
    parts = [
        (kind, list(part.exterior.coords))
        for kind, areas in groups
        for area in areas
        for part in getattr(area, "geoms", [area])
    ]
    longitudes, latitudes = zip(*(point for _, ring in parts for point in ring), strict=True)
    west, north = min(longitudes), max(latitudes)
    narrow = math.cos(math.radians((north + min(latitudes)) / 2))
    wide, high = max((max(longitudes) - west) * narrow, 1e-9), max(north - min(latitudes), 1e-9)
    scale = (width - 2 * _MARGIN) / max(wide, high)
    drawn = "".join(
        f'<polygon class="{kind}" points="'
        + " ".join(
            f"{_MARGIN + (x - west) * narrow * scale:.1f},{_MARGIN + (north - y) * scale:.1f}" for x, y in ring[:-1]
        )
        + '"/>'
        for kind, ring in parts
    )
    size = f"0 0 {2 * _MARGIN + wide * scale:.0f} {2 * _MARGIN + high * scale:.0f}"
    return f'<svg role="img" aria-label="{html.escape(title)}" viewBox="{size}">{drawn}</svg>'
