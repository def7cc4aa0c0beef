"""Image-caption pairs as training batches."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from eotune.core.seeds import generator
from eotune.data.augment import Augmentation
from eotune.data.cache import ImageCache
from eotune.data.captions import CaptionSet
from eotune.encoders.base import DualEncoder

PairMode = Literal["distinct", "all", "images"]


def caption_key(text: str) -> str:
    """Return what two captions share when they say the same: case and spacing aside.

    Example:
        >>> caption_key("Two  Planes .") == caption_key("two planes .")
        True
    """
    return " ".join(text.casefold().split())


class Pairing:
    """Which (image, caption) pairs an epoch has, as numbers.

    Args:
        captions: The training set.
        mode: See :class:`PairDataset`.
        seed: Of the run.

    Attributes:
        wording: The different captions; a pair's second number counts in them.
        pairs: Of an epoch, in order; ``images`` draws its own from them.
    """

    def __init__(self, captions: CaptionSet, *, mode: PairMode, seed: int) -> None:
        self.mode = mode
        self.seed = seed
        self.wording: list[str] = []
        texts: dict[str, int] = {}
        self.captions_of: list[list[int]] = []
        for sample in captions.samples:
            ids = []
            for caption in sample.captions:
                key = caption_key(caption)
                if key not in texts:
                    texts[key] = len(texts)
                    self.wording.append(caption)
                ids.append(texts[key])
            self.captions_of.append(ids if mode == "all" else list(dict.fromkeys(ids)))
        self.pairs = [(image, text) for image, ids in enumerate(self.captions_of) for text in ids]

    def __len__(self) -> int:
        return len(self.captions_of) if self.mode == "images" else len(self.pairs)

    def generator(self, epoch: int, index: int) -> np.random.Generator:
        """Return what a pair's random choices are drawn from."""
        return generator(self.seed, "pair", epoch, index)

    def choose(self, epoch: int, index: int, rng: np.random.Generator | None = None) -> tuple[int, int]:
        """Return a pair; ``rng`` is :meth:`generator`'s where more is drawn from it."""
        if self.mode != "images":
            return self.pairs[index]
        ids = self.captions_of[index]
        return index, ids[int((rng or self.generator(epoch, index)).integers(len(ids)))]


class PairDataset(Dataset[dict[str, Any]]):
    """(image, caption) pairs; an item is taken by ``(epoch, index)``, from which its augmentation is drawn.

    Args:
        captions: The training set.
        encoder: Its tokenizer and image transform.
        cache: The images, in the order of ``captions``.
        augmentation: Of images.
        mode: ``distinct`` takes each image with each of its different captions once an epoch, ``all`` repeats repeated
            captions, ``images`` takes each image once with one of its captions drawn at random.
        seed: Of the run.
    """

    def __init__(
        self,
        captions: CaptionSet,
        encoder: DualEncoder,
        cache: ImageCache,
        augmentation: Augmentation,
        *,
        mode: PairMode,
        seed: int,
    ) -> None:
        self.cache = cache
        self.augmentation = augmentation
        self.transform = encoder.transform
        self.pairing = Pairing(captions, mode=mode, seed=seed)
        self.tokens = encoder.tokenize(self.pairing.wording)

    def __len__(self) -> int:
        return len(self.pairing)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        rng = self.pairing.generator(*key)
        image, text = self.pairing.choose(*key, rng)
        pixels = self.augmentation(self.cache[image], self.transform.size, self.transform.interpolation, rng)
        return {"pixels": pixels, "image": image, "text": text}

    def collate(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Tensor]]:
        """Stack samples; texts are cut to the longest of the batch."""
        texts = torch.tensor([sample["text"] for sample in samples])
        mask = self.tokens["attention_mask"][texts]
        length = int(mask.sum(1).max())
        return {
            "inputs": {
                "pixels": torch.from_numpy(np.stack([sample["pixels"] for sample in samples])),
                "input_ids": self.tokens["input_ids"][texts, :length],
                "attention_mask": mask[:, :length],
            },
            "targets": {"image_ids": torch.tensor([sample["image"] for sample in samples]), "text_ids": texts},
        }
