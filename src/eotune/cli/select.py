"""`eotune select`: the part of an image-text set that is worth training on."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def command(
    samples: Annotated[Path, typer.Argument(help="Instructions or captions: JSON, JSONL, Parquet.")],
    out: Annotated[Path, typer.Option(help="Directory to fill: the subset, a table of reasons, a report.")],
    images: Annotated[Path | None, typer.Option(help="Folder that image paths start at.")] = None,
    split: Annotated[str | None, typer.Option(help="Take only this split.")] = None,
    keep: Annotated[str, typer.Option(help="Share to keep: 0.3 or 1/3.")] = "1/3",
    strategy: Annotated[
        str | None, typer.Option(help="How to choose; stratified, or with --encoder perturbation, where not given.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Of images with texts: vlm:ID_OR_DIR, or a dual encoder standing in.")
    ] = None,
    sentence_encoder: Annotated[
        str, typer.Option(help="Of texts: minilm, st:ID_OR_DIR, or a dual encoder.")
    ] = "minilm",
    seed: Annotated[int, typer.Option(min=0, help="Of every random choice.")] = 0,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE, any setting of docs/select.md.")
    ] = None,
    engine: Annotated[str, typer.Option(help="local, or ray for a cluster.")] = "local",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes, or actors of Ray.")] = None,
    cpus: Annotated[float | None, typer.Option("--cpus-per-worker", min=0, help="Cores of an actor of Ray.")] = None,
    gpus: Annotated[
        float | None, typer.Option("--gpus-per-worker", min=0, help="GPUs of an actor of Ray, or a share of one.")
    ] = None,
    shard_size: Annotated[int, typer.Option(min=1, help="Records at a time; what an interruption costs.")] = 4096,
    xcomposer: Annotated[bool, typer.Option("--xcomposer", help="Also write InternLM-XComposer's format.")] = False,
    reuse: Annotated[
        list[Path] | None, typer.Option(help="--out of another selection, whose embeddings and scores are taken over.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, time a few samples, print the cost.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a selection that was interrupted.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Choose the samples worth training on; the subset keeps the format and every field of the file.

    Records and images that cannot be used are named and left out; the exit status is then 1.
    """
    from eotune.core.config import parse
    from eotune.runs.recipe import with_overrides
    from eotune.selection.config import SelectionConfig

    values: dict[str, Any] = {
        "samples": samples, "images": images, "split": split, "keep": keep,
        "encoder": encoder, "sentence_encoder": sentence_encoder, "seed": seed,
    }  # fmt: skip
    if strategy:
        values["strategy"] = {"name": strategy}
    config = parse(SelectionConfig, with_overrides(values, overrides or ()), source="eotune select")
    if dry_run:
        from eotune.runs.select_plan import plan

        _print_plan(plan(config), as_json=as_json)
        return
    from eotune.engines.by_name import engine as engine_by_name
    from eotune.runs.select import select

    summary = select(
        config,
        out,
        engine=engine_by_name(engine, workers=workers, cpus=cpus, gpus=gpus),
        shard_size=shard_size,
        resume=resume,
        xcomposer=xcomposer,
        reuse=reuse or (),
    )
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        typer.echo(f"{out}: {summary['kept']:,} of {summary['readable']:,} samples kept")
        for reason, count in summary["counts"].items():
            typer.echo(f"{count:>12,}  {reason}")
        typer.echo(f"subset: {out / summary['files']['subset']}\nreport: {out / 'report.html'}")
    if summary["failed"]:
        from eotune.core.progress import say

        say(f"{summary['failed']:,} records or images could not be used:")
        say("\n".join(f"  - {one['id']}: {one['error']}" for one in summary["failures"][:20]))
        if any(one["stage"] == "images" for one in summary["failures"]):
            say(f"Once images are repaired, choose another --out, with --reuse {out}.")
        raise typer.Exit(1)


def _print_plan(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found))
        return
    bad = f", {found['bad']:,} records cannot be used" if found["bad"] else ""
    typer.echo(f"{found['samples']:,} samples, keep {found['keep']:,}{bad}")
    for step in found["steps"]:
        passes = f"{step['passes']:,} passes" if step["passes"] else ""
        typer.echo(f"{step['step']:>12}  {step['rows']:>12,} rows  {passes:>20}  {step['time']}")
    typer.echo(f"{'in all':>12}  {'':>17}  {'':>20}  {found['time']}, in one process that takes over nothing")
    typer.echo(f"{'disk':>12}  {found['disk_mb']:,.1f} MB in --out")
    from eotune.core.progress import say

    for warning in found["warnings"]:
        say(f"warning: {warning}")
