"""`eotune chips`: labelled boxes of large images to a labelled set of small ones."""

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    images: Annotated[Path, typer.Argument(help="Folder of images.")],
    labels: Annotated[Path, typer.Argument(help="Folder of label files, DOTA's labelTxt or YOLO-OBB's labels.")],
    out: Annotated[Path, typer.Option(help="Folder to write; a class a sub-folder, and chips.jsonl.")],
    label_format: Annotated[str, typer.Option("--format", help="dota or yolo (YOLO-OBB).")] = "dota",
    classes: Annotated[Path | None, typer.Option(help="Class names: a data set's YAML, or a name a line.")] = None,
    margin: Annotated[float, typer.Option(help="Added on each side, as a share of the longer side.")] = 0.1,
    square: Annotated[bool, typer.Option("--square", help="Extend each window to a square.")] = False,
    minimum_size: Annotated[float, typer.Option(help="Leave out boxes with a shorter longer side, pixels.")] = 8,
    without_difficult: Annotated[bool, typer.Option("--without-difficult", help="Leave difficult boxes out.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Skip wrong lines and files, and list them.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Cut a chip around each oriented box; the chips are a labelled set. Interrupted, the same command goes on.

    Wrong lines and files are listed with file and line, and nothing is cut: exit status 2.
    """
    from eotune.core.config import parse
    from eotune.core.progress import say
    from eotune.data.chips import ChipConfig, cut_chips
    from eotune.data.yolo_obb import read_class_names

    settings = {
        "format": label_format,
        "classes": read_class_names(classes) if classes else None,
        "margin": margin,
        "square": square,
        "minimum_size": minimum_size,
        "difficult": not without_difficult,
    }
    chips = cut_chips(images, labels, out, parse(ChipConfig, settings), skip_bad=skip_bad)
    for problem in chips.problems:
        say(f"skipped: {problem}")
    if as_json:
        typer.echo(json.dumps(chips.to_dict()))
        return
    typer.echo(f"{chips.path}: {sum(chips.counts.values())} chips of {chips.images} images")
    for label, count in chips.counts.items():
        typer.echo(f"{count:>8} {label}")
    typer.echo(f"left out: {chips.too_small} too small, {chips.difficult} difficult, {len(chips.problems)} wrong")
