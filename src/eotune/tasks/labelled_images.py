"""Labelled images as a training set, and as features."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from eotune.core.errors import EotuneError
from eotune.core.progress import progress
from eotune.core.seeds import generator
from eotune.data.augment import Augmentation
from eotune.data.cache import ImageCache
from eotune.encoders.base import ImageEncoder

_BATCH = 128

Sampling = Literal["uniform", "balanced"]


class LabelledDataset(Dataset[dict[str, Any]]):
    """Images with labels; an item is taken by ``(epoch, index)``, from which its augmentation is drawn.

    Args:
        cache: The images.
        labels: The class of each, ``(n,)``.
        encoder: Its image transform.
        augmentation: Of images; None takes them as they are measured.
        sampling: ``uniform`` takes each image once an epoch; ``balanced`` draws a class, each as likely, and
            then one of its images, as often as there are images.
        seed: Of the run.
    """

    def __init__(
        self,
        cache: ImageCache,
        labels: np.ndarray,
        encoder: ImageEncoder,
        augmentation: Augmentation | None,
        *,
        sampling: Sampling,
        seed: int,
    ) -> None:
        self.cache = cache
        self.labels = labels
        self.transform = encoder.transform
        self.augmentation = augmentation
        self.seed = seed
        members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        self.members = members if sampling == "balanced" else None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, index = key
        rng = generator(self.seed, "image", epoch, index)
        if self.members is not None:
            members = self.members[rng.integers(len(self.members))]
            index = int(members[rng.integers(len(members))])
        image, transform = self.cache[index], self.transform
        if self.augmentation is None:
            pixels = transform(image)
        else:
            pixels = self.augmentation(image, transform.size, transform.interpolation, rng)
        return {"pixels": pixels, "index": index, "label": int(self.labels[index])}

    def collate(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Tensor]]:
        """Stack samples."""
        return {
            "inputs": {"pixels": torch.from_numpy(np.stack([sample["pixels"] for sample in samples]))},
            "targets": {key: torch.tensor([sample[key] for sample in samples]) for key in ("index", "label")},
        }


def image_features(
    encoder: ImageEncoder, cache: ImageCache, *, precision: str, description: str = "embedding images"
) -> np.ndarray:
    """Return the features of images without augmentation, float32 ``(n, d)``, a batch in memory at a time.

    Raises:
        InputError: An image cannot be read.
        EotuneError: Features are not finite, as those of a model that diverged.
    """
    batches = [
        encoder.embed_images(
            [cache[index] for index in range(start, min(start + _BATCH, len(cache)))],
            batch_size=_BATCH,
            precision=precision,
        )
        for start in progress(range(0, len(cache), _BATCH), description=description)
    ]
    features = np.concatenate(batches) if batches else np.zeros((0, encoder.dim), np.float32)
    wrong = np.count_nonzero(~np.isfinite(features).all(axis=1))
    if wrong:
        raise EotuneError(
            f"{description}: the features of {wrong:,} of {len(features):,} images are not finite numbers; after "
            "training, it diverged: lower training.learning_rate, or take training.precision fp32, and begin anew in "
            "another --out"
        )
    return features


def view_features(
    encoder: ImageEncoder, cache: ImageCache, *, precision: str, description: str = "embedding five crops"
) -> np.ndarray:
    """Return the features of five crops of every image, float32 ``(n, 5, d)``, a batch in memory at a time.

    Raises:
        InputError: An image cannot be read.
    """
    batches = []
    for start in progress(range(0, len(cache), _BATCH // 4), description=description):
        images = [cache[index] for index in range(start, min(start + _BATCH // 4, len(cache)))]
        views = torch.from_numpy(np.concatenate([encoder.transform.five_crops(image) for image in images]))
        batches.append(encoder.embed_pixels(views, precision=precision).reshape(len(images), -1, encoder.dim))
    return np.concatenate(batches) if batches else np.zeros((0, 5, encoder.dim), np.float32)
