"""transformers.Trainer with contrastive batches, checkpoints that are whole or ignored, and the best weights kept."""

import math
import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from eotune.core.files import named_disk_errors, replaced
from eotune.training.cached_gradients import chunked_backward
from eotune.training.processes import from_main, is_main, mean_of_all, wait_for_all, world_size
from eotune.training.sampler import EpochSampler

WEIGHTS = "trained.safetensors"
COMPLETE = "complete"

Batch = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True)
class Work:
    """What a phase trains on and towards.

    Attributes:
        dataset: Takes ``(epoch, index)`` and returns a sample; has a length.
        collate: Maps samples to ``{"inputs": {...}, "targets": {...}}``, one row a sample; or to several such, whose
            losses add up to the batch's and whose gradients are accumulated. Those have a target ``count``, what the
            batch's loss is divided by: :attr:`loss` gets its mean over processes, whose gradients are averaged.
        loss: Maps the model's output for a whole batch, and the targets, to a scalar.
        evaluate: Returns validation metrics by name.
        no_decay: Names of parameters without weight decay.
        primary: The metric that chooses the best epoch; larger is better.
        model: What is trained and called with ``inputs``; None for the encoder.
        steps_before: Of the phases before this one, whose epochs are counted on: an epoch's order and augmentation are
            drawn by its number.
    """

    dataset: Dataset[Any]
    collate: Callable[[list[Any]], Batch | list[Batch]]
    loss: Callable[[Any, Mapping[str, Tensor]], Tensor]
    evaluate: Callable[[], dict[str, float]]
    no_decay: frozenset[str] = field(default_factory=frozenset)
    primary: str = "mR"
    model: nn.Module | None = None
    steps_before: int = 0

    def steps_an_epoch(self, batch_size: int) -> int:
        """Return an epoch's number of steps; what is left over of the samples is dropped."""
        return len(self.dataset) // batch_size  # type: ignore[arg-type]


class PhaseTrainer(Trainer):
    """Trains one phase of a method. Only parameters that require gradients are saved and restored.

    Args:
        model: An encoder, called with the batch's ``inputs``.
        arguments: Of transformers' Trainer.
        work: Data, objective and validation.
        betas: Of AdamW.
        chunk_size: Samples that go through the model at once; None for the whole batch.
        callbacks: Of transformers' Trainer.
    """

    optimizer: Any
    control: Any

    def __init__(
        self,
        model: nn.Module,
        arguments: TrainingArguments,
        work: Work,
        *,
        betas: tuple[float, float],
        chunk_size: int | None,
        callbacks: list[Any],
    ) -> None:
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=work.dataset,
            eval_dataset=work.dataset,  # asked for by the base class; evaluate() below has its own
            data_collator=work.collate,
            callbacks=callbacks,
        )
        self.work = work
        self.betas = betas
        self.chunk_size = chunk_size
        self.model_accepts_loss_kwargs = False

    # --- one step -------------------------------------------------------------------------------------------------

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Accumulate the gradient of one batch, whole or in chunks; returns the loss."""
        del num_items_in_batch
        model.train()
        batch = self._prepare_inputs(inputs)
        if isinstance(batch, list):
            return self._sum_of_parts(model, batch)
        rows = len(next(iter(batch["inputs"].values())))

        def forward(chunk: Mapping[str, Tensor]) -> Any:
            with self.compute_loss_context_manager():
                return model(**chunk)

        if self.chunk_size is not None and rows > self.chunk_size:
            return chunked_backward(
                model,
                batch["inputs"],
                batch["targets"],
                forward=forward,
                loss=self.work.loss,
                backward=self.accelerator.backward,
                chunk_size=self.chunk_size,
            )
        loss = self.work.loss(forward(batch["inputs"]), batch["targets"])
        self.accelerator.backward(loss)
        return loss.detach()

    def _sum_of_parts(self, model: nn.Module, parts: list[Batch]) -> Tensor:
        """Accumulate the gradient of a batch that came in parts; processes exchange theirs after the last one."""
        total = torch.zeros((), device=self.args.device)
        count = mean_of_all(parts[0]["targets"]["count"])
        for number, part in enumerate(parts, start=1):
            with nullcontext() if number == len(parts) else self.accelerator.no_sync(model):
                with self.compute_loss_context_manager():
                    output = model(**part["inputs"])
                loss = self.work.loss(output, {**part["targets"], "count": count})
                self.accelerator.backward(loss)
            total += loss.detach()
        return total

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Build AdamW over the trainable parameters, with weight decay only where the method wants it."""
        del model
        if self.optimizer is None:
            named = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
            groups = [
                {
                    "params": [p for name, p in named if name not in self.work.no_decay],
                    "weight_decay": self.args.weight_decay,
                },
                {"params": [p for name, p in named if name in self.work.no_decay], "weight_decay": 0.0},
            ]
            self.optimizer = torch.optim.AdamW(
                [group for group in groups if group["params"]],
                lr=self.args.learning_rate,
                betas=self.betas,
                eps=1e-8,
                fused=True,
            )
        return self.optimizer

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        del train_dataset
        steps_an_epoch = self.work.steps_an_epoch(self.args.per_device_train_batch_size * world_size())
        first = math.ceil(self.work.steps_before / steps_an_epoch)
        return EpochSampler(len(self.work.dataset), self.args.seed, first)  # type: ignore[arg-type]

    # --- validation and the best weights --------------------------------------------------------------------------

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Run the phase's validation in the main process; every process gets its figures."""
        figures = from_main(self.work.evaluate() if is_main() else {})
        metrics = {f"eval_{name}": value for name, value in figures.items()}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        better = super()._determine_best_metric(metrics, trial)
        if better:
            self.state.best_global_step = self.state.global_step
            if is_main():
                with replaced(Path(self.args.output_dir) / f"best.{WEIGHTS}") as temporary:
                    save_file(trained_state(self.model), temporary)
        return better

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        del state_dict
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(trained_state(self.model), folder / WEIGHTS)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        with named_disk_errors(folder):
            super()._save_checkpoint(model, trial)
        wait_for_all()  # each process has put its random state there
        if is_main():  # the mark comes last: a checkpoint without it was cut short, and is ignored
            (folder / COMPLETE).touch()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        load_trained_state(model or self.model, Path(resume_from_checkpoint) / WEIGHTS)


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the trainable parameters by name, shared ones once, on the CPU."""
    return {name: p.detach().cpu().contiguous() for name, p in model.named_parameters() if p.requires_grad}


def load_trained_state(model: nn.Module, path: Path) -> None:
    """Copy what :func:`trained_state` saved into ``model``."""
    state = load_file(path)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in state:
                parameter.copy_(state[name])


def last_checkpoint(directory: Path) -> Path | None:
    """Return the newest whole checkpoint, and remove those that a crash cut short; None where there is none."""
    whole = []
    for folder in directory.glob("checkpoint-*"):
        if (folder / COMPLETE).exists():
            whole.append(folder)
        else:
            shutil.rmtree(folder)
    return max(whole, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)
