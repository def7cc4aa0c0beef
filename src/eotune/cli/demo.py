"""`eotune demo`: the main job in miniature, offline."""

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    out: Annotated[Path, typer.Option(help="Directory to make.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(min=0, help="Of scenes and training.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Adapt the bundled model to synthetic overhead scenes, offline, in minutes.

    Renders scenes, measures the pretrained model, adapts it by LoRA, HarMA and full fine-tuning, and writes a report;
    then rare classes in optical, radar and multispectral scenes, by LoRA and debLoRA; then which third of a set of
    questions is worth training on; then an archive, searched by words and by example.
    """
    from eotune.runs.demo import demo

    chapters = demo(out, seed=seed)
    if as_json:
        typer.echo(json.dumps(chapters))
        return
    for row in chapters["retrieval"]:
        typer.echo(
            f"{row['method']:>10}  test mR {row['value']:6.2f}  95 % [{row['low']:.2f}, {row['high']:.2f}]  "
            f"{row['trainable']:>9,} parameters  {row['seconds']:.0f} s"
        )
    for row in chapters["long_tail"]:
        figures = "  ".join(f"{group} {row[group][0]:5.1f}" for group in ("head", "middle", "tail"))
        typer.echo(f"{row['spectrum']:>13}  {row['method']:<20}  macro F1 of the probe, %: {figures}")
    for row in chapters["selection"]:
        figures = "  ".join(f"{name} {row[name]:>3}" for name in ("questions", "repeats", "wrong", "rare"))
        typer.echo(f"{row['way']:>27}  {row['kept']} kept: {figures}")
    for row in chapters["search"]:
        typer.echo(
            f"{row['method']:>10}  archive of {row['tiles']} tiles, right among the first five, %: by words "
            f"{row['words']:.1f}, by example {row['examples']:.1f}"
        )
    typer.echo(f"report: {out / 'report.html'}")
