"""Cross-entropy in which rare classes weigh more."""

import numpy as np
import torch
from torch import Tensor

from eotune.core.errors import InputError
from eotune.losses.logit_adjustment import Counts, check_counts
from eotune.losses.similarity import full_precision


def reweighted_cross_entropy(logits: Tensor, labels: Tensor, counts: Counts, *, beta: float = 0.999) -> Tensor:
    """Return the cross-entropy weighted by the inverse effective number of samples.

    Cui et al., arXiv 1901.05555; weights by :func:`effective_number_weights`. The mean is over samples, as in
    the source, not over weights: a batch's gradient is then an unbiased estimate of the whole set's.

    Args:
        logits: ``(n, c)``; taken to float32 even under autocast.
        labels: ``(n,)`` int64.
        counts: ``(c,)`` training samples of each class, kept on the CPU.
        beta: From 0 (plain cross-entropy) to 1 (weights inverse to the counts).

    Returns:
        Scalar, in nats.

    Raises:
        ValueError: The shapes do not fit.
        InputError: The counts are no counts, or ``beta`` is not from 0 to 1.

    Example:
        >>> loss = reweighted_cross_entropy(torch.zeros(2, 2), torch.tensor([0, 1]), [3, 1], beta=1.0)
        >>> round(loss.item(), 4)     # weights 0.5 and 1.5
        0.6931
    """
    weights = effective_number_weights(check_counts(logits, labels, counts), beta)
    logits = full_precision(logits)
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    return (torch.as_tensor(weights, dtype=logits.dtype, device=logits.device)[labels] * losses).mean()


def effective_number_weights(counts: np.ndarray, beta: float) -> np.ndarray:
    """Return a weight for each class ``(c,)``, inverse to its effective number of samples.

    ``E_n = (1 - beta^n) / (1 - beta)`` (Cui et al., arXiv 1901.05555, proposition 1): of n samples, the number that
    bring something new where each covers a share 1 - beta of its class. Its limit at beta = 1 is n itself: inverse
    frequency. Weights are scaled to mean 1 over classes, as in the source.

    Args:
        counts: ``(c,)``. A class of count 0 has weight 0 and no part in the mean: no sample would carry its weight.
        beta: From 0 to 1.

    Raises:
        InputError: ``beta`` is not from 0 to 1.

    Example:
        >>> effective_number_weights(np.array([3, 1]), 1.0).tolist()
        [0.5, 1.5]
    """
    if not 0 <= beta <= 1:
        raise InputError(f"beta must be from 0 to 1; got {beta}")
    sizes = np.asarray(counts, dtype=np.float64)
    # expm1 and log1p keep the digits that 1 - beta^n loses near beta = 1.
    effective = sizes if beta == 1 else np.minimum(sizes, 1) if beta == 0 else _effective_number(sizes, beta)
    weights = np.divide(1, effective, out=np.zeros_like(effective), where=sizes > 0)
    return weights * (sizes > 0).sum() / weights.sum()


def _effective_number(sizes: np.ndarray, beta: float) -> np.ndarray:
    return -np.expm1(sizes * np.log(beta)) / (1 - beta)
