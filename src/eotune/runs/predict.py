"""New images classified by a finished run of long-tailed classes, with calibrated probabilities."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from eotune.core.device import on_best_device
from eotune.core.errors import InputError
from eotune.core.lookup import unknown_name
from eotune.core.progress import progress
from eotune.data.captions import listed_error
from eotune.data.find_images import find_images
from eotune.data.footprints import footprint
from eotune.data.images import read_image
from eotune.encoders.base import ImageEncoder
from eotune.methods.adapted import ADAPTER, load_image_model
from eotune.runs.recipe import Recipe, read_recipe
from eotune.runs.saved_bands import read_saved_bands
from eotune.runs.saved_classifiers import Description, read_classifiers
from eotune.tasks.long_tail import LongTailConfig
from eotune.tasks.long_tail_evaluation import VIEWS, ClassScores

BEST = "best"

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Predictions:
    """What :func:`predict` found.

    Attributes:
        images: Those that could be read, in order; n of them.
        classes: The run's classes; c of them.
        probabilities: ``(n, c)``, calibrated on the run's validation images; each row sums to 1.
        footprints: Outline of each image as a shapely geometry, longitude and latitude in degrees; None where it does
            not say where it lies, or where footprints were not asked for.
        classifier: ``probe``, ``balanced`` or ``own``.
        problems: One line for each image that could not be classified.
    """

    images: tuple[Path, ...]
    classes: tuple[str, ...]
    probabilities: np.ndarray
    footprints: tuple[Any | None, ...]
    classifier: str
    problems: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def labels(self) -> list[str]:
        """Return the likeliest class of each image."""
        return [self.classes[number] for number in self.probabilities.argmax(axis=1)]

    def counts(self) -> dict[str, int]:
        """Return how many images each class got, in the order of the classes."""
        counts = np.bincount(self.probabilities.argmax(axis=1), minlength=len(self.classes))
        return dict(zip(self.classes, counts.tolist(), strict=True))


def predict(
    run: str | Path,
    images: Sequence[str | Path],
    *,
    classifier: str = BEST,
    batch_size: int = 128,
    footprints: bool = False,
) -> Predictions:
    """Classify images as a run classified its test split: same reading, scaling, precision and temperature.

    Args:
        run: Directory of a finished run of task long_tail.
        images: Files, folders and patterns, see :func:`~eotune.data.find_images.find_images`.
        classifier: ``probe``, the class-``balanced`` probe, the run's ``own`` head, its mean over five ``views`` where
            the run measured that, or ``best``: the one with the highest macro F1 on the run's validation images.
        batch_size: Images at once.
        footprints: Also find where images lie.

    Returns:
        The classes of all images that can be read; ``problems`` names the others.

    Raises:
        InputError: The run is none of long-tailed classes or not finished, the classifier or an image is not there, or
            no image can be classified.
    """
    paths = find_images(images)
    return classify(open_model(run, classifier), paths, batch_size=batch_size, footprints=footprints)


def classify(
    model: "SavedModel", paths: Sequence[Path], *, batch_size: int = 128, footprints: bool = False
) -> Predictions:
    """Classify image files by an opened model; arguments and errors otherwise as for :func:`predict`."""
    parts = list(classified(model, paths, batch_size=batch_size, footprints=footprints))
    problems = tuple(problem for part in parts for problem in part.problems)
    if len(problems) == len(paths):
        raise none_classified(model, problems)
    return Predictions(
        tuple(image for part in parts for image in part.images),
        model.description.classes,
        np.concatenate([part.probabilities for part in parts]),
        tuple(outline for part in parts for outline in part.footprints),
        model.classifier,
        problems,
    )


def none_classified(model: "SavedModel", problems: Sequence[str]) -> InputError:
    """Return the error that no image can be classified."""
    return listed_error(str(model.path), problems, remedy="name images such as the run was trained on")


def classified(
    model: "SavedModel", paths: Sequence[Path], *, batch_size: int = 128, footprints: bool = False
) -> Iterator[Predictions]:
    """Yield predictions of ``batch_size`` images after ``batch_size`` images; one may hold nothing but problems."""

    def read(path: Path) -> tuple[np.ndarray, Any | None] | InputError:
        try:
            pixels = model.pixels(path)
        except InputError as error:
            return error
        return pixels, _outline(path) if footprints else None

    results = _ahead(read, paths, 2 * batch_size)
    found = zip(paths, progress(results, total=len(paths), description="classifying"), strict=True)
    while batch := list(islice(found, batch_size)):
        yield _predicted(model, batch)


def _predicted(
    model: "SavedModel", batch: Sequence[tuple[Path, tuple[np.ndarray, Any | None] | InputError]]
) -> Predictions:
    """Classify what was read: pixels and an outline of each image, or why it has none."""
    classes = model.description.classes
    problems = [str(result) for _, result in batch if isinstance(result, InputError)]
    readable = [(path, *result) for path, result in batch if not isinstance(result, InputError)]
    kept: list[tuple[Path, Any | None]] = []
    shares = np.zeros((0, len(classes)), np.float32)
    if readable:
        features = model.features([pixels for _, pixels, _ in readable])
        finite = np.isfinite(features.reshape(len(features), -1)).all(axis=1)
        for (path, _, outline), usable in zip(readable, finite, strict=True):
            if usable:
                kept.append((path, outline))
            else:
                problems.append(f"{path}: its features are not finite in {model.recipe.training.precision}")
        if kept:
            shares = model.scores.probabilities(features[finite])
    images, outlines = tuple(path for path, _ in kept), tuple(outline for _, outline in kept)
    return Predictions(images, classes, shares, outlines, model.classifier, tuple(problems))


@dataclass(frozen=True)
class SavedModel:
    """What a run classifies with.

    Attributes:
        path: The run directory.
        recipe: Of the run.
        encoder: Adapted, where it is to compute.
        read: Reads an image as the run's training images were read, uint8 ``(h, w, c)``.
        description: Of the classifiers.
        classifier: The name of the one chosen.
        scores: That one.
    """

    path: Path
    recipe: Recipe
    encoder: ImageEncoder
    read: Callable[..., np.ndarray]
    description: Description
    classifier: str
    scores: ClassScores

    def pixels(self, path: Path) -> np.ndarray:
        """Return an image as the encoder takes it, uint8 ``(c, s, s)``, or its views ``(v, c, s, s)``."""
        transform = self.encoder.transform
        image = self.read(path, max_side=2 * transform.size)  # as the run's own cache reads
        return transform.five_crops(image) if self.classifier == VIEWS else transform(image)

    def features(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Return features ``(n, d)``, or of views ``(n, v, d)``."""
        pixels = torch.from_numpy(np.stack(batch))
        precision, dim = self.recipe.training.precision, self.encoder.dim
        return self.encoder.embed_pixels(pixels.flatten(0, -4), precision=precision).reshape(*pixels.shape[:-3], dim)


