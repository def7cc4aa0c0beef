"""How a phase is trained: what a recipe says under ``training``."""

from typing import Literal

from pydantic import Field, model_validator

from eotune.core.config import Config
from eotune.data.augment import Augmentation


class TrainingConfig(Config):
    """Settings of the optimisation; the defaults are HarMA's where it names them (arXiv 2404.18253).

    Attributes:
        epochs: Passes over the training pairs.
        max_steps: Stop after this many steps, whatever ``epochs`` says.
        batch_size: Pairs that meet in one contrastive loss, over all processes.
        micro_batch_size: Pairs that go through the model at once; smaller than ``batch_size`` saves memory and
            leaves the loss and its gradient as they are (gradient caching, arXiv 2101.06983).
        learning_rate: Peak.
        weight_decay: On weight matrices; gates, biases and norms are left out unless the method says otherwise.
        betas: Of AdamW.
        warmup: Share of all steps with a linearly rising rate.
        schedule: The shape after warm-up.
        precision: Of the model's products, by autocast; weights and losses stay float32.
        gradient_checkpointing: Recompute activations in the backward pass instead of keeping them.
        max_grad_norm: Gradients longer than this are scaled down; 0 leaves them.
        patience: Stop when validation has not improved for this many evaluations; None trains to the end.
        augmentation: Of the training images.
        workers: Processes that prepare batches; ``auto`` takes none on the CPU, where they would compete with the model
            for its cores, and up to 8 beside a GPU.
        cache_gigabytes: Decoded images up to this size are kept in memory; ``auto`` takes half of what is free.
        log_every: Steps between two lines of log.jsonl.
        checkpoint_every: Steps between two checkpoints; None makes one an epoch.
        keep_checkpoints: Leave checkpoints in place after success.
        report_to: Experiment trackers known to transformers (``tensorboard``, ``wandb``, ...).
        device: ``auto`` takes a GPU where there is one.
    """

    epochs: float = Field(default=10, gt=0)
    max_steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=128, ge=2)
    micro_batch_size: int | None = Field(default=None, ge=1)
    learning_rate: float = Field(default=4e-4, gt=0)
    weight_decay: float = Field(default=0.04, ge=0)
    betas: tuple[float, float] = (0.9, 0.98)
    warmup: float = Field(default=0.1, ge=0, lt=1)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    gradient_checkpointing: bool = False
    max_grad_norm: float = Field(default=1.0, ge=0)
    patience: int | None = Field(default=None, ge=1)
    augmentation: Augmentation = Augmentation()
    workers: int | Literal["auto"] = "auto"
    cache_gigabytes: float | Literal["auto"] = "auto"
    log_every: int = Field(default=10, ge=1)
    checkpoint_every: int | None = Field(default=None, ge=1)
    keep_checkpoints: bool = False
    report_to: tuple[str, ...] = ()
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @model_validator(mode="after")
    def _micro_batch_fits(self) -> "TrainingConfig":
        if self.micro_batch_size is not None and self.micro_batch_size > self.batch_size:
            raise ValueError(f"micro_batch_size {self.micro_batch_size} is larger than batch_size {self.batch_size}")
        return self
