"""Triplet losses over all pairs of a batch, among them HarMA's adaptive one."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from eotune.losses.similarity import check_positives, cosine_similarity_matrix

Reduction = Literal["mean", "sum"]


def adaptive_triplet_loss(
    image_embeddings: Tensor,
    text_embeddings: Tensor,
    *,
    positives: Tensor,
    margin: float = 0.2,
    gamma: float = 2.0,
    reduction: Reduction = "mean",
    weight_gradient: bool = True,
) -> Tensor:
    """Return HarMA's adaptive triplet loss (arXiv 2404.18253, section 3.3): harder negatives weigh more.

    With ``s_ij`` the cosine similarity of image i and text j, ``c_ij = [margin + s_ij - s_ii]_+`` (text to image:
    ``[margin + s_ij - s_jj]_+``) and ``w_ij = (1 - exp(-c_ij))^gamma``, it is the sum of ``w_ij c_ij`` over all
    negatives in both directions, reduced. The own pair is always the diagonal, however many positives a row has.

    Args:
        image_embeddings: ``(n, d)``; L2-normalised here, in float32 even under autocast. Row i belongs to text i.
        text_embeddings: ``(n, d)``, likewise.
        positives: Boolean ``(n, n)``; true pairs are not negatives. ``eye`` masks the diagonal only, as the source's
            released code does.
        margin: ``m``, in cosine.
        gamma: Exponent of the weight, >= 0; 0 is the plain loss.
        reduction: ``mean`` over the violating pairs (``c > 0``) of both directions: does not depend on the batch
            size. ``sum`` is divided by 2 as released, and grows with the square of the batch.
        weight_gradient: Whether gradient flows through ``w`` (released: yes).

    Returns:
        Scalar; 0 with zero gradients where no pair violates the margin.

    Raises:
        ValueError: The shapes do not fit, ``positives`` is not boolean, or ``gamma`` is negative.

    Example:
        >>> images, texts = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> round(adaptive_triplet_loss(images, texts, positives=torch.eye(2).bool()).item(), 4)
        0.1997
    """
    if gamma < 0:
        raise ValueError(f"gamma must be at least 0; got {gamma}")

    def weigh(costs: Tensor) -> Tensor:
        weights = (-torch.expm1(-costs)) ** gamma
        return (weights if weight_gradient else weights.detach()) * costs

    similarities = _paired_similarities(image_embeddings, text_embeddings, positives)
    return _reduced(_directions(similarities, positives, margin), reduction, weigh)


def triplet_loss(
    image_embeddings: Tensor,
    text_embeddings: Tensor,
    *,
    positives: Tensor,
    margin: float = 0.2,
    mining: Literal["hardest", "sum"] = "hardest",
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the plain triplet loss over each query's hardest negative (VSE++, arXiv 1707.05612, eq. 6), or over all.

    Args:
        image_embeddings: ``(n, d)``; L2-normalised here, in float32 even under autocast. Row i belongs to text i.
        text_embeddings: ``(n, d)``, likewise.
        positives: Boolean ``(n, n)``; true pairs are not negatives.
        margin: In cosine.
        mining: ``hardest`` takes the most similar negative of each row and column, ``sum`` every one.
        reduction: ``mean`` over the violating pairs taken; ``sum`` is divided by 2, as in
            :func:`adaptive_triplet_loss`.

    Returns:
        Scalar; 0 with zero gradients where no pair violates the margin.

    Raises:
        ValueError: The shapes do not fit, ``positives`` is not boolean, or ``mining`` or ``reduction`` is unknown.

    Example:
        >>> images, texts = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> round(triplet_loss(images, texts, positives=torch.eye(2).bool(), mining="sum").item(), 4)
        0.5333
    """
    if mining not in ("sum", "hardest"):
        raise ValueError(f"mining must be 'sum' or 'hardest'; got {mining!r}")
    similarities = _paired_similarities(image_embeddings, text_embeddings, positives)
    if mining == "sum":
        return _reduced(_directions(similarities, positives, margin), reduction)
    negatives = similarities.masked_fill(positives, -torch.inf)
    own = similarities.diagonal()
    costs = torch.stack([margin + negatives.amax(dim=1) - own, margin + negatives.amax(dim=0) - own])
    return _reduced(costs, reduction)


def _paired_similarities(images: Tensor, texts: Tensor, positives: Tensor) -> Tensor:
    similarities = cosine_similarity_matrix(images, texts)
    if len(images) != len(texts):
        raise ValueError(f"image i must belong to text i; got {len(images)} images and {len(texts)} texts")
    check_positives(positives, similarities)
    return similarities


def _directions(similarities: Tensor, positives: Tensor, margin: float) -> Tensor:
    """Return ``margin + s_ij - s_ii`` and ``margin + s_ij - s_jj`` ``(2, n, n)``, -inf at positives."""
    own = similarities.diagonal()
    costs = torch.stack([margin + similarities - own[:, None], margin + similarities - own[None, :]])
    return costs.masked_fill(positives, -torch.inf)


def _reduced(costs: Tensor, reduction: Reduction, weigh: Callable[[Tensor], Tensor] = lambda costs: costs) -> Tensor:
    """Hinge, weigh and reduce costs of any shape."""
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean' or 'sum'; got {reduction!r}")
    violating = costs > 0
    # The inner where keeps c = 0 away from the weight, whose gradient is infinite there for gamma < 1; an infinite
    # gradient times the outer where's 0 would be NaN.
    terms = torch.where(violating, weigh(torch.where(violating, costs, 1.0)), 0.0)
    if reduction == "sum":
        return terms.sum() / 2
    return terms.sum() / violating.sum().clamp(min=1)
