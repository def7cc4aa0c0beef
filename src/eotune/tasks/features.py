"""Retrieval training on embeddings that are computed once, for phases that train nothing in front of them."""

from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from eotune.core.progress import progress, say
from eotune.data.cache import ImageCache
from eotune.data.captions import CaptionSet
from eotune.data.images import BandConfig
from eotune.encoders.base import DualEncoder, autocast
from eotune.methods.base import Phase
from eotune.tasks.objective import DualObjective
from eotune.tasks.pairs import Pairing, PairMode
from eotune.tasks.retrieval import RetrievalConfig, RetrievalData, objective_config
from eotune.tasks.shared_images import Features, SharedImages
from eotune.training.config import TrainingConfig
from eotune.training.trainer import Work

_BATCH = 128


class FeaturePairs(Dataset[tuple[int, int]]):
    """(image, caption) pairs as numbers; batches are rows of two matrices.

    Args:
        captions: The training set.
        mode: What an epoch is; see :class:`~eotune.tasks.pairs.PairDataset`.
        seed: Of the run.

    Attributes:
        image_features: ``(n, d)``, in the order of ``captions``; to be set, to what :meth:`embedded` returns.
        text_features: ``(k, d)``, one a different caption.
    """

    image_features: Tensor
    text_features: Tensor

    def __init__(self, captions: CaptionSet, *, mode: PairMode, seed: int) -> None:
        self.captions = captions
        self.pairing = Pairing(captions, mode=mode, seed=seed)

    def embedded(self, encoder: DualEncoder, *, bands: BandConfig | None, precision: str) -> Features:
        """Return the features of images and texts, computed a batch of images in memory at a time.

        Raises:
            InputError: An image cannot be read.
        """
        captions = self.captions
        cache = ImageCache(captions.paths(), bands=bands, memory_limit_bytes=0)
        starts = range(0, len(cache), _BATCH)
        images = [
            encoder.embed_images([cache[i] for i in range(start, min(start + _BATCH, len(cache)))],
                                 batch_size=_BATCH, precision=precision)
            for start in progress(starts, description="embedding images")
        ]  # fmt: skip
        texts = encoder.embed_texts(self.pairing.wording, batch_size=2 * _BATCH, precision=precision)
        return torch.from_numpy(np.concatenate(images)), torch.from_numpy(texts)

    def __len__(self) -> int:
        return len(self.pairing)

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, int]:
        return self.pairing.choose(*key)

    def collate(self, samples: Sequence[tuple[int, int]]) -> dict[str, dict[str, Tensor]]:
        """Take the rows of a batch."""
        images, texts = torch.tensor(samples).unbind(1)
        return {
            "inputs": {"image_features": self.image_features[images], "text_features": self.text_features[texts]},
            "targets": {"image_ids": images, "text_ids": texts},
        }


class FeatureTraining:
    """What the phases of one run share: features of the training and the validation set.

    Args:
        config: The task.
        data: Its splits.
        encoder: After the method was applied, before anything trained: it still gives the pretrained embeddings.
        training: Settings; ``augmentation`` has nothing to act on.
        seed: Of the run.
        images: What other runs of this process have decoded and embedded.
    """

    def __init__(
        self,
        config: RetrievalConfig,
        data: RetrievalData,
        encoder: DualEncoder,
        training: TrainingConfig,
        seed: int,
        images: SharedImages | None = None,
    ) -> None:
        say("embeddings are computed once; training.augmentation is not used")
        self.config = config
        self.encoder = encoder
        self.training = training
        images = images or SharedImages()
        fingerprint = encoder.fingerprint()

        def key(split: Literal["train", "validation"]) -> Hashable:
            captions: CaptionSet = getattr(data, split)
            of_data = (split, captions.root, captions.samples, repr(config.bands(split)))
            return (*of_data, fingerprint, str(encoder.device), training.precision)

        self.pairs = FeaturePairs(data.train, mode=config.pairs, seed=seed)
        self.pairs.image_features, self.pairs.text_features = images.features(key("train"), self._embedded)
        self.validation = images.evaluation(
            data.validation, encoder, bands=config.bands("validation"), description="decoding validation"
        )
        self.held = images.features(key("validation"), self._held)

    def work(self, phase: Phase, no_decay: frozenset[str]) -> Work:
        """Return what a phase trains, on what and towards what.

        Raises:
            ValueError: The phase does not train on features.
        """
        if phase.on_features is None:
            raise ValueError(f"phase {phase.name!r} does not train on features")
        model = phase.on_features(self.encoder)
        kept = {id(parameter) for name, parameter in self.encoder.named_parameters() if name in no_decay}
        return Work(
            dataset=self.pairs,
            collate=self.pairs.collate,
            loss=DualObjective(objective_config(self.config, phase.objective)),
            evaluate=lambda: self._evaluate(model),
            no_decay=frozenset(name for name, parameter in model.named_parameters() if id(parameter) in kept),
            primary="mR",
            model=model,
        )

    def _embedded(self) -> Features:
        bands, precision = self.config.bands("train"), self.training.precision
        return self.pairs.embedded(self.encoder, bands=bands, precision=precision)

    def _held(self) -> Features:
        images, texts = self.validation.embed(self.encoder, batch_size=_BATCH, precision=self.training.precision)
        return torch.from_numpy(images), torch.from_numpy(texts)

    @torch.inference_mode()
    def _evaluate(self, model: nn.Module) -> dict[str, float]:
        device = self.encoder.device
        with autocast(device, self.training.precision):
            output = model(*(features.to(device) for features in self.held))
        images, texts = (
            functional.normalize(one.float(), dim=-1).cpu().numpy()
            for one in (output.image_embeddings, output.text_embeddings)
        )
        return self.validation.measure(images, texts, bootstrap=0, seed=0).values
