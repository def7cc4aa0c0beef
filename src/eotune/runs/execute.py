"""Run a recipe: data, encoder, method, phases, the test split once, and everything that is left behind."""

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from eotune.core.device import computes_bf16, on_best_device
from eotune.core.errors import InputError
from eotune.core.files import write_json
from eotune.core.progress import say
from eotune.core.seeds import derive_seed, seed_everything
from eotune.encoders.base import Encoder
from eotune.methods.adapted import ADAPTER, save_adapted
from eotune.methods.base import Method, Phase, parameter_counts
from eotune.methods.by_name import create
from eotune.runs.describe_data import judge_leaks
from eotune.runs.directory import FINISHED, RunDirectory
from eotune.runs.environment import environment
from eotune.runs.job import Job, open_job
from eotune.runs.recipe import Recipe
from eotune.runs.run_files import REPORT
from eotune.runs.selected import selected, selection_summary
from eotune.runs.workshop import Workshop
from eotune.training.config import TrainingConfig
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
    job = open_job(selected(recipe, out, shared), shared)
    description = job.description()
    judge_leaks(description["leaks"], strict=strict)
    seed_everything(recipe.seed)
    encoder = job.encoder()
    method = create(recipe.method)
    job.check(method)
    method.apply(encoder, seed=derive_seed(recipe.seed, "method"))
    with RunDirectory.open(out, resume=resume or recipe.selection is not None) as run:  # checked above
        run.refuse_other(recipe=recipe.to_yaml(), data=description)
        missing = _unmeasured(job, run, splits)
        if run.finished and not missing:
            _tell(f"{out}: already finished")
            return run.metrics() if is_main() else []
        run.describe(recipe=recipe.to_yaml(), environment=environment(seed=recipe.seed), data=description)
        on_best_device(encoder, recipe.training.device)
        if run.finished:
            method.load(encoder, run.path / ADAPTER)
        else:
            run.log("start", resumed=resume, method=recipe.method["name"], seed=recipe.seed)
            fits = _train(job, encoder, method, run, resume=resume)
            if is_main():
                job.keep(save_adapted(run.path, method, encoder))
        if not is_main():
            return []
        rows = [row for split in missing for row in job.measure(split, encoder, run.path)]
        if run.finished:
            rows = [row for row in run.metrics() if row["split"] not in missing] + rows
        else:
            _summarise(encoder, fits, run, seconds=time.perf_counter() - started, own_process=workshop is None)
        _finish(job, rows, run)
        return rows


def check_machine(recipe: Recipe) -> None:
    """Refuse what this machine does not have, and say what it has not got fast.

    Raises:
        InputError: A GPU is asked for and none is visible, or a tracker is not installed.
    """
    check_trackers(recipe.training.report_to)
    if recipe.training.device == "cuda" and not torch.cuda.is_available():
        raise InputError("training.device is cuda, but no GPU is visible", remedy="set training.device to auto or cpu")
    if recipe.training.precision == "bf16" and not computes_bf16(recipe.training.device):
        _warn_of_emulation()


@cache
def _warn_of_emulation() -> None:
    """Say it once, however many runs this process makes."""
    _tell(
        "warning: this machine emulates bfloat16, which takes several times as long as float32; "
        "--set training.precision=fp32"
    )


def _unmeasured(job: Job[Any], run: RunDirectory, splits: Sequence[str]) -> list[str]:
    """Return the splits that are yet to be measured; what is drawn from the test split's figures belongs to it."""
    rows = run.metrics() if run.finished and is_main() else []
    done = {row["split"] for row in rows} - (set() if (run.path / REPORT).is_file() else {"test"})
    missing = [split for split in splits if split not in done]
    return from_main([*missing, *job.beside_test] if "test" in missing else missing)


def _train(job: Job[Any], encoder: Encoder, method: Method, run: RunDirectory, *, resume: bool) -> list[FitResult]:
    recipe, phases = job.recipe, method.phases()
    if phases and recipe.training.gradient_checkpointing:
        encoder.enable_gradient_checkpointing()
    fits: list[FitResult] = []
    for phase, training in zip(phases, phase_settings(job.recipe.training, phases), strict=True):
        folder = run.path / "checkpoints" / phase.name
        work = replace(job.work(phase, encoder, method, folder), steps_before=sum(one.steps for one in fits))
        run.log("phase", name=phase.name)
        _tell(f"{recipe.name}: phase {phase.name}, {len(work.dataset)} {job.unit} an epoch")  # type: ignore[arg-type]
        fits.append(
            fit(
                encoder if work.model is None else work.model,
                work,
                training,
                directory=folder,
                seed=recipe.seed,
                log=run.log,
                resume=resume,
                callbacks=tracker_callbacks(training.report_to, run.path / "tensorboard" / phase.name),
            )
        )
    return fits


def phase_settings(training: TrainingConfig, phases: Sequence[Phase]) -> list[TrainingConfig]:
    """Divide the epochs of a run, and its steps where they are limited, among the phases.

    Raises:
        InputError: There are fewer epochs, or steps, than phases.

    Example:
        >>> phases = [Phase("first", share=0.5), Phase("second", share=0.5)]
        >>> [one.epochs for one in phase_settings(TrainingConfig(epochs=5), phases)]
        [2.0, 3.0]
    """
    if len(phases) < 2:
        return [training] * len(phases)
    limited = training.max_steps is not None
    name, total = ("max_steps", float(training.max_steps or 0)) if limited else ("epochs", training.epochs)
    if total < len(phases):
        raise InputError(
            f"training.{name} {total:g} is too few for {len(phases)} phases", remedy=f"give at least {len(phases)}"
        )
    settings, left = [], total
    for number, phase in enumerate(phases):
        later = len(phases) - 1 - number
        part = left if later == 0 else float(min(max(1, round(phase.share * total)), left - later))
        settings.append(training.model_copy(update={name: int(part) if limited else part}))
        left -= part
    return settings


def _summarise(
    encoder: Encoder, fits: list[FitResult], run: RunDirectory, *, seconds: float, own_process: bool
) -> None:
    """Write summary.json: parameters, time, memory."""
    counts = parameter_counts(encoder)
    summary: dict[str, Any] = {
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
    if (chosen := selection_summary(run.path)) is not None:
        of_choice = ("readable", "kept", "counts", "failed")
        summary["selection"] = {name: chosen[name] for name in of_choice} | {"seconds": sum(chosen["seconds"].values())}
    write_json(run.path / "summary.json", summary)
    run.log("end", seconds=summary["seconds"], peak_memory_mb=summary["peak_memory_mb"])


def _finish(job: Job[Any], rows: list[dict[str, Any]], run: RunDirectory) -> None:
    """Write metrics.json, the last of the data, then what is drawn from the test split."""
    write_json(run.path / FINISHED, rows)
    if any(row["primary"] for row in rows):
        job.draw(run.path)
    run.finish(keep_checkpoints=job.recipe.training.keep_checkpoints)


def _tell(message: str) -> None:
    """Say it once, however many processes there are."""
    if is_main():
        say(message)
