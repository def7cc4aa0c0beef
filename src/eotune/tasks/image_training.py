"""Retrieval training on images: decoded once, augmented anew every epoch."""

from eotune.encoders.base import DualEncoder
from eotune.methods.base import Phase
from eotune.tasks.objective import DualObjective
from eotune.tasks.pairs import PairDataset
from eotune.tasks.retrieval import RetrievalConfig, RetrievalData, objective_config
from eotune.tasks.shared_images import SharedImages
from eotune.training.config import TrainingConfig
from eotune.training.trainer import Work


class ImageTraining:
    """What the phases of one run share: decoded images and the validation set.

    Args:
        config: The task.
        data: Its splits.
        encoder: Before or after the method was applied; only its transform and tokenizer are read here.
        training: Settings.
        seed: Of the run.
        images: What other runs of this process have decoded.
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
        self.config = config
        self.encoder = encoder
        self.training = training
        images = images or SharedImages()
        cache = images.training(data.train, encoder, training, bands=config.bands("train"))
        self.pairs = PairDataset(data.train, encoder, cache, training.augmentation, mode=config.pairs, seed=seed)
        self.validation = images.evaluation(
            data.validation, encoder, bands=config.bands("validation"), description="decoding validation"
        )

    def work(self, phase: Phase, no_decay: frozenset[str]) -> Work:
        """Return what a phase trains on and towards."""
        return Work(
            dataset=self.pairs,
            collate=self.pairs.collate,
            loss=DualObjective(objective_config(self.config, phase.objective)),
            evaluate=lambda: self.validation.evaluate(self.encoder, precision=self.training.precision).values,
            no_decay=no_decay,
            primary="mR",
        )
