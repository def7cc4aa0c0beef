"""A run of image-text retrieval."""

import functools
from pathlib import Path
from typing import Any

from eotune.core.errors import InputError
from eotune.encoders.base import DualEncoder
from eotune.methods.base import Method, Phase
from eotune.runs.card import write_card
from eotune.runs.describe_data import describe_data
from eotune.runs.job import Job
from eotune.runs.measure import measure, split_rows, write_test_files
from eotune.runs.plots import write_plots
from eotune.runs.recipe import Recipe
from eotune.runs.report import write_report
from eotune.runs.workshop import Workshop
from eotune.tasks.features import FeatureTraining
from eotune.tasks.image_training import ImageTraining
from eotune.tasks.retrieval import RetrievalConfig, read_data
from eotune.training.trainer import Work


class RetrievalJob(Job[DualEncoder]):
    """Pairs of images and captions, ranked in both directions."""

    unit = "pairs"

    def __init__(self, recipe: Recipe, workshop: Workshop) -> None:
        super().__init__(recipe, workshop)
        if not isinstance(recipe.task, RetrievalConfig):
            raise TypeError(f"a retrieval job of task {recipe.task.name}")
        self.task = recipe.task
        self.data = read_data(recipe.task, recipe.seed)
        self._training = functools.cache(self._make_training)

    @property
    def beside_test(self) -> tuple[str, ...]:
        """The retention set, where there is one."""
        return ("retention",) if self.task.retention else ()

    def description(self) -> dict[str, Any]:
        """Return data.json."""
        return describe_data(self.task, self.data, self.workshop)

    @classmethod
    def pretrained(cls, recipe: Recipe, workshop: Workshop) -> DualEncoder:
        """Return the pretrained encoder, to be changed."""
        return workshop.encoder(recipe.encoder)

    def check(self, method: Method) -> None:
        """Refuse a method of labelled images."""
        if method.needs_labels:
            raise InputError(
                f"method.name: {method.config.name} adapts to labelled images, not to image-text retrieval",
                remedy="take lora or harma, or the task long_tail",
            )

    def work(self, phase: Phase, encoder: DualEncoder, method: Method, folder: Path) -> Work:
        """Return what a phase trains: on images, or on embeddings where nothing in front of them moves."""
        del folder
        training = self._training(ImageTraining if phase.on_features is None else FeatureTraining, encoder)
        return training.work(phase, frozenset(method.no_decay(encoder)))

    def measure(self, split: str, encoder: DualEncoder, run: Path) -> list[dict[str, Any]]:
        """Return the rows of a split; keep embeddings, ranks and examples of the test split."""
        recipe, images = self.recipe, self.workshop.images
        captions, bands = getattr(self.data, split), self.task.bands(split)  # type: ignore[arg-type]
        precision = recipe.training.precision
        ready = images.evaluation(captions, encoder, bands=bands, description=f"decoding {split}")
        pretrained = self.workshop.zero_shot(
            recipe.encoder, ready, bands=bands, precision=precision, device=encoder.device
        )
        measured = {"zero-shot": pretrained, "adapted": measure(ready, encoder, precision=precision)}
        if split == "test":
            write_test_files(run, ready, measured)
        return split_rows(measured, ready, recipe, split)

    def draw(self, run: Path) -> None:
        """Write plots, model card and report."""
        write_plots(run)
        write_card(run)
        write_report(run)

    def _make_training(
        self, kind: type[ImageTraining | FeatureTraining], encoder: DualEncoder
    ) -> ImageTraining | FeatureTraining:
        recipe = self.recipe
        return kind(self.task, self.data, encoder, recipe.training, recipe.seed, self.workshop.images)
