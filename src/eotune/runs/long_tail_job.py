"""A run of long-tailed classification."""

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eotune.core.files import sha256
from eotune.core.progress import say
from eotune.data.band_statistics import BandReader, BandStatistics, compute_band_statistics
from eotune.data.captions import CaptionSample, CaptionSet, listed_error
from eotune.data.inventory import Inventory
from eotune.data.labelled import LabelledSet
from eotune.encoders.base import ImageEncoder
from eotune.methods.base import Method, Phase
from eotune.runs.job import Job
from eotune.runs.long_tail_card import write_card
from eotune.runs.long_tail_files import keep_targets
from eotune.runs.long_tail_geometry import write_geometry
from eotune.runs.long_tail_plots import write_plots
from eotune.runs.long_tail_report import write_report
from eotune.runs.long_tail_rows import MODELS, measure, split_rows, write_test_files
from eotune.runs.recipe import Recipe
from eotune.runs.saved_bands import save_bands
from eotune.runs.saved_classifiers import read_classifiers, save_classifiers
from eotune.runs.workshop import Workshop
from eotune.tasks.labelled_images import image_features, view_features
from eotune.tasks.long_tail import LabelledData, LongTailConfig, read_data
from eotune.tasks.long_tail_evaluation import VIEWS, ClassScores, fit_classifiers
from eotune.tasks.long_tail_objective import LongTailObjectiveConfig
from eotune.tasks.long_tail_training import Caches, LongTailTraining
from eotune.training.processes import is_main
from eotune.training.trainer import Work

_SPLITS = ("train", "validation", "test")
_TOLERATED = 0.2  # of the imbalance ratio: 50 of 225 images is 225 over 4 or 5
_PAIRS = (("train", "test"), ("train", "validation"), ("validation", "test"))


