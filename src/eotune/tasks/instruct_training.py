"""Training a vision-language model on conversations: the loss is of the answers' tokens alone."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from eotune.core.errors import InputError
from eotune.core.progress import progress
from eotune.data.cache import ImageCache
from eotune.encoders.base import autocast, evaluating
from eotune.encoders.multimodal_vlm import VisionLanguageEncoder
from eotune.methods.base import Method
from eotune.tasks.instruct import Conversation, InstructConfig
from eotune.tasks.instruct_inputs import IGNORED, Lessons, collate_lessons
from eotune.training.config import TrainingConfig
from eotune.training.trainer import Batch, Work

LIKELIHOOD = "answer_likelihood"


class LessonDataset(Dataset[dict[str, Tensor]]):
    """Conversations by ``(epoch, index)``; images are taken as they are, since a mirrored one has another left.

    Args:
        samples: Conversations.
        images: That of each, in the same order.
        lessons: Makes tokens of them.
        pad_id: Of the tokenizer.
        at_once: Samples that go through the model at once; None for the whole batch.
    """

    def __init__(
        self,
        samples: Sequence[Conversation],
        images: ImageCache,
        lessons: Lessons,
        pad_id: int,
        at_once: int | None,
    ) -> None:
        self.samples = samples
        self.images = images
        self.lessons = lessons
        self.pad_id = pad_id
        self.at_once = at_once

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        _, index = key
        try:
            return self.lessons.lesson(self.images[index], self.samples[index].exchanges)
        except InputError as error:
            raise InputError(f"sample {self.samples[index].id}: {error}") from None

    def collate(self, rows: Sequence[Mapping[str, Tensor]]) -> list[Batch]:
        """Join rows of like length to parts of a batch; each knows the number of answer tokens of the whole."""
        taught = sum(int((row["labels"] != IGNORED).sum()) for row in rows)
        size = self.at_once or len(rows)
        order = sorted(rows, key=lambda row: row["labels"].shape[1])
        return [
            {
                "inputs": collate_lessons(order[start : start + size], self.pad_id),
                "targets": {"count": torch.tensor(taught)},
            }
            for start in range(0, len(order), size)
        ]


class Taught(nn.Module):
    """A vision-language model that is called with lessons.

    Args:
        encoder: The model.
    """

    def __init__(self, encoder: VisionLanguageEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, labels: Tensor, **inputs: Tensor) -> Tensor:
        """Return the sum over answers' tokens of -log p(token | all before it), a float32 scalar.

        Args:
            labels: ``(n, t)``; :data:`~eotune.tasks.instruct_inputs.IGNORED` where no answer is.
            inputs: The model's arguments.
        """
        following = labels[:, 1:]
        columns = (following != IGNORED).any(0).nonzero()[:, 0]  # logits of the others would fill memory
        model = self.encoder.model
        floats = {name: one.to(model.dtype) for name, one in inputs.items() if one.is_floating_point()}
        logits = model(**{**inputs, **floats}, logits_to_keep=columns, use_cache=False).logits.float()
        return nn.functional.cross_entropy(
            logits.flatten(0, 1), following[:, columns].flatten(), ignore_index=IGNORED, reduction="sum"
        )


def mean_over_tokens(total: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
    """Return a part's share of the mean over the answer tokens of its batch."""
    return total / targets["count"]


class InstructTraining:
    """What a run trains, and what its epochs are judged by.

    Args:
        config: The task.
        train: Conversations.
        train_images: That of each.
        validation: Likewise.
        validation_images: Likewise.
        encoder: Adapted.
        training: Settings; images are not augmented.
    """

    def __init__(
        self,
        config: InstructConfig,
        train: Sequence[Conversation],
        train_images: ImageCache,
        validation: Sequence[Conversation],
        validation_images: ImageCache,
        encoder: VisionLanguageEncoder,
        training: TrainingConfig,
    ) -> None:
        self.model = Taught(encoder)
        self.precision = training.precision
        lessons, pad = Lessons(encoder, config.max_tokens), encoder.prompts.pad_id
        self.batch_size = min(config.batch_size, training.micro_batch_size or training.batch_size)
        self.train = LessonDataset(train, train_images, lessons, pad, training.micro_batch_size)
        self.validation = LessonDataset(validation, validation_images, lessons, pad, None)

    def work(self, method: Method) -> Work:
        """Return what a phase trains on and towards."""
        encoder = self.model.encoder
        return Work(
            dataset=self.train,
            collate=self.train.collate,
            loss=mean_over_tokens,
            evaluate=self.evaluate,
            no_decay=frozenset(f"encoder.{name}" for name in method.no_decay(encoder)),
            primary=LIKELIHOOD,
            model=self.model,
        )

    @torch.inference_mode()
    def evaluate(self) -> dict[str, float]:
        """Return the mean likelihood (geometric) of validation answers' tokens, per cent."""
        total, tokens, device = 0.0, 0, self.model.encoder.device
        with evaluating(self.model), autocast(device, self.precision):
            for rows in progress(list(self._batches()), description="validating"):
                (part,) = self.validation.collate([self.validation[0, index] for index in rows])
                inputs: dict[str, Any] = {name: one.to(device) for name, one in part["inputs"].items()}
                total += float(self.model(**inputs))
                tokens += int((inputs["labels"] != IGNORED).sum())
        return {LIKELIHOOD: 100 * math.exp(-total / tokens)}

    def _batches(self) -> Iterator[range]:
        count = len(self.validation)
        return (range(start, min(start + self.batch_size, count)) for start in range(0, count, self.batch_size))
