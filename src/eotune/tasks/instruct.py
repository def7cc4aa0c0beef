"""Visual questions and instructions: their data, and what a recipe says of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from eotune.core.config import Config
from eotune.core.errors import InputError, shown
from eotune.core.seeds import derive_seed, generator
from eotune.data.instruction_placeholders import without_placeholders
from eotune.data.instructions import BadRecord, InstructionSample, open_instructions
from eotune.data.labelled import read_labelled
from eotune.tasks.instruct_answers import check_kinds

DESCRIBE = "Describe the image in one sentence."
CLASSIFY = "Which class is this image of? Answer with one of: {classes}."


@dataclass(frozen=True)
class Conversation:
    """What is said about one image.

    Attributes:
        id: Unique in its set.
        image: Where its image lies.
        exchanges: Questions with their answers, without image placeholders; at least one, no answer empty.
    """

    id: str
    image: Path
    exchanges: tuple[tuple[str, str], ...]

    @property
    def question(self) -> str:
        """The first."""
        return self.exchanges[0][0]

    @property
    def answer(self) -> str:
        """That to the first question."""
        return self.exchanges[0][1]


@dataclass(frozen=True)
class InstructSet:
    """Conversations from one file.

    Attributes:
        source: The file.
        root: The folder of the images.
        samples: In the order of the file.
        left_out: Records that cannot be used, a line each.
        cut: Number of samples whose answers lose their end, since they are longer than the task's ``max_tokens``.
    """

    source: Path
    root: Path
    samples: tuple[Conversation, ...]
    left_out: tuple[str, ...] = ()
    cut: int = 0

    def __len__(self) -> int:
        return len(self.samples)

    def images(self) -> list[Path]:
        """Return each image once, in the order of its first sample."""
        return list(dict.fromkeys(sample.image for sample in self.samples))


class InstructData(Config):
    """Where images with questions and answers are.

    Attributes:
        samples: An instruction set (see :mod:`eotune.data.instructions`) or a caption file. Relative paths start at
            the current directory.
        labels: Instead of ``samples``: images of one class each, as :func:`eotune.data.labelled.read_labelled` reads
            them; the class is what is asked for.
        images: Folder that image paths start at.
        split: Take only this split.
        prompt: What is asked of captions, which have no question, and of classes, where ``{classes}`` is their list.
        limit: Take only the first n samples.
        ids: Where samples' ids come from; see :func:`~eotune.data.instructions.open_instructions`.
    """

    samples: Path | None = None
    labels: Path | None = None
    images: Path | None = None
    split: str | None = None
    prompt: str | None = None
    limit: int | None = Field(default=None, ge=1)
    ids: Literal["record", "row"] = "record"

    @model_validator(mode="after")
    def _one_source(self) -> "InstructData":
        if (self.samples is None) == (self.labels is None):
            raise ValueError("name either samples or labels")
        return self

    def read(self) -> InstructSet:
        """Read the set.

        Raises:
            InputError: The file cannot be read, or no record of it can be used.
        """
        found = self._labelled() if self.samples is None else self._instructions(self.samples)
        if not found.samples:
            reason = f"; the first: {found.left_out[0]}" if found.left_out else ""
            raise InputError(f"{found.source}: no sample can be used{reason}", remedy="correct the file")
        kept = found.samples[: self.limit]
        return InstructSet(found.source, found.root, kept, found.left_out)

    def _instructions(self, path: Path) -> InstructSet:
        source = open_instructions(path, images=self.images, split=self.split, ids=self.ids)
        samples, problems = [], []
        for found in source.samples():
            made = (
                f"record {found.row}: {found.reason}" if isinstance(found, BadRecord) else self._of(found, source.root)
            )
            if isinstance(made, str):
                problems.append(made)
            else:
                samples.append(made)
        return InstructSet(path, source.root, tuple(samples), tuple(problems))

    def _of(self, sample: InstructionSample, root: Path) -> Conversation | str:
        """Return a sample as a conversation, or what is wrong with it."""
        if len(sample.images) > 1:
            return f"sample {sample.id}: has {len(sample.images)} images; a conversation has one"
        is_caption = sample.turns[0].role == "assistant"
        exchanges = ((self.prompt or DESCRIBE, sample.answer),) if is_caption else tuple(_exchanges(sample))
        if not exchanges:
            return f"sample {sample.id}: no question is answered"
        return Conversation(sample.id, root / sample.images[0], exchanges)

    def _labelled(self) -> InstructSet:
        labelled = read_labelled(self.labels or Path(), images=self.images, split=self.split)
        names = [name.replace("_", " ") for name in labelled.classes]
        question = (self.prompt or CLASSIFY).replace("{classes}", ", ".join(names))
        samples = (
            Conversation(image, path, ((question, names[label]),))
            for image, path, label in zip(labelled.images, labelled.paths(), labelled.labels, strict=True)
        )
        return InstructSet(labelled.source, labelled.root, tuple(samples))


def _exchanges(sample: InstructionSample) -> Iterator[tuple[str, str]]:
    """Yield questions with their answers; what a system says, and what nobody answers, is left out."""
    question = None
    for turn in sample.turns:
        text = without_placeholders(turn.text).strip()
        if turn.role == "user":
            question = text
        elif turn.role == "assistant" and question and text:
            yield question, text
            question = None


class InstructConfig(Config):
    """The instruct task of a recipe.

    Attributes:
        train: Trained on.
        validation: Chooses the best epoch: a set, or the share of training images to hold out for it.
        test: Asked once, at the end.
        max_tokens: Longest conversation in tokens, the image's among them; what goes beyond is cut off,
            and a prompt of that many is refused.
        max_new_tokens: Longest answer that is generated.
        batch_size: Questions that are answered at once.
        kinds: Kinds of question beside those that are told by themselves: a name, and a pattern (a regular expression,
            case aside) that its questions hold. The first that fits is taken.
    """

    primary: ClassVar[str] = "accuracy"
    # The source's settings (arXiv 2409.13345), and LLaVA's where it names none; a recipe's own go before them.
    training_defaults: ClassVar[dict[str, Any]] = {
        "epochs": 1, "learning_rate": 5e-5, "schedule": "cosine", "warmup": 0.03, "weight_decay": 0.0,
        "betas": (0.9, 0.999), "batch_size": 64, "micro_batch_size": 4,
    }  # fmt: skip
    lora_defaults: ClassVar[dict[str, Any]] = {"rank": 64, "alpha": 64, "dropout": 0.05, "parts": {}}

    name: Literal["instruct"] = "instruct"
    train: InstructData
    validation: InstructData | float = 0.05
    test: InstructData
    max_tokens: int = Field(default=2048, ge=8)
    max_new_tokens: int = Field(default=32, ge=1)
    batch_size: int = Field(default=16, ge=1)
    kinds: dict[str, str] = Field(default_factory=dict)

    @field_validator("kinds")
    @classmethod
    def _patterns_are_patterns(cls, value: dict[str, str]) -> dict[str, str]:
        check_kinds(value)
        return value


@dataclass(frozen=True)
class InstructSplits:
    """The splits, read."""

    train: InstructSet
    validation: InstructSet
    test: InstructSet


def read_data(config: InstructConfig, seed: int) -> InstructSplits:
    """Read all splits; a validation share is held out of the training images by ``seed``, each with all its samples.

    Raises:
        InputError: A file is wrong, or a share leaves a side without an image.
    """
    train, test = config.train.read(), config.test.read()
    if isinstance(config.validation, InstructData):
        return InstructSplits(train, config.validation.read(), test)
    return InstructSplits(*hold_out(train, config.validation, seed), test)


def hold_out(train: InstructSet, share: float, seed: int) -> tuple[InstructSet, InstructSet]:
    """Divide a set into what is trained on and a share of its images, drawn by ``seed``, each with all its samples.

    Raises:
        InputError: The share leaves a side without an image.
    """
    images = train.images()
    count = round(share * len(images))
    if not 0 < count < len(images):
        raise InputError(
            f"task.validation: {shown(str(share))} of {len(images)} training images is no validation set",
            remedy="give a share between 0 and 1, or a set of its own",
        )
    chosen = generator(derive_seed(seed, "validation")).permutation(len(images))[:count]
    held = {images[position] for position in chosen}
    rest, out = (
        tuple(sample for sample in train.samples if (sample.image in held) == wanted) for wanted in (False, True)
    )
    return InstructSet(train.source, train.root, rest, train.left_out), InstructSet(train.source, train.root, out)
