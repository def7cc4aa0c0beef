"""`eotune export`: a finished run in the format of another tool."""

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    to: Annotated[str, typer.Option("--format", help="hf, open_clip, peft or onnx.")],
    out: Annotated[Path, typer.Option(help="Directory to write.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a finished run's model as other tools load it, checked against the run's own embeddings.

    hf: transformers, adapters merged; open_clip: CLIP models, adapters merged; peft: a LoRA adapter; onnx: both towers.
    """
    from eotune.runs.export import export

    summary = export(run, to, out)
    if as_json:
        typer.echo(json.dumps(summary))
        return
    size = sum(summary["files"].values()) / 1e6
    typer.echo(f"{out}: {to}, {size:.1f} MB, embeddings within {summary['max_difference']:.0e} of the run's own")
