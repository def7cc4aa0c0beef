"""A run of a vision-language model on images with questions and answers."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from eotune.core.errors import InputError
from eotune.core.files import sha256
from eotune.core.progress import say
from eotune.data.cache import ImageCache, free_memory
from eotune.data.captions import CaptionSample, CaptionSet, listed_error
from eotune.data.inventory import Inventory
from eotune.encoders.multimodal_vlm import VisionLanguageEncoder
from eotune.methods.base import Method, Phase
from eotune.runs.instruct_card import write_card
from eotune.runs.instruct_report import write_report
from eotune.runs.instruct_rows import split_rows, write_predictions
from eotune.runs.job import Job
from eotune.runs.learning import learning_curves, write_learning_curve
from eotune.runs.recipe import Recipe
from eotune.runs.run_files import RunFiles
from eotune.runs.workshop import Workshop
from eotune.tasks.instruct import InstructConfig, InstructSet, read_data
from eotune.tasks.instruct_answers import kind_of_question, prior_answers
from eotune.tasks.instruct_evaluation import answers, judge
from eotune.tasks.instruct_training import LIKELIHOOD, InstructTraining
from eotune.tasks.instruct_usable import usable
from eotune.training.processes import is_main, world_size
from eotune.training.trainer import Work

_SPLITS = ("train", "validation", "test")
_PAIRS = (("train", "test"), ("train", "validation"), ("validation", "test"))
_METHODS = ("frozen", "full", "lora")
_LISTED = 10
_CACHE_SHARE = 0.5  # of free memory


class InstructJob(Job[VisionLanguageEncoder]):
    """Conversations about images: trained on their answers, asked their first questions."""

    unit = "conversations"
    task: InstructConfig

    def __init__(self, recipe: Recipe, workshop: Workshop) -> None:
        super().__init__(recipe, workshop)
        if not isinstance(recipe.task, InstructConfig):
            raise TypeError(f"an instruct job of task {recipe.task.name}")
        self.task = recipe.task
        self.data = read_data(recipe.task, recipe.seed)
        gigabytes = recipe.training.cache_gigabytes
        limit = _CACHE_SHARE * free_memory() / world_size() if gigabytes == "auto" else gigabytes * 2**30
        self._images = ImageCache([], memory_limit_bytes=int(limit))

    def description(self) -> dict[str, Any]:
        """Return data.json: files, sizes of the splits, records left out, images that the splits share.

        What the model cannot be asked or taught is taken out of the splits.
        """
        self._leave_out(self._inventories())
        sets, taken = {split: self._of(split) for split in _SPLITS}, self._inventories()
        left_out = {split: one.left_out for split, one in sets.items() if one.left_out}
        if is_main():
            _warn(sets, self.task.max_tokens)
        return {
            "files": {str(one.source): sha256(one.source) for one in sets.values() if one.source.is_file()},
            "splits": {split: self._of_split(one, taken[split]) for split, one in sets.items()},
            "left_out": {split: list(lines[:_LISTED]) for split, lines in left_out.items()},
            "leaks": {f"{a} and {b}": self.workshop.leaks(taken[a], taken[b]).to_dict() for a, b in _PAIRS},
        }

    @classmethod
    def pretrained(cls, recipe: Recipe, workshop: Workshop) -> VisionLanguageEncoder:
        """Return the pretrained model, to be changed."""
        return workshop.vision_language(recipe.encoder)

    def check(self, method: Method) -> None:
        """Refuse what adapts encoders of other kinds."""
        if method.config.name not in _METHODS:
            raise InputError(
                f"method.name: {method.config.name} adapts no vision-language model",
                remedy="take lora, whose parts can be frozen, lora or full",
            )

    def work(self, phase: Phase, encoder: VisionLanguageEncoder, method: Method, folder: Path) -> Work:
        """Return what a run trains."""
        del phase, folder
        train, validation = self.data.train, self.data.validation
        return InstructTraining(
            self.task,
            train.samples,
            self._images_of(train),
            validation.samples,
            self._images_of(validation),
            encoder,
            self.recipe.training,
        ).work(method)

    def measure(self, split: str, encoder: VisionLanguageEncoder, run: Path) -> list[dict[str, Any]]:
        """Return the rows of a split; keep the answers to the test's questions."""
        asked, recipe = self._of(split), self.recipe
        images = self._images_of(asked)
        settings: dict[str, Any] = {
            "batch_size": self.task.batch_size,
            "max_new_tokens": self.task.max_new_tokens,
            "precision": recipe.training.precision,
        }
        pairs = [[(one.question, one.answer) for one in part.samples] for part in (asked, self.data.train)]
        given = {
            "zero-shot": self.workshop.pretrained_answers(
                recipe.encoder, asked.samples, images, device=encoder.device, **settings
            ),
            "adapted": answers(encoder, asked.samples, images, **settings, description=f"answering {split}"),
            "blind": answers(encoder, asked.samples, None, **settings, description=f"answering {split}, blind"),
            "prior": prior_answers(pairs[0], pairs[1], self.task.kinds),
        }
        judged = {model: judge(asked.samples, one, self.task.kinds) for model, one in given.items()}
        if split == "test":
            write_predictions(run, asked, given, judged)
        return split_rows(judged, asked, recipe, split)

    def draw(self, run: Path) -> None:
        """Write the learning curve, model card and report."""
        curves = learning_curves(RunFiles.read(run).log, LIKELIHOOD)
        if any(curve.losses for curve in curves):
            write_learning_curve(run / "plots", curves, LIKELIHOOD)
        write_card(run)
        write_report(run)

    def _leave_out(self, taken: Mapping[str, Inventory]) -> None:
        """Take out of the splits what the model cannot be asked or taught."""
        lessons = self.workshop.lessons(self.recipe.encoder, self.task.max_tokens)
        for split, inventory in taken.items():
            asked = self._of(split)
            found = zip(asked.images(), inventory.fingerprints, strict=True)
            sizes = {image: one.size for image, one in found if one is not None}
            self.data = replace(self.data, **{split: usable(asked, sizes, lessons, taught=split != "test")})

    def _inventories(self) -> dict[str, Inventory]:
        """Return the images of each split; asked again, they are not read again.

        Raises:
            InputError: Some cannot be read.
        """
        taken = {split: self.workshop.inventory(_as_captions(self._of(split)), bands=None) for split in _SPLITS}
        problems = [problem for inventory in taken.values() for problem in inventory.problems]
        if problems:
            raise listed_error("images", problems, remedy="`eotune check` lists every bad file of a data set")
        return taken

    def _of(self, split: str) -> InstructSet:
        found: InstructSet = getattr(self.data, split)
        return found

    def _images_of(self, asked: InstructSet) -> ImageCache:
        """Return the image of each sample."""
        return self._images.over([sample.image for sample in asked.samples])

    def _of_split(self, asked: InstructSet, inventory: Inventory) -> dict[str, Any]:
        """Return a split's sizes and its checksum: equal exactly where images and texts are, in the same order."""
        pixels = dict(zip(asked.images(), inventory.pixels(), strict=True))
        digest = hashlib.sha256()
        for sample in asked.samples:
            digest.update(pixels[sample.image] or b"")
            digest.update(json.dumps(sample.exchanges).encode())
        kinds = Counter(kind_of_question(one.question, one.answer, self.task.kinds) for one in asked.samples)
        return {
            "images": len(asked.images()),
            "conversations": len(asked),
            "exchanges": sum(len(sample.exchanges) for sample in asked.samples),
            "kinds": dict(sorted(kinds.items())),
            "left_out": len(asked.left_out),
            "cut": asked.cut,
            "sha256": digest.hexdigest(),
        }


def _warn(sets: Mapping[str, InstructSet], max_tokens: int) -> None:
    for split, one in sets.items():
        if one.left_out:
            say(f"warning: {split}: {len(one.left_out):,} records are left out; the first: {one.left_out[0]}")
        if one.cut:
            say(
                f"warning: {split}: {one.cut:,} of {len(one):,} conversations are longer than task.max_tokens: "
                f"{max_tokens:,}; their answers are cut"
            )


def _as_captions(asked: InstructSet) -> CaptionSet:
    """Return each image once, as a captioned set without captions, as which their equality is looked into."""
    samples = (
        CaptionSample(id=str(path), image=str(path.relative_to(asked.root)), captions=()) for path in asked.images()
    )
    return CaptionSet(asked.source, asked.root, tuple(samples), "jsonl")
