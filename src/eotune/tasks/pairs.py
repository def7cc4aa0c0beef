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
        self.seed = seed
        self.mode = mode
        texts: dict[str, int] = {}
        self.captions_of: list[list[int]] = []
        wording: list[str] = []
        for sample in captions.samples:
            ids = []
            for caption in sample.captions:
                key = caption_key(caption)
                if key not in texts:
                    texts[key] = len(texts)
                    wording.append(caption)
                ids.append(texts[key])
            self.captions_of.append(ids if mode == "all" else list(dict.fromkeys(ids)))
        self.pairs = [(image, text) for image, ids in enumerate(self.captions_of) for text in ids]
        self.tokens = encoder.tokenize(wording)

    def __len__(self) -> int:
        return len(self.captions_of) if self.mode == "images" else len(self.pairs)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, index = key
        rng = generator(self.seed, "pair", epoch, index)
        if self.mode == "images":
            image = index
            text = self.captions_of[image][int(rng.integers(len(self.captions_of[image])))]
        else:
            image, text = self.pairs[index]
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
