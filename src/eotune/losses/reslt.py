"""ResLT: branches for all, rarer and rarest classes, added up (Cui et al., arXiv 2101.10633)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from eotune.losses.similarity import full_precision


class ResLTHead(nn.Module):
    """One classifier behind a light layer for each group of classes.

    The source puts a batch normalisation (or a 1x1 convolution) before the shared classifier. Here it is a layer
    normalisation: an adapted transformer's features come in small batches, whose statistics in a long tail are the
    head's.

    Args:
        dim: Width d of the features.
        n_classes: c.
        n_groups: g, the number of branches.

    Example:
        >>> branches = ResLTHead(8, 5)(torch.zeros(2, 8))
        >>> tuple(branches.shape), tuple(branches.sum(dim=0).shape)     # branches, and the logits to predict with
        ((3, 2, 5), (2, 5))
    """

    def __init__(self, dim: int, n_classes: int, *, n_groups: int = 3) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.LayerNorm(dim) for _ in range(n_groups))
        self.classifier = nn.Linear(dim, n_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Return the branches' logits ``(g, n, c)`` of features ``(n, d)``; predict with their sum over g."""
        return torch.stack([self.classifier(branch(features)) for branch in self.branches])


def reslt_loss(
    branches: Tensor, labels: Tensor, groups: Sequence[Sequence[int] | np.ndarray], *, beta: float = 0.99
) -> Tensor:
    """Return the loss of fused and single branches.

    ``(1 - beta) CE(sum of branches) + beta * sum_g sum_i CE(branch g) / sum_g n_g``, as in the released code: branch g
    sees only the n_g samples of groups g and later, so the first learns all classes, the last the tail alone, and what
    they learn adds up.

    Args:
        branches: ``(g, n, c)``; taken to float32 even under autocast.
        labels: ``(n,)`` int64.
        groups: g arrays of class numbers, from head to tail, together all classes, each once.
        beta: Weight of the single branches, from 0 to 1. The released scripts take 0.99 for ImageNet-LT
            and 0.995 for CIFAR-100-LT.

    Returns:
        Scalar, in nats.

    Raises:
        ValueError: The shapes do not fit, the groups do not hold each class once, or ``beta`` is not from 0 to 1.

    Example:
        >>> round(reslt_loss(torch.zeros(2, 3, 2), torch.tensor([0, 1, 1]), [[0], [1]]).item(), 4)
        0.6931
    """
    if branches.ndim != 3 or len(groups) != len(branches) or labels.shape != branches.shape[1:2]:
        raise ValueError(
            f"branches must be (g, n, c), labels (n,), for {len(groups)} groups; "
            f"got {tuple(branches.shape)} and {tuple(labels.shape)}"
        )
    if not 0 <= beta <= 1:
        raise ValueError(f"beta must be from 0 to 1; got {beta}")
    branches = full_precision(branches)
    g, n, c = branches.shape
    group_of = _group_of(groups, c).to(labels.device)[labels]
    takes_part = group_of >= torch.arange(g, device=labels.device)[:, None]
    losses = torch.nn.functional.cross_entropy(branches.flatten(0, 1), labels.repeat(g), reduction="none")
    single = (losses.view(g, n) * takes_part).sum() / takes_part.sum()
    return (1 - beta) * torch.nn.functional.cross_entropy(branches.sum(dim=0), labels) + beta * single


def _group_of(groups: Sequence[Sequence[int] | np.ndarray], n_classes: int) -> Tensor:
    members = np.concatenate([np.asarray(group, dtype=np.int64).ravel() for group in groups])
    if not np.array_equal(np.sort(members), np.arange(n_classes)):
        raise ValueError(f"groups must hold each of {n_classes} classes once; got {sorted(members.tolist())}")
    group_of = torch.empty(n_classes, dtype=torch.int64)
    group_of[torch.from_numpy(members)] = torch.arange(len(groups)).repeat_interleave(
        torch.tensor([len(group) for group in groups])
    )
    return group_of
