"""`eotune query`: places in an indexed archive, by words or by an image."""

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    index: Annotated[Path, typer.Argument(help="Folder that eotune index made.")],
    text: Annotated[str | None, typer.Argument(help="What to look for, in words.")] = None,
    image: Annotated[Path | None, typer.Option(help="Look for what this image shows.")] = None,
    like: Annotated[int | None, typer.Option(help="Look for more like the tile of this id.")] = None,
    top: Annotated[int, typer.Option(help="How many at most.")] = 10,
    bbox: Annotated[str | None, typer.Option(help="West,south,east,north in degrees.")] = None,
    since: Annotated[str | None, typer.Option(help="Taken on this date or later.")] = None,
    until: Annotated[str | None, typer.Option(help="Taken on this date or earlier.")] = None,
    path: Annotated[str | None, typer.Option(help="Pattern of paths in the archive, such as '2024/*.tif'.")] = None,
    min_score: Annotated[float, typer.Option(help="Least score.")] = -1.0,
    out: Annotated[Path | None, typer.Option(help="Write .geojson, .parquet or .png instead.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a GeoJSON feature collection.")] = False,
) -> None:
    """Find the tiles of an archive that are nearest to words, to an image, or to both."""
    from eotune.data.footprints import middle
    from eotune.search.answers import check_answers, feature, write_answers
    from eotune.search.filters import make_filter
    from eotune.search.index import Index

    if out is not None:
        check_answers(out)
    where = make_filter(bbox, since, until, path)
    opened = Index.open(index)
    hits = opened.search(text, image=image, like=like, k=top, minimum=min_score, where=where)
    if out is not None:
        write_answers(opened, hits, out)
    if as_json:
        typer.echo(json.dumps({"type": "FeatureCollection", "features": [feature(hit) for hit in hits]}))
    elif out is not None:
        typer.echo(f"{out}: {len(hits)} tiles")
    else:
        for hit in hits:
            place = "" if hit.footprint is None else "  {:.4f},{:.4f}".format(*middle(hit.footprint))
            typer.echo(f"{hit.score:.4f}  {hit.id:>8}  {hit.path}  {','.join(map(str, hit.window))}{place}")
