"""Run a recipe: data, encoder, method, phases, the test split once, and everything that is left behind."""

import functools
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eotune.core.errors import InputError
from eotune.core.files import sha256, write_json
from eotune.core.progress import say
from eotune.core.seeds import derive_seed, seed_everything
from eotune.data.captions import listed_error
from eotune.data.inventory import take_inventory
from eotune.data.leaks import leaks
from eotune.encoders.base import DualEncoder
from eotune.methods.adapted import load_model, save_adapted
from eotune.methods.base import parameter_counts
from eotune.methods.by_name import create
from eotune.runs.card import write_card
from eotune.runs.directory import RunDirectory
from eotune.runs.environment import environment
from eotune.runs.measure import measure
from eotune.runs.plots import write_plots
from eotune.runs.recipe import Recipe
from eotune.runs.report import write_report
from eotune.tasks.features import FeatureTraining
from eotune.tasks.retrieval import CaptionData, RetrievalData, RetrievalTraining, read_data
from eotune.training.fit import FitResult, fit, peak_memory_mb
from eotune.training.processes import is_main, join_processes
from eotune.training.trackers import check_trackers, tracker_callbacks

SPLITS = ("train", "validation", "test")


def execute(recipe: Recipe, out: Path, *, resume: bool = False, strict: bool = False) -> list[dict[str, Any]]:
    """Run ``recipe`` into the directory ``out``.

    Under ``accelerate launch`` or ``torchrun`` every process calls this; the main one writes.

    Args:
        recipe: Validated.
        out: The run directory; an existing one is refused unless ``resume``.
        resume: Continue an interrupted run; a finished one returns its figures.
        strict: Refuse, instead of warn, where the test split shares images with training.

    Returns:
        The rows of metrics.json; none in processes other than the main one.

    Raises:
        InputError: The recipe, the data, the model or the directory is wrong. Nothing has been written then, unless
            training had begun: that can be resumed.
        InterruptedRunError: Stopped by a signal; ``resume`` continues.
    """
    join_processes(cpu=recipe.training.device == "cpu")
    RunDirectory.check(out, resume=resume)
    check_trackers(recipe.training.report_to)
    started = time.perf_counter()
    data = read_data(recipe.task, recipe.seed)
    description = _describe_data(recipe, data)
    _judge_leaks(description["leaks"], strict=strict)
    seed_everything(recipe.seed)
    encoder = load_model(recipe.encoder.name, image_size=recipe.encoder.image_size)
    method = create(recipe.method)
    method.apply(encoder, seed=derive_seed(recipe.seed, "method"))
    with RunDirectory.open(out, resume=resume) as run:
        if run.finished:
            _tell(f"{out}: already finished")
            return run.metrics() if is_main() else []
        run.describe(recipe=recipe.to_yaml(), environment=environment(seed=recipe.seed), data=description)
        run.log("start", resumed=resume, method=recipe.method["name"], seed=recipe.seed)
        fits = _train(recipe, data, encoder, method, run, resume=resume)
        if not is_main():
            return []
        save_adapted(run.path, method, encoder)
        base = load_model(recipe.encoder.name, image_size=recipe.encoder.image_size).to(encoder.device)
        rows = measure(recipe, data, {"zero-shot": base, "adapted": encoder}, run.path)
        _finish(recipe, encoder, fits, rows, run, seconds=time.perf_counter() - started)
        return rows


