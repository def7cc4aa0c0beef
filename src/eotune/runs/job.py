"""What a task brings to a run: its data, what its phases train on, what is measured, and what is drawn of it."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from eotune.core.lookup import resolve
from eotune.encoders.base import Encoder
from eotune.methods.base import Method, Phase
from eotune.runs.recipe import Recipe
from eotune.runs.workshop import Workshop
from eotune.training.trainer import Work

_JOBS = {
    "retrieval": "eotune.runs.retrieval_job:RetrievalJob",
    "long_tail": "eotune.runs.long_tail_job:LongTailJob",
    "instruct": "eotune.runs.instruct_job:InstructJob",
}


EncoderType = TypeVar("EncoderType", bound=Encoder)


class Job(ABC, Generic[EncoderType]):
    """One task's part of a run. :func:`~eotune.runs.execute.execute` calls its methods in the order they stand here.

    Making one reads the data.

    Args:
        recipe: Validated.
        workshop: What the runs of this process share.

    Raises:
        InputError: The data are wrong.

    Attributes:
        unit: What an epoch consists of, in words.
        beside_test: Splits that are measured whenever the test split is.
    """

    unit: ClassVar[str]

    def __init__(self, recipe: Recipe, workshop: Workshop) -> None:
        self.recipe = recipe
        self.workshop = workshop

    @property
    def beside_test(self) -> tuple[str, ...]:
        """Splits that are measured whenever the test split is."""
        return ()

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """Return data.json: ``files`` with checksums, ``splits`` with sizes and checksums, ``leaks`` between them.

        Raises:
            InputError: Images cannot be read.
        """

    @classmethod
    @abstractmethod
    def pretrained(cls, recipe: Recipe, workshop: Workshop) -> EncoderType:
        """Return the pretrained encoder as it is whatever the data, to be changed.

        Raises:
            InputError: It cannot be read.
        """

    def encoder(self) -> EncoderType:
        """Return the pretrained encoder for the job's data, to be changed."""
        return self.pretrained(self.recipe, self.workshop)

    def check(self, method: Method) -> None:
        """Refuse a method that is none for the task, or whose settings the data cannot meet.

        Raises:
            InputError: It is none, or they cannot.
        """

    @abstractmethod
    def work(self, phase: Phase, encoder: EncoderType, method: Method, folder: Path) -> Work:
        """Return what a phase trains, on what and towards what.

        Args:
            phase: The phases before it are done.
            encoder: Adapted by ``method``.
            method: Whose phase it is.
            folder: Holds the phase's checkpoints; what must outlast an interruption is kept there.
        """

    def keep(self, adapter: Path) -> None:
        """Write into the saved adapter's folder what else it takes to use it."""
        del adapter  # most tasks need nothing

    @abstractmethod
    def measure(self, split: str, encoder: EncoderType, run: Path) -> list[dict[str, Any]]:
        """Return the rows of metrics.json for a split; write what is kept of it into ``run``."""

    @abstractmethod
    def draw(self, run: Path) -> None:
        """Write plots, model card and report from the files of a measured run."""


def job_of(recipe: Recipe) -> type[Job[Any]]:
    """Return the kind of job of the recipe's task."""
    kind: type[Job[Any]] = resolve(_JOBS[recipe.task.name])
    return kind


def open_job(recipe: Recipe, workshop: Workshop) -> Job[Any]:
    """Return the job of the recipe's task; its data are read.

    Raises:
        InputError: The data are wrong.
    """
    return job_of(recipe)(recipe, workshop)
