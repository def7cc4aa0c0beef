"""`eotune evaluate`: measure a model on data."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def command(
    model: Annotated[str, typer.Argument(help="run:DIR, a run directory, or an encoder such as tiny or hf:ID.")],
    data: Annotated[Path, typer.Option(help="Caption file; else class folders, JSONL or CSV with labels.")],
    task: Annotated[str, typer.Option(help="retrieval, zero-shot, or long_tail for runs of it.")] = "retrieval",
    images: Annotated[Path | None, typer.Option(help="Folder that image paths start at.")] = None,
    split: Annotated[str | None, typer.Option(help="Take only this split.")] = None,
    template: Annotated[
        list[str] | None, typer.Option(help="Prompt with {} for the class; several are averaged.")
    ] = None,
    image_size: Annotated[int | None, typer.Option(help="Side in pixels; the model's own where not given.")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32 (default), bf16 or fp16; long_tail: the run's.")] = None,
    classifier: Annotated[
        str | None, typer.Option(help="Of a long_tail run: probe, balanced, own, views, or the best on validation.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at once.")] = 128,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a model: retrieval, long-tailed classes, or zero-shot classification."""
    from eotune.core.device import on_best_device
    from eotune.core.errors import InputError
    from eotune.core.lookup import unknown_name
    from eotune.data.captions import read_captions
    from eotune.encoders.by_name import check_name
    from eotune.methods.adapted import ADAPTER, load_model, read_description

    if task not in ("retrieval", "long_tail", "zero-shot"):
        raise unknown_name("task", task, ["retrieval", "long_tail", "zero-shot"])
    of_runs = {"--classifier": classifier}
    of_models = {"--template": template, "--image-size": image_size, "--precision": precision}
    for option, value in (of_models if task == "long_tail" else of_runs).items():
        if value not in (None, []):
            raise InputError(f"{option} does not belong to --task {task}", remedy="leave it out")
    check_name(model)
    if task == "long_tail":
        from eotune.runs.evaluate_classes import evaluate_classes

        values = evaluate_classes(
            model, data, images=images, split=split, classifier=classifier or "best", batch_size=batch_size
        )
        _print(values, as_json)
        return
    precision = precision or "fp32"
    if precision not in ("fp32", "bf16", "fp16"):
        raise unknown_name("precision", precision, ["fp32", "bf16", "fp16"])
    if (Path(model) / ADAPTER).is_dir():
        model = f"run:{model}"
    if model.startswith("run:") and read_description(Path(model.removeprefix("run:")))[1].kind == "image":
        raise InputError(
            f"{model}: adapts an image encoder, which reads no text", remedy="evaluate it with --task long_tail"
        )
    if task == "retrieval":
        captions = read_captions(data, images=images, split=split)
        encoder = on_best_device(load_model(model, image_size=image_size))
        values = _retrieval(encoder, captions, batch_size, precision)
    else:
        from eotune.data.labelled import read_labelled
        from eotune.tasks.zero_shot import evaluate_zero_shot

        labelled = read_labelled(data, images=images, split=split)
        encoder = on_best_device(load_model(model, image_size=image_size))
        templates = template or ["an aerial photo of {}"]
        values = evaluate_zero_shot(encoder, labelled, templates=templates, batch_size=batch_size, precision=precision)
    _print(values, as_json)


def _print(values: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(values))
        return
    for name, value in values.items():
        shown = " to ".join(map(_shown, value)) if isinstance(value, list) else _shown(value)
        typer.echo(f"{name:>32}: {shown}")


def _shown(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _retrieval(encoder: Any, captions: Any, batch_size: int, precision: str) -> dict[str, Any]:
    from eotune.tasks.retrieval import evaluate_retrieval

    result = evaluate_retrieval(encoder, captions, batch_size=batch_size, precision=precision)
    values: dict[str, Any] = dict(result.values)
    values["mR_interval"] = [round(x, 4) for x in result.intervals["mR"]]
    values["mR_ties_in_favour"] = result.optimistic["mR"]
    if result.any_caption:
        values["mR_any_image_with_the_caption"] = result.any_caption["mR"]
    return values | {"shared_queries": result.shared_queries, "images": result.n_images, "captions": result.n_texts}
