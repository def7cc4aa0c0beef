"""Run a recipe: data, encoder, method, phases, the test split once, and everything that is left behind."""

import functools
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from eotune.core.errors import InputError
from eotune.core.files import write_json
from eotune.core.progress import say
from eotune.core.seeds import derive_seed, seed_everything
from eotune.encoders.base import DualEncoder
from eotune.methods.adapted import ADAPTER, save_adapted
from eotune.methods.base import Method, parameter_counts
from eotune.methods.by_name import create
from eotune.runs.card import write_card
from eotune.runs.describe_data import describe_data, judge_leaks
from eotune.runs.directory import FINISHED, RunDirectory
from eotune.runs.environment import environment
from eotune.runs.measure import measure, split_rows, write_test_files
from eotune.runs.plots import write_plots
from eotune.runs.recipe import Recipe
from eotune.runs.report import REPORT, write_report
from eotune.runs.workshop import Workshop
from eotune.tasks.features import FeatureTraining
from eotune.tasks.image_training import ImageTraining
from eotune.tasks.retrieval import RetrievalData, read_data
from eotune.tasks.shared_images import SharedImages
from eotune.training.fit import FitResult, fit, peak_memory_mb
from eotune.training.processes import from_main, is_main, join_processes
from eotune.training.trackers import check_trackers, tracker_callbacks

SPLITS = ("validation", "test")


def execute(
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    strict: bool = False,
    splits: Sequence[str] = SPLITS,
    workshop: Workshop | None = None,
) -> list[dict[str, Any]]:
    """Run ``recipe`` into the directory ``out``.

    Under ``accelerate launch`` or ``torchrun`` every process calls this; the main one writes.

    Args:
        recipe: Validated.
        out: The run directory; an existing one is refused unless ``resume``.
        resume: Continue an interrupted run; a finished one returns its figures.
        strict: Refuse, instead of warn, where the test split shares images with training.
        splits: What is measured; ``test`` brings ``task.retention`` along. A run that was measured on ``validation``
            alone has neither card nor report; called again with ``test`` and ``resume``, it gets them without being
            trained again.
        workshop: What the runs of this process share.

    Returns:
        The rows of metrics.json; none in processes other than the main one.

    Raises:
        InputError: The recipe, the data, the model or the directory is wrong. Nothing has been written then, unless
            training had begun: that can be resumed.
        InterruptedRunError: Stopped by a signal; ``resume`` continues.
    """
    join_processes(cpu=recipe.training.device == "cpu")
    RunDirectory.check(out, resume=resume)
    check_machine(recipe)
    started = time.perf_counter()
    shared = workshop or Workshop(keep_encoder=False)
    data = read_data(recipe.task, recipe.seed)
    description = describe_data(recipe, data, shared)
    judge_leaks(description["leaks"], strict=strict)
    seed_everything(recipe.seed)
    encoder = shared.encoder(recipe.encoder)
    method = create(recipe.method)
    method.apply(encoder, seed=derive_seed(recipe.seed, "method"))
    with RunDirectory.open(out, resume=resume) as run:
        missing = _unmeasured(recipe, run, splits)
        if run.finished and not missing:
            _tell(f"{out}: already finished")
            return run.metrics() if is_main() else []
        run.describe(recipe=recipe.to_yaml(), environment=environment(seed=recipe.seed), data=description)
        if recipe.training.device != "cpu" and torch.cuda.is_available():
            encoder.cuda()
        if run.finished:
            method.load(encoder, run.path / ADAPTER)
        else:
            run.log("start", resumed=resume, method=recipe.method["name"], seed=recipe.seed)
            fits = _train(recipe, data, encoder, method, run, shared.images, resume=resume)
            if is_main():
                save_adapted(run.path, method, encoder)
        if not is_main():
            return []
        rows = _measure(recipe, data, encoder, missing, run, shared)
        if run.finished:
            rows = [row for row in run.metrics() if row["split"] not in missing] + rows
        else:
            _summarise(encoder, fits, run, seconds=time.perf_counter() - started, own_process=workshop is None)
        _finish(recipe, rows, run)
        return rows


