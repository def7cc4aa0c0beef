"""`eotune compare`: finished runs side by side."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    runs: Annotated[list[Path], typer.Argument(help="Run directories; the others are set against the first.")],
    out: Annotated[Path | None, typer.Option(help="Also write FILE.html, .md, .csv or .json.")] = None,
    metric: Annotated[
        str | None, typer.Option(help="A metric of the test split, as metrics.json names it; the task's main one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Set finished runs side by side: means over seeds, intervals, paired differences, parameters, time, memory.

    Runs that differ in the seed alone form one line.
    """
    from eotune.runs.compare import compare
    from eotune.runs.compare_files import check_target, to_json, to_markdown, write_comparison_file

    if out is not None:
        check_target(out)
    comparison = compare(runs, metric=metric)
    if out is not None:
        write_comparison_file(comparison, out)
    typer.echo(to_json(comparison) if as_json else to_markdown(comparison), nl=False)
