"""What a classifier of long-tailed classes is trained towards: labels, or fixed targets for its features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from eotune.core.config import Config
from eotune.losses.logit_adjustment import balanced_softmax, logit_adjusted
from eotune.losses.reslt import reslt_loss
from eotune.losses.reweighting import reweighted_cross_entropy
from eotune.losses.sade import sade_loss
from eotune.tasks.labelled_images import Sampling


class LongTailObjectiveConfig(Config):
    """The loss of a phase.

    Attributes:
        loss: Towards the labels. ``cross_entropy``; ``reweighted`` by the effective number of samples (arXiv
            1901.05555); ``balanced_softmax`` (arXiv 2007.10740); ``logit_adjusted`` (arXiv 2007.07314); ``reslt``
            (arXiv 2101.10633) and ``sade`` (arXiv 2107.09249) bring their own heads.
        tau: Strength of the logit adjustment.
        beta: Of the effective number; 0 weighs samples alike, 1 by inverse frequency.
        branches: Weight of ResLT's single branches beside their sum; the released scripts have 0.99 for ImageNet-LT.
        inverted: Strength of SADE's third expert.
        head: ``linear``, or ``cosine``: normalised features against normalised class vectors.
        head_start: ``zero``, or the ``class_means`` of the training features.
        sampling: Each image once an epoch, or each class as often; losses that go by class sizes then find equal ones.
        augment: Whether training images are varied as the recipe says; targets are features of images as they are.
        distance: Between features and targets, where the phase has targets: ``squared``, or the ``norm``.
        task_weight: Of the loss towards the labels, where the phase has targets.
    """

    loss: Literal["cross_entropy", "reweighted", "balanced_softmax", "logit_adjusted", "reslt", "sade"] = (
        "cross_entropy"
    )
    tau: float = Field(default=1.0, ge=0)
    beta: float = Field(default=0.999, ge=0, le=1)
    branches: float = Field(default=0.99, ge=0, le=1)
    inverted: float = Field(default=2.0, ge=0)
    head: Literal["linear", "cosine"] = "linear"
    head_start: Literal["zero", "class_means"] = "zero"
    sampling: Sampling = "uniform"
    augment: bool = True
    distance: Literal["squared", "norm"] = "squared"
    task_weight: float = Field(default=1.0, ge=0)


@dataclass
class ClassOutput:
    """What one forward pass gives.

    Attributes:
        features: ``(n, d)``, pooled, as the encoder gives them.
        logits: ``(n, c)``, or ``(n, e, c)`` for a head of e experts.
    """

    features: Tensor
    logits: Tensor


class LongTailObjective:
    """The loss of a batch.

    Args:
        config: Which loss.
        counts: ``(c,)`` training images of each class. Losses go by the shares of the samples drawn: with balanced
            sampling those of all classes that have images are equal, and there is nothing left to correct.
        groups: Classes of head, middle and tail; ResLT has a branch for each.
        targets: ``(n, d)`` where the features of the training images are to go; None where labels alone count.

    Example:
        >>> output = ClassOutput(torch.zeros(2, 4), torch.zeros(2, 3))
        >>> batch = {"label": torch.tensor([0, 1]), "index": torch.tensor([0, 1])}
        >>> round(float(LongTailObjective(LongTailObjectiveConfig(), np.array([5, 3, 1]), [])(output, batch)), 3)
        1.099
    """

    def __init__(
        self,
        config: LongTailObjectiveConfig,
        counts: np.ndarray,
        groups: Sequence[np.ndarray],
        targets: np.ndarray | None = None,
    ) -> None:
        self.config = config
        self.counts = (counts > 0).astype(np.int64) if config.sampling == "balanced" else counts
        self.groups = [group for group in groups if len(group)]
        self.targets = None if targets is None else torch.from_numpy(targets)

    def __call__(self, output: ClassOutput, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the scalar loss; ``batch`` holds ``label`` and ``index`` (of the training image), ``(n,)`` each."""
        if self.targets is None:
            return self._towards_labels(output.logits.float(), batch["label"])
        features = output.features.float()
        gap = features - self.targets[batch["index"].cpu()].to(features.device)
        # Squared distances are divided by d: a learning rate then serves encoders of any width.
        loss = gap.square().mean() if self.config.distance == "squared" else gap.norm(dim=1).mean()
        if self.config.task_weight:
            loss = loss + self.config.task_weight * self._towards_labels(output.logits.float(), batch["label"])
        return loss

    def _towards_labels(self, logits: Tensor, labels: Tensor) -> Tensor:
        config, counts = self.config, self.counts
        if config.loss == "reslt":
            return reslt_loss(logits.transpose(0, 1), labels, self.groups, beta=config.branches)
        if config.loss == "sade":
            return sade_loss(logits.transpose(0, 1), labels, counts, strength=config.inverted)
        if config.loss == "reweighted":
            return reweighted_cross_entropy(logits, labels, counts, beta=config.beta)
        if config.loss == "balanced_softmax":
            return balanced_softmax(logits, labels, counts)
        if config.loss == "logit_adjusted":
            return logit_adjusted(logits, labels, counts, tau=config.tau)
        return torch.nn.functional.cross_entropy(logits, labels)
