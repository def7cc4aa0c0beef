"""What watches training: the run's log, divergence, and Ctrl-C that saves before it stops."""

import math
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from eotune.core.errors import EotuneError
from eotune.training.processes import in_any

LogEvent = Callable[..., None]


class DivergedError(EotuneError):
    """The loss is not a finite number any more."""


class RunLog(TrainerCallback):
    """Writes a line for every logged step and every evaluation, and stops a run whose loss is not finite.

    Args:
        log: Called as ``log(event, **fields)``.
        batch_size: Samples a step, for the rate.
    """

    def __init__(self, log: LogEvent, batch_size: int) -> None:
        self.log = log
        self.batch_size = batch_size
        self.step_seconds: list[float] = []
        self._started = 0.0
        self._since_log: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock of a step."""
        self._started = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Stop the clock of a step."""
        self.step_seconds.append(time.perf_counter() - self._started)
        self._since_log.append(self.step_seconds[-1])

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        """Write what the trainer logs."""
        del args, control
        if "loss" in logs:
            if not math.isfinite(logs["loss"]):
                raise DivergedError(
                    f"the loss became {logs['loss']} at step {state.global_step}; lower training.learning_rate, or use "
                    "training.precision fp32 or bf16"
                )
            seconds = sum(self._since_log)
            rate = self.batch_size * len(self._since_log) / seconds if seconds else None
            self._since_log.clear()
            self.log(
                "step",
                step=state.global_step,
                epoch=round(state.epoch or 0, 4),
                loss=logs["loss"],
                learning_rate=logs["learning_rate"],
                gradient_norm=logs.get("grad_norm"),
                samples_per_second=rate,
            )
        elif any(key.startswith("eval_") for key in logs):
            metrics = {key.removeprefix("eval_"): value for key, value in logs.items() if key.startswith("eval_")}
            self.log("evaluation", step=state.global_step, epoch=round(state.epoch or 0, 4), metrics=metrics)


class Patience(TrainerCallback):
    """Stops a run whose validation has not improved for a number of evaluations.

    It counts in the log that checkpoints carry, so that a resumed run stops where an undisturbed one does;
    transformers' EarlyStoppingCallback starts to count anew.

    Args:
        metric: Validation's primary one; larger is better.
        patience: Evaluations without a new best that end training; None for any number.
    """

    def __init__(self, metric: str, patience: int | None) -> None:
        self.metric = metric
        self.patience = patience

    def exhausted(self, state: TrainerState) -> bool:
        """Tell whether the last best lies too far back."""
        key = f"eval_{self.metric}"
        history = [entry[key] for entry in state.log_history if key in entry]
        return (
            self.patience is not None and bool(history) and len(history) > self.patience + history.index(max(history))
        )

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Ask for an end."""
        del args
        if self.exhausted(state):
            control.should_training_stop = True
        return control


class GracefulStop(TrainerCallback):
    """Turns the first Ctrl-C or SIGTERM into: finish this step, save a checkpoint, stop. The second one stops at once.

    Use as a context manager around training; :attr:`stopped` tells afterwards.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "GracefulStop":
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._previous[number] = signal.signal(number, self._on_signal)
            except ValueError:  # not in the main thread: the caller's own handling stays
                return self
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.stopped:
            raise KeyboardInterrupt
        self.stopped = True
        signal.signal(number, self._on_signal)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Ask for a checkpoint and an end, in all processes at the same step."""
        del args, state
        self.stopped = in_any(self.stopped)
        if self.stopped:
            control.should_save = True
            control.should_training_stop = True
        return control
