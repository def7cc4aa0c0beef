"""`eotune sweep`: a recipe over a grid of settings and seeds."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    recipe: Annotated[Path, typer.Argument(help="YAML recipe.")],
    grid: Annotated[list[str] | None, typer.Option(help="KEY=V,V,..., e.g. method.gamma=1,2,4; may repeat.")] = None,
    seeds: Annotated[str | None, typer.Option(help="S,S,..., e.g. 0,1,2; the recipe's own where not given.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE for every trial.")] = None,
    out: Annotated[Path | None, typer.Option(help="Directory; runs/NAME-sweep where not given.")] = None,
    test: Annotated[str, typer.Option(help="Who reads the test split: best, all or none.")] = "best",
    resume: Annotated[bool, typer.Option("--resume", help="Continue, or add to, an earlier sweep.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Run a recipe over a grid of settings and seeds: one table, one plot, one report.

    The best setting is chosen on validation. Every trial is a run of its own under DIR/trials. Exit status 1 where a
    trial failed.
    """
    from eotune.core.lookup import unknown_name
    from eotune.runs.grid import make_plan

    if test not in ("best", "all", "none"):
        raise unknown_name("--test", test, ["best", "all", "none"])
    plan = make_plan(recipe, grid or [], seeds, overrides or [])
    from eotune.runs.sweep import sweep
    from eotune.runs.sweep_files import to_markdown

    directory = out or Path("runs") / f"{plan.name}-sweep"
    result = sweep(plan, directory, test=test, resume=resume)  # type: ignore[arg-type]
    if as_json:
        typer.echo((directory / "table.json").read_text(encoding="utf-8"), nl=False)
    else:
        typer.echo(to_markdown(result) + f"\nreport: {directory / 'report.html'}")
    if result.failed:
        raise typer.Exit(1)
