"""`eotune export`: a finished run in the format of another tool."""

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    to: Annotated[str, typer.Option("--format", help="hf, open_clip, peft or onnx.")],
    out: Annotated[Path, typer.Option(help="Directory to write.")],
    benchmarks: Annotated[
        str | None,
        typer.Option(help="Then run these tasks of lmms-eval, such as mme,seedbench: vision-language models."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a finished run's model as other tools load it, checked against the run's own embeddings.

    hf: transformers, adapters merged; open_clip: CLIP models, adapters merged; peft: a LoRA adapter; onnx: both towers.
    An image encoder comes with its best linear classifier. A vision-language model has hf alone; lmms-eval measures
    what is written.
    """
    import shlex

    from eotune.core.errors import InputError
    from eotune.methods.adapted import read_description
    from eotune.runs.export import export
    from eotune.runs.instruct_export import check_benchmarks, run_benchmarks

    if benchmarks is not None:
        if read_description(run)[1].kind != "vlm":
            raise InputError("--benchmarks is of vision-language models", remedy="leave it out")
        check_benchmarks()
    summary = export(run, to, out)
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        size, what = sum(summary["files"].values()) / 1e6, summary.get("compared", "embeddings")
        typer.echo(f"{out}: {to}, {size:.1f} MB, {what} within {summary['max_difference']:.0e} of the run's own")
    if "lmms_eval" not in summary:
        return
    if benchmarks is not None:
        measuring = shlex.split(summary["lmms_eval"])
        measuring[measuring.index("--tasks") + 1] = benchmarks
        run_benchmarks(measuring)
    elif not as_json:
        typer.echo(f"general benchmarks: {summary['lmms_eval']}")
