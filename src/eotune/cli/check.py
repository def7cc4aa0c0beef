"""`eotune check`: what is wrong with captioned or labelled data."""

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    data: Annotated[
        list[Path], typer.Argument(help="Caption files, class folders, files of labels; all are compared.")
    ],
    images: Annotated[Path | None, typer.Option(help="Folder that image paths start at.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 on warnings, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List every problem of captioned or labelled data, and what splits and sets share; counts by class.

    Exit status 2 where something is wrong; warnings (duplicates, overlaps between splits) leave it at 0.
    """
    from eotune.data.checks import check_files

    report = check_files(data, images=images)
    typer.echo(json.dumps(report.to_dict()) if as_json else report.render(), nl=as_json)
    if report.problems:
        raise typer.Exit(2)
    if strict and report.warnings:
        raise typer.Exit(1)
