"""Predictions as CSV, JSON Lines or GeoJSON."""

import csv
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from eotune.core.errors import InputError
from eotune.core.files import replaced
from eotune.core.lookup import unknown_name
from eotune.runs.predict import Predictions

GEOJSON = ".geojson"

_TOLERANCE = 1e-6  # degrees, 0.1 m: the edges of a tile, curves in principle, become straight

Row = dict[str, str | float]


def check_out(out: Path, *, overwrite: bool) -> None:
    """Refuse, before any work, a file that could not be written.

    Raises:
        InputError: Its suffix says no known format, it is there already, or its folder cannot be written to.
    """
    if out.suffix.lower() not in _WRITERS:
        raise unknown_name(f"format of --out {out}:", out.suffix.lower(), _WRITERS)
    if out.is_dir():
        raise InputError(f"{out}: is a directory", remedy="name a file")
    if out.exists() and not overwrite:
        raise InputError(f"{out}: is there already", remedy="choose another --out, or --overwrite")
    folder = next(parent for parent in out.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(f"{out}: {folder} is no folder that can be written to", remedy="choose another --out")


def write_predictions(
    predictions: Predictions | Iterable[Predictions], out: Path, *, top: int = 1, probabilities: bool = False
) -> None:
    """Write one row, or feature, an image, atomically; the suffix of ``out`` chooses the format.

    Every format has ``image``, ``class`` and ``probability``; ``class_2``, ``probability_2`` and so on up to ``top``;
    and with ``probabilities`` one ``p_CLASS`` a class. GeoJSON has the footprints as geometries (RFC 7946), null where
    an image has none.

    Args:
        predictions: What to write; in parts, where it is not to be in memory at once.
        out: ``.csv``, ``.jsonl`` or ``.geojson``.
        top: How many of the likeliest classes, at most all.
        probabilities: Write the probability of every class.

    Raises:
        InputError: The suffix is none of these.
    """
    if out.suffix.lower() not in _WRITERS:
        raise unknown_name(f"format of {out}:", out.suffix.lower(), _WRITERS)
    with replaced(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        parts = [predictions] if isinstance(predictions, Predictions) else predictions
        _WRITERS[out.suffix.lower()](stream, (row for part in parts for row in _rows(part, top, probabilities)))


def _rows(predictions: Predictions, top: int, every: bool) -> Iterator[tuple[Row, Any | None]]:
    """Yield the properties and the outline of each image."""
    classes, shares_of = predictions.classes, predictions.probabilities.tolist()
    for image, shares, outline in zip(predictions.images, shares_of, predictions.footprints, strict=True):
        # A stable sort: among equals the first class leads, as argmax has it.
        best = np.argsort(-np.array(shares), kind="stable")[:top]
        row: Row = {"image": os.fsencode(image).decode("utf-8", "replace")}
        for rank, number in enumerate(best, 1):
            suffix = f"_{rank}" if rank > 1 else ""
            row |= {f"class{suffix}": classes[number], f"probability{suffix}": round(shares[number], 6)}
        if every:
            row |= {f"p_{name}": round(share, 6) for name, share in zip(classes, shares, strict=True)}
        yield row, outline


def _write_csv(stream: TextIO, rows: Iterator[tuple[Row, Any | None]]) -> None:
    for number, (row, _) in enumerate(rows):
        if number == 0:
            writer = csv.DictWriter(stream, fieldnames=list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)


def _write_jsonl(stream: TextIO, rows: Iterator[tuple[Row, Any | None]]) -> None:
    stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row, _ in rows)


def _write_geojson(stream: TextIO, rows: Iterator[tuple[Row, Any | None]]) -> None:
    stream.write('{"type": "FeatureCollection", "features": [')
    for number, (row, outline) in enumerate(rows):
        feature = {"type": "Feature", "geometry": _geometry(outline), "properties": row}
        stream.write(("," if number else "") + "\n" + json.dumps(feature, ensure_ascii=False))
    stream.write("\n]}\n")


def _geometry(outline: Any | None) -> dict[str, Any] | None:
    """Return a Polygon or MultiPolygon as GeoJSON, outer rings against the clock."""
    if outline is None:
        return None
    from shapely.geometry import polygon

    # A chip of centimetres keeps its shape.
    tolerance = min(_TOLERANCE, 0.01 * outline.area**0.5)
    digits = 7 if tolerance == _TOLERANCE else 9
    outline = outline.simplify(tolerance)
    parts = [polygon.orient(part) for part in getattr(outline, "geoms", [outline])]
    rings = [
        [[[round(x, digits), round(y, digits)] for x, y in ring.coords] for ring in (part.exterior, *part.interiors)]
        for part in parts
    ]
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings[0]}
    return {"type": "MultiPolygon", "coordinates": rings}


_WRITERS = {".csv": _write_csv, GEOJSON: _write_geojson, ".jsonl": _write_jsonl}
