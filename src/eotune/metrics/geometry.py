"""The shape of an embedding space: alignment, uniformity, modality gap."""

import torch
from torch import Tensor

from eotune.core.errors import InputError
from eotune.metrics.counting import exact_products


def alignment(images: Tensor, texts: Tensor, image_index: Tensor) -> float:
    """Return the mean squared distance of captions to their images; 0 is perfect, 2 is unrelated.

    Wang and Isola, arXiv 2005.10242, section 4.1.1, with alpha = 2.

    Args:
        images: ``(n, d)`` of unit length.
        texts: ``(m, d)`` of unit length, m at least 1.
        image_index: ``(m,)`` int64: the image that a caption belongs to.

    Raises:
        InputError: There is not one index a text.

    Example:
        >>> alignment(torch.eye(2), torch.eye(2), torch.tensor([1, 0]))
        2.0
    """
    if not 0 < len(texts) == len(image_index):
        raise InputError(f"alignment needs one image index a text; got {len(image_index)} for {len(texts)} texts")
    parts = zip(texts.split(1024), image_index.split(1024), strict=True)  # small enough to stay in the cache
    return sum(float((images[index] - part).square_().sum()) for part, index in parts) / len(texts)


def uniformity(points: Tensor, *, temperature: float = 2.0, limit: int = 1200) -> float:
    """Return the log of the mean Gaussian potential over all pairs; lower is more uniform, 0 is one point.

    Wang and Isola, arXiv 2005.10242, section 4.1.2: ``log E exp(-t |x - y|^2)``. On a sphere of many dimensions
    uniform points come to about ``-2 t``.

    Args:
        points: ``(n, d)`` of unit length.
        temperature: ``t``.
        limit: At most this many points enter, evenly spaced: the pairs grow with the square.

    Example:
        >>> round(uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])), 3)
        -8.0
    """
    if len(points) < 2:
        return 0.0
    if len(points) > limit:
        points = points[torch.linspace(0, len(points) - 1, limit).long().to(points.device)]
    with exact_products(points.device):
        # |x - y|^2 = 2 - 2 x.y on the sphere; rounding may leave a hair below 0.
        potentials = (points @ points.T).sub_(1).mul_(2 * temperature).clamp_(max=0).exp_()
        n = len(points)
        total = potentials.sum() - potentials.diagonal().sum()
        return float((total / (n * (n - 1))).log())


def modality_gap(images: Tensor, texts: Tensor) -> float:
    """Return the distance between the centres of the two modalities (Liang et al., arXiv 2203.02053, section 4.2).

    Args:
        images: ``(n, d)`` of unit length.
        texts: ``(m, d)`` of unit length.

    Returns:
        From 0 (common centre) to 2 (two opposite points).

    Example:
        >>> modality_gap(torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0]]))
        2.0
    """
    return float(torch.linalg.vector_norm(images.mean(dim=0) - texts.mean(dim=0)))
