"""`eotune predict`: images to classes."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="Directory of a run of task long_tail.")],
    images: Annotated[list[str], typer.Argument(help="Files, folders (searched through) or quoted patterns.")],
    out: Annotated[Path, typer.Option(help="File to write: .csv, .jsonl, or .geojson with footprints.")],
    classifier: Annotated[
        str, typer.Option(help="probe, balanced, own, views, or best: the best on validation.")
    ] = "best",
    top: Annotated[int, typer.Option(min=1, help="How many of the likeliest classes to write.")] = 1,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write the probability of every class.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at once.")] = 128,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted call, whose parts lie in OUT.parts.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Classify images by a finished run: classes with calibrated probabilities, footprints where images have them.

    Images that cannot be read are named and left out; the exit status is then 1. What is finished is kept in OUT.parts
    until OUT is there.
    """
    from eotune.core.progress import say
    from eotune.runs.predict_file import parts_of, predict_file
    from eotune.runs.prediction_files import check_out

    # With parts, a file that is there was written by the call that was interrupted, or was to be replaced by it.
    check_out(out, overwrite=overwrite or (resume and parts_of(out).is_dir()))
    found = predict_file(
        run, images, out, classifier=classifier, batch_size=batch_size, top=top, probabilities=probabilities,
        resume=resume,
    )  # fmt: skip
    if as_json:
        typer.echo(json.dumps({"out": str(out), **asdict(found)}))
    else:
        given = sorted(((count, name) for name, count in found.counts.items() if count), key=lambda one: -one[0])
        typer.echo(f"{out}: {found.predicted:,} of {found.images:,} images, classifier {found.classifier}")
        typer.echo("\n".join(f"{count:>10,}  {name}" for count, name in given))
    if found.problems:
        say(f"{len(found.problems):,} of {found.images:,} images could not be classified:")
        say("\n".join(f"  - {problem}" for problem in found.problems))
        raise typer.Exit(1)
