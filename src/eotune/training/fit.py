"""Run one phase to its end: train, validate, keep the best weights, survive interruption."""

import resource
import statistics
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eotune.core.device import uses_gpu
from eotune.core.errors import InputError, InterruptedRunError
from eotune.core.files import read_json, write_json
from eotune.training.attention import unfused_attention
from eotune.training.callbacks import GracefulStop, LogEvent, Patience, RunLog
from eotune.training.config import TrainingConfig
from eotune.training.processes import from_main, is_main, wait_for_all, world_size
from eotune.training.trainer import WEIGHTS, PhaseTrainer, Work, last_checkpoint, load_trained_state


@dataclass(frozen=True)
class FitResult:
    """How a phase went.

    Attributes:
        best_metric: Validation's primary metric at the best epoch; None where it was never evaluated.
        best_step: The step whose weights were kept.
        best_epoch: Likewise, in epochs.
        steps: Optimiser steps made.
        seconds: Wall-clock of this process's part of training, validation included.
        step_seconds: Median of a step, validation excluded.
        peak_memory_mb: Of the GPU where there is one, else of the process.
    """

    best_metric: float | None
    best_step: int
    best_epoch: float
    steps: int
    seconds: float
    step_seconds: float
    peak_memory_mb: float


def fit(
    model: nn.Module,
    work: Work,
    config: TrainingConfig,
    *,
    directory: Path,
    seed: int,
    log: LogEvent,
    resume: bool,
    callbacks: Sequence[Any] = (),
) -> FitResult:
    """Train ``model`` in place and leave it with the best weights of validation.

    Args:
        model: Its trainable parameters are those that require gradients.
        work: Data, objective and validation.
        config: Settings.
        directory: Where checkpoints go; made where it is not there.
        seed: Of order, augmentation and dropout.
        log: Called as ``log(event, **fields)``.
        resume: Continue from the last whole checkpoint in ``directory``.
        callbacks: Of transformers' Trainer, beside our own.

    Raises:
        InterruptedRunError: Stopped by a signal, after a checkpoint was saved.
        InputError: Fewer samples than one batch, a batch that the processes cannot share, or a sample that cannot be
            read any more.
    """
    done = directory / "done.json"
    best = directory / f"best.{WEIGHTS}"
    if resume and done.exists():
        if best.exists():
            load_trained_state(model, best)
        return FitResult(**read_json(done))
    _check_batch(config, len(work.dataset))  # type: ignore[arg-type]
    if is_main():
        directory.mkdir(parents=True, exist_ok=True)
    checkpoint = from_main(last_checkpoint(directory) if resume and is_main() else None)
    watch, patience = RunLog(log, config.batch_size), Patience(work.primary, config.patience)
    started = time.perf_counter()
    slow_kernel = config.precision != "fp32" and not uses_gpu(config.device)
    with GracefulStop() as stop, warnings.catch_warnings(), unfused_attention(model) if slow_kernel else nullcontext():
        # transformers and torch speak of pinned memory and schedulers here; nothing a user could act on.
        warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.|transformers|accelerate")
        trainer = _trainer(model, work, config, directory, seed, [watch, stop, patience, *callbacks])
        reached = _state(checkpoint)
        if reached is not None and (reached.global_step >= reached.max_steps or patience.exhausted(reached)):
            trainer.state = reached  # train() would make one more step before it noticed
        else:
            with _one_line():
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    wait_for_all()  # the main process has written the best weights
    state = trainer.state
    if stop.stopped and state.global_step < state.max_steps:
        raise InterruptedRunError(f"interrupted at step {state.global_step} of {state.max_steps}; go on with --resume")
    if best.exists():
        load_trained_state(model, best)
    steps_an_epoch = work.steps_an_epoch(config.batch_size)
    result = FitResult(
        best_metric=state.best_metric,
        best_step=state.best_global_step or state.global_step,
        best_epoch=round((state.best_global_step or state.global_step) / steps_an_epoch, 3),
        steps=state.global_step,
        seconds=time.perf_counter() - started,
        step_seconds=statistics.median(watch.step_seconds) if watch.step_seconds else 0.0,
        peak_memory_mb=peak_memory_mb(),
    )
    if is_main():
        write_json(done, asdict(result))
    return result


def _state(checkpoint: Path | None) -> Any:
    """Return the state of the trainer that a checkpoint holds; None without one."""
    from transformers import TrainerState

    return TrainerState.load_from_json(str(checkpoint / "trainer_state.json")) if checkpoint else None


def _check_batch(config: TrainingConfig, samples: int) -> None:
    if samples < config.batch_size:
        raise InputError(
            f"training.batch_size {config.batch_size} is larger than the training set ({samples} samples)",
            remedy="lower training.batch_size",
        )
    if config.batch_size % world_size():
        raise InputError(
            f"training.batch_size {config.batch_size} cannot be shared by {world_size()} processes alike",
            remedy="take a multiple of their number",
        )


@contextmanager
def _one_line() -> Iterator[None]:
    """Strip the traceback of the worker process that a data loader puts around what its data set raised."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error).rpartition(f"{InputError.__name__}: ")[2].strip()) from None


def peak_memory_mb() -> float:
    """Return the peak memory so far in MiB: allocated on the GPU where there is one, else resident in this process."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes on macOS, KiB on Linux


def reset_peak_memory() -> None:
    """Count the peak from here on, where the system allows it: on GPUs and on Linux."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # 5 resets the resident peak, see proc(5)


def _trainer(
    model: nn.Module, work: Work, config: TrainingConfig, directory: Path, seed: int, callbacks: list[Any]
) -> PhaseTrainer:
    from transformers import PrinterCallback, TrainingArguments
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    on_gpu = uses_gpu(config.device)
    workers = (
        config.workers
        if config.workers != "auto"
        else (min(8, max(1, (torch.get_num_threads() or 2) - 1)) if on_gpu else 0)
    )
    arguments = TrainingArguments(
        output_dir=str(directory),
        num_train_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        per_device_train_batch_size=config.batch_size // world_size(),
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup_steps=config.warmup,
        lr_scheduler_type={"constant": "constant_with_warmup"}.get(config.schedule, config.schedule),
        max_grad_norm=config.max_grad_norm,
        bf16=config.precision == "bf16",
        fp16=config.precision == "fp16",
        use_cpu=not on_gpu,
        # By steps, not by epochs: an epoch is evaluated before its last step's checkpoint, which then carries the best
        # figure so far, and a run that is stopped inside an epoch is not evaluated there.
        eval_strategy="steps",
        eval_steps=work.steps_an_epoch(config.batch_size),
        save_strategy="steps",
        save_steps=config.checkpoint_every or work.steps_an_epoch(config.batch_size),
        save_total_limit=2,  # the one being written and the last whole one
        metric_for_best_model=work.primary,
        greater_is_better=True,
        logging_steps=config.log_every,
        logging_nan_inf_filter=False,
        dataloader_num_workers=workers,
        dataloader_persistent_workers=workers > 0,
        dataloader_pin_memory=on_gpu,
        dataloader_drop_last=True,
        remove_unused_columns=False,
        label_names=[],
        ddp_find_unused_parameters=False,
        disable_tqdm=not sys.stderr.isatty() or not is_main(),
        report_to="none",  # trackers come as callbacks
        seed=seed % 2**31,
    )
    trainer = PhaseTrainer(
        model, arguments, work, betas=config.betas, chunk_size=config.micro_batch_size, callbacks=callbacks
    )
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, which is kept for results
    return trainer