def open_model(run: str | Path, classifier: str = BEST) -> SavedModel:
    """Load a run's encoder, band statistics and classifier; arguments and errors as for :func:`predict`."""
    path = Path(str(run).removeprefix("run:"))
    recipe, task = long_tail_recipe(path)
    saved = read_classifiers(path)
    if saved is None:
        raise InputError(
            f"{path}: is not finished (no classifiers)",
            remedy=f"finish it with: eotune run {path / 'recipe.yaml'} --out {path} --resume",
        )
    description, scores = saved
    name = description.best if classifier == BEST else classifier
    if name not in scores:
        raise unknown_name(f"classifier in {path}:", name, [*scores, BEST])
    encoder = load_image_model(f"run:{path}")
    if encoder.dim != description.dim:
        raise InputError(
            f"{path}: classifiers of {description.dim} numbers beside an adapter of {encoder.dim}",
            remedy="run the recipe again",
        )
    on_best_device(encoder, recipe.training.device)
    read = read_image if task.bands is None else read_saved_bands(path / ADAPTER)
    return SavedModel(path, recipe, encoder, read, description, name, scores[name])


def long_tail_recipe(run: Path) -> tuple[Recipe, LongTailConfig]:
    """Return the recipe of a run directory and its task.

    Raises:
        InputError: It is no run directory, or its task is another.
    """
    if not run.is_dir():
        remedy = "name a directory that eotune run made; a pretrained model has no classes"
        raise InputError(f"{run}: no such run directory", remedy=remedy)
    if not (run / "recipe.yaml").is_file():
        raise InputError(f"{run}: is not a run directory (no recipe.yaml)", remedy="name one that eotune run made")
    recipe = read_recipe(run / "recipe.yaml")
    if not isinstance(recipe.task, LongTailConfig):
        raise InputError(
            f"{run}: its task is {recipe.task.name}, which has no classes", remedy="name a run of long_tail"
        )
    return recipe, recipe.task


def _outline(path: Path) -> Any | None:
    try:
        return footprint(path)
    except InputError:  # PIL reads some TIFF that GDAL does not: the class is known, the place is not
        return None


def _ahead(read: Callable[[Path], Result], paths: Sequence[Path], ahead: int) -> Iterator[Result]:
    """Yield what ``read`` returns for each path, in order, read in threads, at most so many ahead."""
    executor = ThreadPoolExecutor(min(16, os.cpu_count() or 1))
    waiting: deque[Future[Result]] = deque()
    try:
        for path in paths:
            waiting.append(executor.submit(read, path))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