class LongTailJob(Job[ImageEncoder]):
    """Images of one class each; probes on their features, and the trained head, measured by groups of classes."""

    unit = "images"
    task: LongTailConfig

    def __init__(self, recipe: Recipe, workshop: Workshop) -> None:
        super().__init__(recipe, workshop)
        if not isinstance(recipe.task, LongTailConfig):
            raise TypeError(f"a long-tail job of task {recipe.task.name}")
        self.task = recipe.task
        self.data = read_data(recipe.task, recipe.seed)
        self._training: LongTailTraining | None = None
        self._caches: Caches | None = None
        self._kept: dict[tuple[str, str], np.ndarray] = {}
        self._frozen_scores: dict[str, ClassScores] | None = None

    @functools.cached_property
    def statistics(self) -> BandStatistics | None:
        """How bands are scaled, from the training images; None for RGB."""
        if self.task.bands is None:
            return None
        return compute_band_statistics(self.data.train.paths(), self.task.bands)

    def description(self) -> dict[str, Any]:
        """Return data.json: files, sizes and classes of the splits, images that they share."""
        taken = {
            split: self.workshop.inventory(_as_captions(getattr(self.data, split)), bands=None) for split in _SPLITS
        }
        problems = [problem for inventory in taken.values() for problem in inventory.problems]
        if problems:
            raise listed_error("images", problems, remedy="`eotune check` lists every bad file of a data set")
        sources = [
            one.path for one in (getattr(self.task, split) for split in _SPLITS) if isinstance(one, LabelledData)
        ]
        return {
            "files": {str(path): sha256(path) for path in sources if path.is_file()},
            "splits": {split: self._of_split(split, one) for split, one in taken.items()},
            "groups": {
                name: [self.data.train.classes[number] for number in members]
                for name, members in self.data.groups.items()
            },
            "bands": self.statistics.to_dict() if self.statistics else None,
            "leaks": {f"{a} and {b}": self.workshop.leaks(taken[a], taken[b]).to_dict() for a, b in _PAIRS},
        }

    @classmethod
    def pretrained(cls, recipe: Recipe, workshop: Workshop) -> ImageEncoder:
        """Return the pretrained encoder for RGB, to be changed."""
        return workshop.image_encoder(recipe.encoder, None)

    def encoder(self) -> ImageEncoder:
        """Return the pretrained encoder, to be changed."""
        encoder = self.workshop.image_encoder(self.recipe.encoder, self.statistics)
        scaling = self.task.bands.scaling if self.task.bands else "percentile"
        if encoder.takes_sigma and scaling != "sigma" and is_main():
            say(f"warning: task.bands.scaling: {scaling}; {encoder.name} was pretrained with sigma")
        return encoder

    def check(self, method: Method) -> None:
        """Refuse settings that so many training images cannot meet; say it where they cannot meet the imbalance."""
        counts, asked = self.data.train.counts(), self.task.imbalance_ratio
        method.check_samples(len(self.data.train))
        if asked is not None and abs(counts.max() / counts.min() / asked - 1) > _TOLERATED and is_main():
            say(
                f"warning: task.imbalance_ratio is {asked:g}, but there are {counts.max()} images of the largest class "
                f"and {counts.min()} of the smallest: {counts.max() / counts.min():.3g}"
            )

    def work(self, phase: Phase, encoder: ImageEncoder, method: Method, folder: Path) -> Work:
        """Return what a phase trains: labels, or targets for features."""
        if self._training is None:
            recipe = self.recipe
            images = self._images(encoder)
            self._training = LongTailTraining(self.task, self.data, images, encoder, recipe.training, recipe.seed)
        return self._training.work(phase, method, folder)

    def keep(self, adapter: Path) -> None:
        """Write how bands are scaled; RGB needs nothing."""
        if self.task.bands is not None and self.statistics is not None:
            save_bands(adapter, self.task.bands, self.statistics)

    def measure(self, split: str, encoder: ImageEncoder, run: Path) -> list[dict[str, Any]]:
        """Return the rows of a split; keep predictions and class figures of the test split."""
        labels = getattr(self.data, split).labels
        measured = {}
        for model in MODELS:
            features = {
                one: self._features(model, one, encoder) for one in dict.fromkeys(("train", "validation", split))
            }
            for name, scores in self._classifiers(model, features, encoder, run).items():
                of_split = self._views(split, encoder) if name == VIEWS else features[split]
                measured[model, name] = measure(scores, of_split, labels, self.data)
        keep_targets(run)
        if split == "test":
            write_test_files(run, measured, self.data)
            by_model = {
                (model, one): self._features(model, one, encoder) for model in MODELS for one in ("train", split)
            }
            write_geometry(run, by_model, self.data, measured["adapted", "probe"].result.classification)
        return split_rows(measured, self.data, self.recipe, split)

    def draw(self, run: Path) -> None:
        """Write plots, model card and report."""
        write_plots(run)
        write_card(run)
        write_report(run)

    def _images(self, encoder: ImageEncoder) -> Caches:
        """Return the images of each split, decoded for an encoder of that size."""
        if self._caches is None:
            bands, statistics, size = self.task.bands, self.statistics, 2 * encoder.transform.size
            reader = BandReader(bands, statistics) if bands and statistics else None
            paths = (getattr(self.data, split).paths() for split in _SPLITS)
            self._caches = Caches(*(self.workshop.labelled(one, reader, max_side=size) for one in paths))
        return self._caches

    def _classifiers(
        self, model: str, features: Mapping[str, np.ndarray], encoder: ImageEncoder, run: Path
    ) -> dict[str, ClassScores]:
        """Return the classifiers of a model; the adapted one's are kept in the run."""
        if model == "frozen":
            if self._frozen_scores is None:
                self._frozen_scores = fit_classifiers(features, self.data)
            return self._frozen_scores
        saved = read_classifiers(run)
        if saved is not None:
            return saved[1]
        training = self._training
        head = training.head if training else None
        views = self._views("validation", encoder) if head is not None and self.task.five_crops else None
        scores = fit_classifiers(features, self.data, head, views)
        save_classifiers(
            run,
            scores,
            classes=self.data.train.classes,
            dim=features["train"].shape[1],
            objective=training.objective if training else LongTailObjectiveConfig(),
        )
        return scores

    def _features(self, model: str, split: str, encoder: ImageEncoder) -> np.ndarray:
        """Return a trained, or the pretrained, model's features of a split; each is computed once."""
        if (model, split) not in self._kept:
            cache, precision = getattr(self._images(encoder), split), self.recipe.training.precision
            self._kept[model, split] = (
                image_features(encoder, cache, precision=precision, description=f"embedding {split}")
                if model == "adapted"
                else self.workshop.frozen_features(
                    self.recipe.encoder, self.statistics, cache, precision=precision, device=encoder.device
                )
            )
        return self._kept[model, split]

    def _views(self, split: str, encoder: ImageEncoder) -> np.ndarray:
        """Return the adapted model's features of five crops of each image."""
        if (VIEWS, split) not in self._kept:
            cache = getattr(self._images(encoder), split)
            self._kept[VIEWS, split] = view_features(encoder, cache, precision=self.recipe.training.precision)
        return self._kept[VIEWS, split]

    def _of_split(self, split: str, inventory: Inventory) -> dict[str, Any]:
        """Return a split's sizes and its checksum: equal exactly where images and classes are, in the same order."""
        labelled: LabelledSet = getattr(self.data, split)
        digest = hashlib.sha256()
        for pixels, label in zip(inventory.pixels(), labelled.labels, strict=True):
            digest.update(pixels or b"")
            digest.update(json.dumps(labelled.classes[label]).encode())
        counts = dict(zip(labelled.classes, labelled.counts().tolist(), strict=True))
        return {"images": len(labelled), "classes": counts, "sha256": digest.hexdigest()}


def _as_captions(labelled: LabelledSet) -> CaptionSet:
    """Return the images as a captioned set without captions, as which their equality is looked into."""
    origins = labelled.origins or [None] * len(labelled)
    samples = (
        CaptionSample(id=image, image=image, captions=(), label=labelled.classes[label], origin=origin)
        for image, label, origin in zip(labelled.images, labelled.labels, origins, strict=True)
    )
    return CaptionSet(labelled.source, labelled.root, tuple(samples), "jsonl")
