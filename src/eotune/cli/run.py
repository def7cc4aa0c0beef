"""`eotune run`: a recipe to a run directory."""

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    recipe: Annotated[Path, typer.Argument(help="YAML recipe.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, e.g. training.epochs=5.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory; runs/NAME where not given.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse data whose test split overlaps training.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Run a recipe: adapt a model, measure it, write a report.

    The directory gets the adapter, metrics.json, a model card and report.html. An existing one is never overwritten.
    """
    from eotune.runs.execute import execute
    from eotune.runs.recipe import read_recipe
    from eotune.training.processes import is_main

    described = read_recipe(recipe, overrides or [])
    directory = out or Path("runs") / described.name
    rows = execute(described, directory, resume=resume, strict=strict)
    if not is_main():
        return
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        if row["metric"] == "mR" and row["split"] == "test":
            sign = "+" if row["model"] == "gain" else ""
            interval = f"[{row['low']:{sign}.2f}, {row['high']:{sign}.2f}]"
            typer.echo(f"test mR {row['model']:>9}: {row['value']:{sign}6.2f}  95 % {interval}")
    typer.echo(f"report: {directory / 'report.html'}")
