"""Contrastive losses over a batch of pairs in which one text may describe several images, and the reverse."""

import torch
from torch import Tensor

from eotune.losses.similarity import check_positives, cosine_similarity_matrix, full_precision


def positives_from_ids(image_ids: Tensor, text_ids: Tensor) -> Tensor:
    """Tell which image goes with which text: pairs of the same image, and pairs with an identical caption.

    Overhead captions repeat ("many planes are parked"): without this, a batch would push images away from
    sentences that describe them.

    Args:
        image_ids: ``(n,)`` integers; equal for pairs of the same image.
        text_ids: ``(n,)`` integers; equal for pairs whose captions are identical.

    Returns:
        Boolean ``(n, n)``, symmetric, true on the diagonal; element ``ij``: text j is a positive of image i.

    Raises:
        ValueError: The inputs are not vectors of equal length.

    Example:
        >>> positives_from_ids(torch.tensor([0, 0, 1]), torch.tensor([7, 8, 8])).int().tolist()
        [[1, 1, 0], [1, 1, 1], [0, 1, 1]]
    """
    if image_ids.ndim != 1 or image_ids.shape != text_ids.shape:
        raise ValueError(
            f"image_ids {tuple(image_ids.shape)} and text_ids {tuple(text_ids.shape)} must be vectors of equal length"
        )
    return (image_ids[:, None] == image_ids[None, :]) | (text_ids[:, None] == text_ids[None, :])


def contrastive_loss(
    image_embeddings: Tensor,
    text_embeddings: Tensor,
    logit_scale: Tensor,
    *,
    positives: Tensor,
    logit_bias: Tensor | None = None,
) -> Tensor:
    """Return the symmetric cross-entropy over cosine similarities (CLIP), with any number of positives a row.

    The targets are ``positives`` with rows normalised to sum 1 (columns for the text-to-image direction), as in
    UniCL (arXiv 2204.03610, eq. 3). With ``positives = eye`` it is CLIP's loss (arXiv 2103.00020, fig. 3).

    Args:
        image_embeddings: ``(n, d)``; L2-normalised here, in float32 even under autocast.
        text_embeddings: ``(m, d)``, likewise.
        logit_scale: Scalar factor on cosine similarities, already exponentiated and clamped.
        positives: Boolean ``(n, m)``, see :func:`positives_from_ids`. A row or column without a positive adds 0.
        logit_bias: Scalar added to the logits. It cancels in the softmax; taken so that objectives are exchangeable.

    Returns:
        Scalar, the mean of the two directions, in nats.

    Raises:
        ValueError: The shapes do not fit, or ``positives`` is not boolean.

    Example:
        >>> embeddings = torch.eye(4)
        >>> round(contrastive_loss(embeddings, embeddings, torch.tensor(1.0), positives=torch.eye(4).bool()).item(), 4)
        0.7437
    """
    logits = _logits(image_embeddings, text_embeddings, logit_scale, logit_bias)
    check_positives(positives, logits)
    return (_cross_entropy(logits, positives) + _cross_entropy(logits.T, positives.T)) / 2


def sigmoid_loss(
    image_embeddings: Tensor,
    text_embeddings: Tensor,
    logit_scale: Tensor,
    *,
    positives: Tensor,
    logit_bias: Tensor | None = None,
) -> Tensor:
    """Return SigLIP's pairwise loss (arXiv 2303.15343, algorithm 1): each image-text pair is a binary decision.

    Args:
        image_embeddings: ``(n, d)``; L2-normalised here, in float32 even under autocast.
        text_embeddings: ``(m, d)``, likewise.
        logit_scale: Scalar factor on cosine similarities.
        positives: Boolean ``(n, m)``; true pairs have label +1, all others -1.
        logit_bias: Scalar added to the logits (SigLIP starts at -10, against the many negatives).

    Returns:
        Scalar: the sum over pairs divided by ``n``, as in the source.

    Raises:
        ValueError: The shapes do not fit, or ``positives`` is not boolean.

    Example:
        >>> one = torch.ones(1, 2)
        >>> round(sigmoid_loss(one, one, torch.tensor(0.0), positives=torch.ones(1, 1).bool()).item(), 4)
        0.6931
    """
    logits = _logits(image_embeddings, text_embeddings, logit_scale, logit_bias)
    check_positives(positives, logits)
    signed = torch.where(positives, logits, -logits)
    return -torch.nn.functional.logsigmoid(signed).sum() / max(len(logits), 1)


def _logits(images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    logits = full_precision(scale) * cosine_similarity_matrix(images, texts)
    return logits if bias is None else logits + full_precision(bias)


def _cross_entropy(logits: Tensor, positives: Tensor) -> Tensor:
    """Mean over rows of the cross-entropy against ``positives`` with rows normalised."""
    targets = positives.to(logits.dtype)
    targets = targets / targets.sum(dim=1, keepdim=True).clamp(min=1)
    return -(targets * torch.log_softmax(logits, dim=1)).sum() / max(len(logits), 1)