def _train(
    recipe: Recipe, data: RetrievalData, encoder: DualEncoder, method: Any, run: RunDirectory, *, resume: bool
) -> list[FitResult]:
    import torch

    training = recipe.training
    if training.device == "cuda" and not torch.cuda.is_available():
        raise InputError("training.device is cuda, but no GPU is visible", remedy="set training.device to auto or cpu")
    if training.device != "cpu" and torch.cuda.is_available():
        encoder.cuda()
    phases = method.phases()
    if not phases:
        return []
    if training.gradient_checkpointing:
        encoder.enable_gradient_checkpointing()
    training_on = functools.cache(lambda kind: kind(recipe.task, data, encoder, training, recipe.seed))
    fits = []
    for phase in phases:
        shared = training_on(RetrievalTraining if phase.on_features is None else FeatureTraining)
        run.log("phase", name=phase.name)
        _tell(f"{recipe.name}: phase {phase.name}, {len(shared.pairs)} pairs an epoch")
        work = shared.work(phase, frozenset(method.no_decay(encoder)))
        seed_everything(derive_seed(recipe.seed, "phase", phase.name) % 2**31)
        fits.append(
            fit(
                encoder if work.model is None else work.model,
                work,
                training,
                directory=run.path / "checkpoints" / phase.name,
                seed=recipe.seed,
                log=run.log,
                resume=resume,
                callbacks=tracker_callbacks(training.report_to, run.path / "tensorboard" / phase.name),
            )
        )
    return fits


def _finish(
    recipe: Recipe,
    encoder: DualEncoder,
    fits: list[FitResult],
    rows: list[dict[str, Any]],
    run: RunDirectory,
    *,
    seconds: float,
) -> None:
    """Write what the figures say; metrics.json last of the data, then what is drawn from it."""
    counts = parameter_counts(encoder)
    summary = {
        "trainable_parameters": counts.trainable,
        "total_parameters": counts.total,
        "seconds": seconds,
        "training_seconds": sum(f.seconds for f in fits),
        "step_seconds": fits[-1].step_seconds if fits else None,
        "peak_memory_mb": max([peak_memory_mb(), *(f.peak_memory_mb for f in fits)]),
        "best_epoch": fits[-1].best_epoch if fits else None,
        "best_validation": fits[-1].best_metric if fits else None,
        "steps": sum(f.steps for f in fits),
        "phases": [asdict(f) for f in fits],
    }
    write_json(run.path / "summary.json", summary)
    run.log("end", seconds=summary["seconds"], peak_memory_mb=summary["peak_memory_mb"])
    write_json(run.path / "metrics.json", rows)
    write_plots(run.path)
    write_card(run.path)
    write_report(run.path)
    run.finish(keep_checkpoints=recipe.training.keep_checkpoints)


def _describe_data(recipe: Recipe, data: RetrievalData) -> dict[str, Any]:
    """Return data.json: files with checksums, sizes of splits, and what they share.

    Raises:
        InputError: Images cannot be read.
    """
    configs = [getattr(recipe.task, split) for split in SPLITS]
    files = {str(one.captions): sha256(one.captions) for one in configs if isinstance(one, CaptionData)}
    sizes, inventories = {}, {}
    for split in SPLITS:
        part = getattr(data, split)
        sizes[split] = {"images": len(part), "captions": sum(len(sample.captions) for sample in part.samples)}
        inventories[split] = take_inventory(part, bands=recipe.task.bands(split))  # type: ignore[arg-type]
    problems = [problem for inventory in inventories.values() for problem in inventory.problems]
    if problems:
        raise listed_error("images", problems, remedy="`eotune check` lists every bad file of a data set")
    pairs = (("train", "test"), ("train", "validation"), ("validation", "test"))
    shared = {f"{a} and {b}": leaks(inventories[a], inventories[b]).to_dict() for a, b in pairs}
    return {"files": files, "splits": sizes, "leaks": shared}


def _judge_leaks(found: Mapping[str, Mapping[str, Any]], *, strict: bool) -> None:
    for pair, report in found.items():
        shared = report.get("shared_images", 0)
        if not shared:
            continue
        message = f"{pair} share {shared} images"
        if strict and pair == "train and test":
            raise InputError(message, remedy="remove them from training (eotune check lists them), or drop --strict")
        _tell(f"warning: {message}; figures of the test split are too good by that")


def _tell(message: str) -> None:
    """Say it once, however many processes there are."""
    if is_main():
        say(message)
