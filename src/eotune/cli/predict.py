"""`eotune predict`: images to classes."""

import json
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
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Classify images by a finished run: classes with calibrated probabilities, footprints where images have them.

    Images that cannot be read are named and left out; the exit status is then 1.
    """
    from eotune.core.progress import say
    from eotune.runs.predict import predict
    from eotune.runs.prediction_files import GEOJSON, check_out, write_predictions

    check_out(out, overwrite=overwrite)
    found = predict(run, images, classifier=classifier, batch_size=batch_size, footprints=out.suffix.lower() == GEOJSON)
    write_predictions(found, out, top=top, probabilities=probabilities)
    total = len(found) + len(found.problems)
    if as_json:
        summary = {
            "out": str(out), "images": total, "predicted": len(found), "classifier": found.classifier,
            "counts": found.counts(), "problems": list(found.problems),
        }  # fmt: skip
        typer.echo(json.dumps(summary))
    else:
        given = sorted(((count, name) for name, count in found.counts().items() if count), key=lambda one: -one[0])
        typer.echo(f"{out}: {len(found):,} of {total:,} images, classifier {found.classifier}")
        typer.echo("\n".join(f"{count:>10,}  {name}" for count, name in given))
    if found.problems:
        say(f"{len(found.problems):,} of {total:,} images could not be classified:")
        say("\n".join(f"  - {problem}" for problem in found.problems))
        raise typer.Exit(1)
