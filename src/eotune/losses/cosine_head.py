"""A classifier that compares directions: no class gains by the length of its weight."""

import math

import torch
from torch import Tensor, nn

from eotune.losses.similarity import cosine_similarity_matrix, full_precision


class CosineHead(nn.Module):
    """Logits ``scale * cos(weight_k, features)``, as in LIFT (Shi et al., arXiv 2309.10019).

    Under a long tail, a linear head's weights grow with the class's count; here only directions can be learned. The
    rows may start as text embeddings of the classes ("semantic-aware initialisation") or as class means.

    Args:
        dim: Width d of the features.
        n_classes: c.
        scale: Factor on the cosines; 25 is that of LIFT's code.
        learn_scale: Train the scale as well, as its logarithm, so that it stays positive.

    Example:
        >>> head = CosineHead(2, 2)
        >>> head.start_from(torch.eye(2))
        >>> head(torch.tensor([[0.0, 9.0]])).round().tolist()
        [[0.0, 25.0]]
    """

    def __init__(self, dim: int, n_classes: int, *, scale: float = 25.0, learn_scale: bool = False) -> None:
        super().__init__()
        if not 0 < scale < math.inf:
            raise ValueError(f"scale must be positive; got {scale}")
        self.weight = nn.Parameter(nn.functional.normalize(torch.randn(n_classes, dim), dim=1))
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)), requires_grad=learn_scale)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits ``(n, c)`` float32 of features ``(n, d)`` of any length."""
        return full_precision(self.log_scale).exp() * cosine_similarity_matrix(features, self.weight)

    @torch.no_grad()
    def start_from(self, prototypes: Tensor) -> None:
        """Set the weights to directions in the space of the features.

        Args:
            prototypes: ``(c, d)``: text embeddings, or means by :func:`class_means`. A row that is zero or not finite
                (a class without samples) keeps its random direction.

        Raises:
            ValueError: The shape differs from the weight's.
        """
        if prototypes.shape != self.weight.shape:
            raise ValueError(f"prototypes must be {tuple(self.weight.shape)}; got {tuple(prototypes.shape)}")
        rows = prototypes.to(self.weight)
        length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        usable = torch.isfinite(length) & (length > 0)
        self.weight.copy_(torch.where(usable, rows / length, self.weight))


def class_means(features: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """Return the mean of each class's features ``(c, d)`` float32; a row of zeros for a class without samples.

    Args:
        features: ``(n, d)``.
        labels: ``(n,)`` int64, from 0 to ``n_classes - 1``.
        n_classes: c.

    Example:
        >>> class_means(torch.tensor([[1.0], [3.0]]), torch.tensor([1, 1]), 2).tolist()
        [[0.0], [2.0]]
    """
    sums = torch.zeros(n_classes, features.shape[1], device=features.device).index_add_(0, labels, features.float())
    return sums / torch.bincount(labels, minlength=n_classes).clamp(min=1)[:, None]
