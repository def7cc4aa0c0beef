"""Cosine similarity in full precision, whatever the surrounding autocast says."""

import torch
from torch import Tensor


def cosine_similarity_matrix(image_embeddings: Tensor, text_embeddings: Tensor) -> Tensor:
    """Return the cosine similarity of every image with every text.

    The product is taken in float32 (float64 for float64 inputs) even under autocast: bf16 keeps three digits, and a
    logit scale of 100 would turn their rounding into whole logits.

    Args:
        image_embeddings: ``(n, d)``, of any length.
        text_embeddings: ``(m, d)``, likewise. A zero row has similarity 0 with everything.

    Returns:
        ``(n, m)``, in [-1, 1].

    Raises:
        ValueError: The inputs are not two matrices of equal width.

    Example:
        >>> cosine_similarity_matrix(torch.eye(2), torch.tensor([[0.0, 3.0]])).tolist()
        [[0.0], [1.0]]
    """
    if image_embeddings.ndim != 2 or text_embeddings.ndim != 2 or image_embeddings.shape[1] != text_embeddings.shape[1]:
        raise ValueError(
            f"image_embeddings {tuple(image_embeddings.shape)} and text_embeddings {tuple(text_embeddings.shape)} "
            "must be matrices of equal width"
        )
    with torch.autocast(image_embeddings.device.type, enabled=False):
        images = torch.nn.functional.normalize(full_precision(image_embeddings), dim=1)
        texts = torch.nn.functional.normalize(full_precision(text_embeddings), dim=1)
        return images @ texts.T


def full_precision(tensor: Tensor) -> Tensor:
    """Return ``tensor`` as float32, or unchanged if it is float64."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def check_positives(positives: Tensor, similarities: Tensor) -> None:
    """Refuse a positives matrix that does not fit.

    Raises:
        ValueError: It is not boolean, or its shape differs from that of ``similarities``.
    """
    if positives.dtype != torch.bool or positives.shape != similarities.shape:
        raise ValueError(
            f"positives must be boolean {tuple(similarities.shape)}; got {positives.dtype} {tuple(positives.shape)}"
        )
