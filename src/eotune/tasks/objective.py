"""What a dual encoder is trained towards: contrastive and triplet losses, weighted."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from eotune.core.config import Config
from eotune.encoders.base import DualOutput
from eotune.losses.contrastive import contrastive_loss, positives_from_ids
from eotune.losses.gather import gather_with_gradients
from eotune.losses.triplet import adaptive_triplet_loss, triplet_loss


class ObjectiveConfig(Config):
    """L = triplet_weight * L_triplet + contrastive * L_contrastive (arXiv 2404.18253, the total objective).

    Attributes:
        contrastive: lambda2, weight of the symmetric cross-entropy; 0 leaves it out.
        triplet: ``adaptive`` is HarMA's; ``sum`` and ``hardest`` are the plain ones; ``none`` leaves it out.
        triplet_weight: lambda1.
        margin: m.
        gamma: Exponent of the adaptive weights.
        reduction: ``mean`` over violating pairs, or ``sum`` halved, as the source released it.
        weight_gradient: Whether gradients flow through the adaptive weights.
        positives: ``captions``: captions of the same image, and identical captions, are no negatives; ``diagonal``
            excludes only the pair itself, as the source released it.
    """

    contrastive: float = Field(default=1.0, ge=0)
    triplet: Literal["none", "adaptive", "sum", "hardest"] = "none"
    triplet_weight: float = Field(default=1.0, ge=0)
    margin: float = Field(default=0.2, ge=0)
    gamma: float = Field(default=2.0, gt=0)
    reduction: Literal["mean", "sum"] = "mean"
    weight_gradient: bool = True
    positives: Literal["captions", "diagonal"] = "captions"

    @model_validator(mode="after")
    def _something_left(self) -> "ObjectiveConfig":
        if self.contrastive == 0 and (self.triplet == "none" or self.triplet_weight == 0):
            raise ValueError("nothing to train towards: contrastive is 0 and triplet is none")
        return self


class DualObjective:
    """The loss of a batch of pairs; under several processes, of the whole batch over all of them.

    Args:
        config: Weights and switches.

    Example:
        >>> output = DualOutput(torch.eye(4), torch.eye(4), torch.tensor(100.0))
        >>> ids = {"image_ids": torch.arange(4), "text_ids": torch.arange(4)}
        >>> round(float(DualObjective(ObjectiveConfig())(output, ids)), 4)
        0.0
    """

    def __init__(self, config: ObjectiveConfig) -> None:
        self.config = config

    def __call__(self, output: DualOutput, targets: Mapping[str, Tensor]) -> Tensor:
        """Return the scalar loss; ``targets`` holds ``image_ids`` and ``text_ids``, ``(n,)`` each."""
        config = self.config
        images = gather_with_gradients(output.image_embeddings)
        texts = gather_with_gradients(output.text_embeddings)
        image_ids, text_ids = (gather_with_gradients(targets[key]) for key in ("image_ids", "text_ids"))
        same = positives_from_ids(image_ids, text_ids)
        diagonal = torch.eye(len(same), dtype=torch.bool, device=same.device)
        total = images.new_zeros((), dtype=torch.float32)
        if config.contrastive:
            total = total + config.contrastive * contrastive_loss(
                images, texts, output.logit_scale, positives=same, logit_bias=output.logit_bias
            )
        if config.triplet == "none" or config.triplet_weight == 0:
            return total
        shared: dict[str, Any] = {
            "positives": same if config.positives == "captions" else diagonal,
            "margin": config.margin,
            "reduction": config.reduction,
        }
        if config.triplet == "adaptive":
            term = adaptive_triplet_loss(
                images, texts, gamma=config.gamma, weight_gradient=config.weight_gradient, **shared
            )
        else:
            term = triplet_loss(images, texts, mining=config.triplet, **shared)
        return total + config.triplet_weight * term
