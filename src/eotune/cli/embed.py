"""`eotune embed`: images and captions to vectors in Parquet."""

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    data: Annotated[Path, typer.Argument(help="Caption file, or a folder of images.")],
    encoder: Annotated[str, typer.Option(help="Encoder or run:DIR.")],
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    images: Annotated[Path | None, typer.Option(help="Folder that image paths start at.")] = None,
    split: Annotated[str | None, typer.Option(help="Take only this split.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side in pixels.")] = None,
    precision: Annotated[str, typer.Option(help="fp32, bf16 or fp16.")] = "fp32",
    batch_size: Annotated[int, typer.Option(min=1, help="Images at once.")] = 128,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write embeddings of images and captions to Parquet: path, kind, text, a float32 vector of unit length."""
    from eotune.core.errors import InputError
    from eotune.tasks.embedding import embed_data

    if out.exists() and not force:
        raise InputError(f"{out}: is there already", remedy="choose another --out, or --force")
    summary = embed_data(
        data,
        encoder,
        out,
        images=images,
        split=split,
        image_size=image_size,
        precision=precision,
        batch_size=batch_size,
    )
    typer.echo(json.dumps(summary) if as_json else f"{out}: {summary['rows']} vectors of {summary['dim']} numbers")
