"""What a query found, as files: GeoJSON, GeoParquet, a contact sheet."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageOps

from eotune.core.errors import InputError
from eotune.core.files import replaced, write_text
from eotune.core.lookup import unknown_name
from eotune.search.index import Hit, Index
from eotune.search.store import GEO
from eotune.search.tiles import TileReader

_SIDE, _LINE, _MARGIN = 224, 16, 8  # pixels of a contact sheet's pictures, lines of text and gaps
_WORDS = 36  # letters of PIL's own font that fit under a picture


def properties(hit: Hit) -> dict[str, Any]:
    """Return what is known of a tile, its footprint aside, for JSON."""
    return {
        "id": hit.id,
        "score": round(hit.score, 6),
        "path": hit.path,
        "window": list(hit.window),
        "time": None if hit.time is None else hit.time.isoformat(),
    }


def feature(hit: Hit) -> dict[str, Any]:
    """Return a tile as a GeoJSON feature (RFC 7946); its geometry is null where the image has no position."""
    return {"type": "Feature", "id": hit.id, "geometry": geometry(hit.footprint), "properties": properties(hit)}


def check_answers(out: Path) -> None:
    """Refuse, before any work, a file whose suffix says no format.

    Raises:
        InputError: It does not.
    """
    if out.suffix.lower() not in _WRITERS:
        raise unknown_name(f"format of --out {out}:", out.suffix.lower(), _WRITERS)


def write_answers(index: Index, hits: Sequence[Hit], out: Path) -> None:
    """Write what was found; the suffix of ``out`` chooses the format.

    Args:
        index: Where it was found; a contact sheet reads its archive.
        hits: The tiles, best first.
        out: ``.geojson``, ``.parquet`` (GeoParquet) or ``.png``.

    Raises:
        InputError: The suffix is none of these.
    """
    check_answers(out)
    _WRITERS[out.suffix.lower()](index, hits, out)


def thumbnail(index: Index, hit: Hit, reader: TileReader) -> Image.Image:
    """Return a tile's picture, grey where its image cannot be read any more."""
    try:
        pixels = reader.read(Path(index.manifest.folder) / hit.path, hit.window)
    except InputError:
        pixels = None
    if pixels is None:
        return Image.new("RGB", (_SIDE, _SIDE), (128, 128, 128))
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((_SIDE, _SIDE))
    return picture


def _write_geojson(index: Index, hits: Sequence[Hit], out: Path) -> None:
    del index
    collection = {"type": "FeatureCollection", "features": [feature(hit) for hit in hits]}
    write_text(out, json.dumps(collection, ensure_ascii=False) + "\n")


def _write_parquet(index: Index, hits: Sequence[Hit], out: Path) -> None:
    import shapely

    del index
    table = pa.table(
        {
            "id": pa.array([hit.id for hit in hits], pa.int64()),
            "score": pa.array([hit.score for hit in hits], pa.float32()),
            "path": pa.array([hit.path for hit in hits], pa.string()),
            **{
                name: pa.array([hit.window[place] for hit in hits], pa.int32())
                for place, name in enumerate(("column", "row", "width", "height"))
            },
            "time": pa.array([hit.time for hit in hits], pa.timestamp("us", "UTC")),
            "geometry": pa.array(
                [None if hit.footprint is None else shapely.to_wkb(hit.footprint) for hit in hits], pa.binary()
            ),
        }
    )
    with replaced(out) as temporary:
        pq.write_table(table.replace_schema_metadata(GEO), temporary, compression="zstd")


def _write_sheet(index: Index, hits: Sequence[Hit], out: Path) -> None:
    columns = max(1, min(5, len(hits)))
    rows = max(1, -(-len(hits) // columns))
    width, height = _SIDE + _MARGIN, _SIDE + 2 * _LINE + _MARGIN
    sheet = Image.new("RGB", (columns * width + _MARGIN, rows * height + _MARGIN), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    with TileReader(index.manifest.tiles) as reader:
        for place, hit in enumerate(hits):
            left, top = _MARGIN + place % columns * width, _MARGIN + place // columns * height
            picture = thumbnail(index, hit, reader)
            sheet.paste(ImageOps.contain(picture, (_SIDE, _SIDE)), (left, top))
            name = hit.path if len(hit.path) <= _WORDS else f"...{hit.path[3 - _WORDS :]}"
            draw.text((left, top + _SIDE + 2), f"{place + 1}.  {hit.score:.3f}", fill=(20, 20, 20))
            draw.text((left, top + _SIDE + 2 + _LINE), name, fill=(90, 90, 90))
    with replaced(out) as temporary:
        sheet.save(temporary, format="PNG")


def geometry(area: Any | None) -> dict[str, Any] | None:
    """Return a Polygon or MultiPolygon as GeoJSON (RFC 7946), outer rings against the clock; None of None."""
    if area is None:
        return None
    from shapely import MultiPolygon, to_geojson
    from shapely.geometry import polygon

    parts = [polygon.orient(part) for part in getattr(area, "geoms", [area])]
    found: dict[str, Any] = json.loads(to_geojson(parts[0] if len(parts) == 1 else MultiPolygon(parts)))
    return found


_WRITERS = {".geojson": _write_geojson, ".parquet": _write_parquet, ".png": _write_sheet}
