"""Retrieval training on embeddings that are computed once, for phases that train nothing in front of them."""

from collections.abc import Sequence

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
from eotune.tasks.retrieval import EvaluationSet, RetrievalConfig, RetrievalData, objective_config
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
        image_features: ``(n, d)``, in the order of ``captions``; set by :meth:`embed`.
        text_features: ``(k, d)``, one a different caption.
    """

    image_features: Tensor
    text_features: Tensor

    def __init__(self, captions: CaptionSet, *, mode: PairMode, seed: int) -> None:
        self.captions = captions
        self.pairing = Pairing(captions, mode=mode, seed=seed)

    def embed(self, encoder: DualEncoder, *, bands: BandConfig | None, precision: str) -> None:
        """Compute the features, a batch of images in memory at a time.

        Raises:
            InputError: An image cannot be read.
        """
        captions = self.captions
        cache = ImageCache([captions.path(sample) for sample in captions.samples], bands=bands, memory_limit_bytes=0)
        starts = range(0, len(cache), _BATCH)
        images = [
            encoder.embed_images([cache[i] for i in range(start, min(start + _BATCH, len(cache)))],
                                 batch_size=_BATCH, precision=precision)
            for start in progress(starts, description="embedding images")
        ]  # fmt: skip
        self.image_features = torch.from_numpy(np.concatenate(images))
        texts = encoder.embed_texts(self.pairing.wording, batch_size=2 * _BATCH, precision=precision)
        self.text_features = torch.from_numpy(texts)

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
    """

    def __init__(
        self, config: RetrievalConfig, data: RetrievalData, encoder: DualEncoder, training: TrainingConfig, seed: int
    ) -> None:
        say("embeddings are computed once; training.augmentation is not used")
        self.config = config
        self.encoder = encoder
        self.training = training
        self.pairs = FeaturePairs(data.train, mode=config.pairs, seed=seed)
        self.pairs.embed(encoder, bands=config.bands("train"), precision=training.precision)
        self.validation = EvaluationSet(
            data.validation, encoder, bands=config.bands("validation"), description="decoding validation"
        )
        held = self.validation.embed(encoder, batch_size=_BATCH, precision=training.precision)
        self.held = [torch.from_numpy(features) for features in held]

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