def check_machine(recipe: Recipe) -> None:
    """Refuse what this machine does not have.

    Raises:
        InputError: A GPU is asked for and none is visible, or a tracker is not installed.
    """
    check_trackers(recipe.training.report_to)
    if recipe.training.device == "cuda" and not torch.cuda.is_available():
        raise InputError("training.device is cuda, but no GPU is visible", remedy="set training.device to auto or cpu")


def _unmeasured(recipe: Recipe, run: RunDirectory, splits: Sequence[str]) -> list[str]:
    """Return the splits that are yet to be measured; what is drawn from the test split's figures belongs to it."""
    rows = run.metrics() if run.finished and is_main() else []
    done = {row["split"] for row in rows} - (set() if (run.path / REPORT).is_file() else {"test"})
    missing = [split for split in splits if split not in done]
    return from_main([*missing, "retention"] if "test" in missing and recipe.task.retention else missing)


def _train(
    recipe: Recipe,
    data: RetrievalData,
    encoder: DualEncoder,
    method: Method,
    run: RunDirectory,
    images: SharedImages,
    *,
    resume: bool,
) -> list[FitResult]:
    training = recipe.training
    phases = method.phases()
    if not phases:
        return []
    if training.gradient_checkpointing:
        encoder.enable_gradient_checkpointing()
    training_on = functools.cache(lambda kind: kind(recipe.task, data, encoder, training, recipe.seed, images))
    fits = []
    for phase in phases:
        shared = training_on(ImageTraining if phase.on_features is None else FeatureTraining)
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


def _measure(
    recipe: Recipe,
    data: RetrievalData,
    encoder: DualEncoder,
    splits: Sequence[str],
    run: RunDirectory,
    workshop: Workshop,
) -> list[dict[str, Any]]:
    """Return the rows of metrics.json of some splits; write what is kept of the test split."""
    precision, rows = recipe.training.precision, []
    for split in splits:
        captions, bands = getattr(data, split), recipe.task.bands(split)  # type: ignore[arg-type]
        ready = workshop.images.evaluation(captions, encoder, bands=bands, description=f"decoding {split}")
        pretrained = workshop.zero_shot(recipe.encoder, ready, bands=bands, precision=precision, device=encoder.device)
        measured = {"zero-shot": pretrained, "adapted": measure(ready, encoder, precision=precision)}
        rows += split_rows(measured, ready, recipe, split)
        if split == "test":
            write_test_files(run.path, ready, measured)
    return rows


def _summarise(
    encoder: DualEncoder, fits: list[FitResult], run: RunDirectory, *, seconds: float, own_process: bool
) -> None:
    """Write summary.json: parameters, time, memory."""
    counts = parameter_counts(encoder)
    summary = {
        "trainable_parameters": counts.trainable,
        "pretrained_parameters": counts.pretrained,
        "total_parameters": counts.total,
        "seconds": seconds,
        "training_seconds": sum(f.seconds for f in fits),
        "step_seconds": fits[-1].step_seconds if fits else None,
        "peak_memory_mb": max([peak_memory_mb(), *(f.peak_memory_mb for f in fits)]),
        "own_process": own_process,  # else the peak counts what it shares with others
        "best_epoch": fits[-1].best_epoch if fits else None,
        "best_validation": fits[-1].best_metric if fits else None,
        "steps": sum(f.steps for f in fits),
        "phases": [asdict(f) for f in fits],
    }
    write_json(run.path / "summary.json", summary)
    run.log("end", seconds=summary["seconds"], peak_memory_mb=summary["peak_memory_mb"])


def _finish(recipe: Recipe, rows: list[dict[str, Any]], run: RunDirectory) -> None:
    """Write metrics.json, the last of the data, then what is drawn from the test split."""
    write_json(run.path / FINISHED, rows)
    if any(row["primary"] for row in rows):
        write_plots(run.path)
        write_card(run.path)
        write_report(run.path)
    run.finish(keep_checkpoints=recipe.training.keep_checkpoints)


def _tell(message: str) -> None:
    """Say it once, however many processes there are."""
    if is_main():
        say(message)
