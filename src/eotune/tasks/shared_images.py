"""What several trainings in one process share: decoded images, and embeddings that stay the same."""

from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from torch import Tensor

from eotune.data.cache import ImageCache, free_memory
from eotune.data.captions import CaptionSet
from eotune.data.images import BandConfig
from eotune.encoders.base import DualEncoder
from eotune.tasks.retrieval import EvaluationSet
from eotune.training.config import TrainingConfig
from eotune.training.processes import world_size

_TRAINING_SHARE = 0.5  # of the memory that is free
_EVALUATION_SHARE = 0.25
_FEATURE_SHARE = 0.05

Value = TypeVar("Value")
Features = tuple[Tensor, Tensor]


class SharedImages:
    """Keeps training images, evaluation sets and embeddings while they fit; what does not is made again.

    Example:
        >>> from pathlib import Path
        >>> from eotune.data.captions import CaptionSet
        >>> from eotune.encoders import load
        >>> images, nothing = SharedImages(), CaptionSet(Path("a.json"), Path("."), (), "jsonl")
        >>> encoder = load("tiny")
        >>> images.evaluation(nothing, encoder) is images.evaluation(nothing, encoder)
        True
    """

    def __init__(self) -> None:
        free = free_memory()
        self._training: tuple[Hashable, ImageCache] | None = None
        self._evaluation = _Recent[EvaluationSet](int(free * _EVALUATION_SHARE), lambda one: one.pixels.nbytes)
        self._features = _Recent[Features](int(free * _FEATURE_SHARE), lambda pair: sum(one.nbytes for one in pair))

    def training(
        self, captions: CaptionSet, encoder: DualEncoder, training: TrainingConfig, *, bands: BandConfig | None = None
    ) -> ImageCache:
        """Return the images of a training set, decoded as far as memory allows.

        Args:
            captions: The set.
            encoder: Its images are kept at twice the side that it sees.
            training: How much to keep.
            bands: How rasters become RGB.

        Raises:
            InputError: Some cannot be read.
        """
        max_side = 2 * encoder.transform.size
        key = (repr(bands), max_side, training.cache_gigabytes)
        if self._training is None or self._training[0] != key:
            self._training = None  # before the free memory is measured
            share = _TRAINING_SHARE * free_memory() / world_size()  # too small where processes are on other machines
            limit = share if training.cache_gigabytes == "auto" else training.cache_gigabytes * 2**30
            self._training = key, ImageCache([], bands=bands, max_side=max_side, memory_limit_bytes=int(limit))
        cache = self._training[1].over(captions.paths())
        cache.fill()
        return cache

    def evaluation(
        self, captions: CaptionSet, encoder: DualEncoder, *, bands: BandConfig | None = None, description: str = ""
    ) -> EvaluationSet:
        """Return a set ready to be embedded.

        Raises:
            InputError: An image cannot be read.
        """
        key = (captions.root, captions.samples, encoder.transform, repr(bands))
        return self._evaluation.get(key, lambda: EvaluationSet(captions, encoder, bands=bands, description=description))

    def features(self, key: Hashable, make: Callable[[], Features]) -> Features:
        """Return the embeddings of images and texts that ``key`` determines; ``make`` computes them where it must."""
        return self._features.get(key, make)


class _Recent(Generic[Value]):
    """Values by key; the one unused for longest goes where they take more than ``limit`` bytes."""

    def __init__(self, limit: int, size: Callable[[Value], int]) -> None:
        self.limit = limit
        self.size = size
        self._kept: dict[Any, Value] = {}

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return what is kept under ``key``, or make it and keep it."""
        value = self._kept.pop(key) if key in self._kept else make()
        self._kept[key] = value
        while len(self._kept) > 1 and sum(map(self.size, self._kept.values())) > self.limit:
            self._kept.pop(next(iter(self._kept)))
        return value
