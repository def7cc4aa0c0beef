"""`eotune index`: an archive of images, made searchable."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def command(
    folder: Annotated[Path, typer.Argument(help="Folder of GeoTIFF, JPEG 2000, PNG and JPEG, or a STAC file.")],
    encoder: Annotated[str, typer.Option(help="Encoder of images and texts, or run:DIR.")],
    out: Annotated[Path, typer.Option(help="The index's folder.")],
    image_size: Annotated[int | None, typer.Option(min=1, help="Side in pixels that the model sees.")] = None,
    tile_size: Annotated[str, typer.Option(help="Side of a tile: pixels, or metres such as 640m.")] = "512",
    overlap: Annotated[float, typer.Option(help="Share of a tile that its neighbour has too.")] = 0.0,
    max_nodata: Annotated[float, typer.Option(help="Leave out tiles with a larger share without data.")] = 0.5,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE, such as bands.scaling=product: docs/search.md.")
    ] = None,
    engine: Annotated[str, typer.Option(help="local, or ray for a cluster.")] = "local",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes, or actors of Ray.")] = None,
    cpus: Annotated[float | None, typer.Option("--cpus-per-worker", min=0, help="Cores of an actor of Ray.")] = None,
    gpus: Annotated[
        float | None, typer.Option("--gpus-per-worker", min=0, help="GPUs of an actor of Ray, or a share of one.")
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32, bf16 or fp16.")] = "fp32",
    batch_size: Annotated[int, typer.Option(min=1, help="Tiles at once.")] = 32,
    asset: Annotated[str | None, typer.Option(help="Key or role of STAC assets.")] = None,
    store: Annotated[
        str | None, typer.Option(help="exact, lance, or a LanceDB database's URL such as s3://bucket/folder.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what was interrupted.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Index an archive for `eotune query`, or bring its index up to date: only new and changed images are embedded.

    Images that cannot be read are named and left out; the exit status is then 1.
    """
    from eotune.core.config import parse
    from eotune.core.lookup import unknown_name
    from eotune.engines.by_name import engine as engine_by_name
    from eotune.runs.recipe import with_overrides
    from eotune.search.build import Speed
    from eotune.search.index import Index
    from eotune.search.tiles import TileConfig

    if precision not in ("fp32", "bf16", "fp16"):
        raise unknown_name("precision", precision, ["fp32", "bf16", "fp16"])
    values: dict[str, Any] = {"size": tile_size, "overlap": overlap, "max_nodata": max_nodata}
    tiles = parse(TileConfig, with_overrides(values, overrides or ()), source="eotune index")
    summary = Index.build(
        folder,
        out,
        encoder=encoder,
        image_size=image_size,
        tiles=tiles,
        engine=engine_by_name(engine, workers=workers, cpus=cpus, gpus=gpus),
        speed=Speed(precision, batch_size),
        store=store,
        asset=asset,
        resume=resume,
    )
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        typer.echo(
            f"{out}: {summary['tiles']:,} tiles of {summary['images']:,} images ({summary['added']:,} tiles new)"
        )
    if summary["failed"]:
        from eotune.core.progress import say

        say(f"{summary['failed']:,} images or tiles could not be read:")
        say("\n".join(f"  - {one['id']}: {one['error']}" for one in summary["failures"][:20]))
        raise typer.Exit(1)
