"""Class scores on the features of an encoder: the head that an objective wants, and the encoder with it."""

from typing import Any

import torch
from torch import Tensor, nn

from eotune.encoders.base import ImageEncoder
from eotune.losses.cosine_head import CosineHead
from eotune.losses.reslt import ResLTHead
from eotune.losses.sade import SADEHead
from eotune.tasks.long_tail_objective import ClassOutput, LongTailObjectiveConfig


class Head(nn.Module):
    """Class scores on features.

    Args:
        scores: Maps features ``(n, d)`` to logits ``(n, c)``, or to those of e experts ``(e, n, c)``.
        added: Whether experts predict by their sum, as ResLT's branches do, or by their mean.
    """

    def __init__(self, scores: nn.Module, *, added: bool = False) -> None:
        super().__init__()
        self.scores = scores
        self.added = added

    def forward(self, features: Tensor) -> Tensor:
        """Return logits ``(n, c)``, or ``(n, e, c)``: a row a sample."""
        logits: Tensor = self.scores(features)
        return logits if logits.ndim == 2 else logits.transpose(0, 1)

    def combined(self, logits: Tensor) -> Tensor:
        """Return what to predict with, ``(n, c)``."""
        if logits.ndim == 2:
            return logits
        return logits.sum(1) if self.added else logits.mean(1)


class Classifier(nn.Module):
    """Features of an encoder, and class scores on them.

    Args:
        encoder: Adapted or not.
        head: Maps features ``(n, d)`` to logits.
    """

    def __init__(self, encoder: ImageEncoder, head: Head) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, pixels: Tensor) -> ClassOutput:
        """Map uint8 ``(n, c, h, w)`` to features and logits, with gradients."""
        features = self.encoder(pixels)
        return ClassOutput(features, self.head(features))


def make_head(config: LongTailObjectiveConfig, dim: int, n_classes: int, *, n_groups: int = 3) -> Head:
    """Return the head that an objective wants, at its start.

    A linear head starts at zero: every class is as likely, and no feature matters yet. The others start from torch's
    global generator.

    Args:
        config: Names the loss and the head.
        dim: Width of the features.
        n_classes: c.
        n_groups: Of head, middle and tail, how many have classes: ResLT has a branch for each.

    Example:
        >>> make_head(LongTailObjectiveConfig(), 4, 3)(torch.ones(2, 4)).tolist()
        [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
        >>> make_head(LongTailObjectiveConfig(loss="sade"), 4, 3)(torch.ones(2, 4)).shape
        torch.Size([2, 3, 3])
    """
    if config.loss == "reslt":
        return Head(ResLTHead(dim, n_classes, n_groups=n_groups), added=True)
    if config.loss == "sade":
        return Head(SADEHead(dim, n_classes))
    if config.head == "cosine":
        return Head(CosineHead(dim, n_classes))
    head = nn.Linear(dim, n_classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return Head(head)


def start_from_means(head: Head, means: Tensor) -> None:
    """Let a linear or cosine head start as the nearest class mean.

    A linear head takes weights m and biases -|m|^2 / 2, with which the largest logit is the nearest mean's, scaled to
    logits of size 1.

    Args:
        head: Changed in place; heads of several experts are left alone.
        means: ``(c, d)``.

    Example:
        >>> head = make_head(LongTailObjectiveConfig(), 2, 2)
        >>> start_from_means(head, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        >>> head(torch.tensor([[0.9, 0.2]])).argmax().item()
        0
    """
    scores: Any = head.scores
    if isinstance(scores, CosineHead):
        scores.start_from(means)
    elif isinstance(scores, nn.Linear):
        centred = means - means.mean(0)
        scale = 1 / centred.square().sum(1).mean().clamp(min=1e-12)
        with torch.no_grad():
            scores.weight.copy_(centred * scale)
            # (x - m0).(m - m0) - |m - m0|^2 / 2, with m0 the mean of the means
            scores.bias.copy_(-scale * (centred @ means.mean(0) + centred.square().sum(1) / 2))
