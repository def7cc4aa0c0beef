"""Training on labelled images: decoded once, augmented anew every epoch; towards labels, or towards fixed targets."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from eotune.core.errors import InputError
from eotune.core.files import read_json, replaced, write_json
from eotune.core.progress import say
from eotune.core.seeds import derive_seed
from eotune.data.cache import ImageCache
from eotune.encoders.base import ImageEncoder, autocast, evaluating
from eotune.losses.cosine_head import class_means
from eotune.losses.similarity import cosine_similarity_matrix
from eotune.methods.base import Method, Phase, seeded
from eotune.methods.targets import LabelledFeatures, Targets
from eotune.metrics.classification import classification_metrics
from eotune.metrics.long_tail import group_f1
from eotune.tasks.heads import Classifier, Head, make_head, start_from_means
from eotune.tasks.labelled_images import LabelledDataset, image_features
from eotune.tasks.long_tail import LongTailConfig, LongTailData
from eotune.tasks.long_tail_objective import LongTailObjective, LongTailObjectiveConfig
from eotune.training.config import TrainingConfig
from eotune.training.trainer import Work

TARGETS = "targets"
_BATCH = 128


@dataclass(frozen=True)
class Caches:
    """The images of each split."""

    train: ImageCache
    validation: ImageCache
    test: ImageCache


class LongTailTraining:
    """What the phases of one run share: images, the head, the validation pixels.

    Args:
        config: The task.
        data: Its splits.
        caches: Their images.
        encoder: Adapted by the method.
        training: Settings.
        seed: Of the run.

    Attributes:
        classifier: The encoder with the head of the first phase, which goes on in later ones; None before it.
        objective: Of the first phase.
    """

    def __init__(
        self,
        config: LongTailConfig,
        data: LongTailData,
        caches: Caches,
        encoder: ImageEncoder,
        training: TrainingConfig,
        seed: int,
    ) -> None:
        self.config = config
        self.data = data
        self.caches = caches
        self.encoder = encoder
        self.training = training
        self.seed = seed
        self.classifier: Classifier | None = None
        self.objective = LongTailObjectiveConfig()
        self._trains_head = False
        pixels = [encoder.transform(image) for image in caches.validation]
        self.validation = torch.from_numpy(np.stack(pixels))

    @property
    def head(self) -> Head | None:
        """The head; None where the last phase leaves it behind: it was trained on features that have moved since."""
        return self.classifier.head if self.classifier is not None and self._trains_head else None

    def work(self, phase: Phase, method: Method, folder: Path) -> Work:
        """Return what a phase trains on and towards.

        Args:
            phase: The phases before it are done.
            method: Whose phase it is.
            folder: Of its checkpoints; its targets are kept there.

        Raises:
            InputError: An image cannot be read, or the method is none for labelled images.
        """
        if phase.on_features is not None:
            raise InputError(f"method {method.config.name!r} is none for labelled images", remedy="use lora or deblora")
        objective = objective_config(self.config, phase)
        if self.classifier is None:
            self.objective, self.classifier = objective, self._classifier(objective)
        head = self.classifier.head
        targets = None if phase.targets is None else self._targets(phase, folder)
        if phase.prepare is not None:
            phase.prepare(self.encoder)
        trains_head = targets is None or objective.task_weight > 0
        for parameter in self._of_head:
            parameter.requires_grad_(trains_head)
        self._trains_head = trains_head
        no_decay = {f"encoder.{name}" for name in method.no_decay(self.encoder)}
        no_decay |= {f"head.{name}" for name, parameter in head.named_parameters() if parameter.ndim < 2}
        centres = None if trains_head or targets is None else self._class_means(targets.values)
        train = self.data.train
        dataset = LabelledDataset(
            self.caches.train, train.labels, self.encoder,
            self.training.augmentation if objective.augment else None,
            sampling=objective.sampling, seed=self.seed,
        )  # fmt: skip
        return Work(
            dataset=dataset,
            collate=dataset.collate,
            loss=LongTailObjective(
                objective,
                train.counts(),
                list(self.data.groups.values()),
                None if targets is None else targets.values,
            ),
            evaluate=functools.partial(self._evaluate, self.classifier, centres),
            no_decay=frozenset(no_decay),
            primary="macro_f1",
            model=self.classifier,
        )

    def features(self, split: str) -> np.ndarray:
        """Return the features of a split as the encoder gives them now, without augmentation."""
        cache = getattr(self.caches, split)
        return image_features(self.encoder, cache, precision=self.training.precision, description=f"embedding {split}")

    def _classifier(self, objective: LongTailObjectiveConfig) -> Classifier:
        """Return the encoder with a head at its start."""
        with seeded(self.seed, "head"):
            n_classes, n_groups = len(self.data.train.classes), len(self.data.groups)
            head = make_head(objective, self.encoder.dim, n_classes, n_groups=n_groups)
        if objective.head_start == "class_means":
            start_from_means(head, self._class_means(self.features("train")))
        self._of_head = [parameter for parameter in head.parameters() if parameter.requires_grad]
        return Classifier(self.encoder, head)

    def _targets(self, phase: Phase, folder: Path) -> Targets:
        """Compute the targets of a phase, or read those that an interrupted run computed: its weights have moved on."""
        values, report = folder / f"{TARGETS}.npy", folder / f"{TARGETS}.json"
        if report.is_file():
            return Targets(np.load(values, allow_pickle=False), read_json(report))
        if phase.targets is None:
            raise ValueError(f"phase {phase.name!r} has no targets")
        say(f"phase {phase.name}: features of {len(self.data.train):,} training images")
        targets = phase.targets(
            LabelledFeatures(
                self.features("train"),
                self.data.train.labels,
                self.data.train.classes,
                derive_seed(self.seed, "targets") % 2**31,
            )
        )
        if targets.report.get("noise") == len(self.data.train):
            say("warning: no cluster was found, all images are noise: classes are pulled to their own means")
        folder.mkdir(parents=True, exist_ok=True)
        with replaced(values) as temporary, temporary.open("wb") as stream:
            np.save(stream, targets.values, allow_pickle=False)
        write_json(report, targets.report)  # comes last: with it, the values are whole
        return targets

    def _class_means(self, values: np.ndarray) -> Tensor:
        train = self.data.train
        return class_means(torch.from_numpy(values), torch.from_numpy(train.labels), len(train.classes))

    @torch.inference_mode()
    def _evaluate(self, classifier: Classifier, centres: Tensor | None) -> dict[str, float]:
        """Measure on validation: by the head, or, where none trains, by the nearest centre of the classes' targets."""
        predicted = []
        with evaluating(classifier), autocast(self.encoder.device, self.training.precision):
            for pixels in self.validation.split(_BATCH):
                output = classifier(pixels.to(self.encoder.device))
                scores = (
                    classifier.head.combined(output.logits)
                    if centres is None
                    else cosine_similarity_matrix(output.features, centres.to(output.features.device))
                )
                predicted.append(scores.float().argmax(-1).cpu().numpy())
        truth, classes = self.data.validation.labels, self.data.validation.classes
        result = classification_metrics(truth, np.concatenate(predicted), len(classes))
        return {"macro_f1": 100 * result.macro_f1, "accuracy": 100 * result.accuracy} | {
            f"macro_f1_{name}": 100 * value for name, value in group_f1(result, self.data.groups).items()
        }


def objective_config(config: LongTailConfig, phase: Phase) -> LongTailObjectiveConfig:
    """Return the phase's objective with the recipe's overrides on top."""
    return LongTailObjectiveConfig.model_validate({**phase.objective, **config.objective})
