"""Cross-entropy with the class prior in the logits: what the network must learn beyond the counts."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from eotune.core.errors import InputError
from eotune.losses.similarity import full_precision

Counts = Sequence[int] | np.ndarray | Tensor


def logit_adjusted(logits: Tensor, labels: Tensor, counts: Counts, *, tau: float = 1.0) -> Tensor:
    """Return the cross-entropy of ``logits + tau log(prior)``.

    Menon et al., arXiv 2007.07314, eq. 10. At test time the logits are taken as they are; their argmax then minimises
    the balanced error (tau = 1).

    Args:
        logits: ``(n, c)``; taken to float32 even under autocast.
        labels: ``(n,)`` int64.
        counts: ``(c,)`` training samples of each class; keep them on the CPU, where checking them costs nothing. A
            class of count 0 takes no part: its logit gets no gradient.
        tau: Strength; 0 is plain cross-entropy.

    Returns:
        Scalar, the mean over samples, in nats.

    Raises:
        ValueError: The shapes do not fit.
        InputError: The counts are no counts, or a label has count 0.

    Example:
        >>> loss = logit_adjusted(torch.zeros(1, 2), torch.tensor([1]), [3, 1])
        >>> round(loss.item(), 4), round(torch.tensor(4.0).log().item(), 4)
        (1.3863, 1.3863)
    """
    sizes = check_counts(logits, labels, counts)
    if tau == 0:  # 0 times the -inf of an empty class is no number
        return torch.nn.functional.cross_entropy(full_precision(logits), labels)
    _refuse_empty(labels, sizes)
    return torch.nn.functional.cross_entropy(full_precision(logits) + tau * log_prior(sizes, logits), labels)


def balanced_softmax(logits: Tensor, labels: Tensor, counts: Counts) -> Tensor:
    """Return the cross-entropy of ``n_k exp(z_k) / sum_j n_j exp(z_j)`` (Ren et al., arXiv 2007.10740).

    It is :func:`logit_adjusted` with tau = 1, found from another side: counts and shares differ by a constant that the
    softmax cancels.

    Args:
        logits: ``(n, c)``.
        labels: ``(n,)`` int64.
        counts: ``(c,)``.

    Raises:
        ValueError: The shapes do not fit.
        InputError: The counts are no counts, or a label has count 0.

    Example:
        >>> round(balanced_softmax(torch.zeros(1, 2), torch.tensor([0]), [3, 1]).item(), 4)
        0.2877
    """
    return logit_adjusted(logits, labels, counts, tau=1.0)


def adjust_logits(logits: Tensor, counts: Counts, *, tau: float = 1.0) -> Tensor:
    """Return ``logits - tau log(prior)``: the adjustment after training with plain cross-entropy.

    Menon et al., arXiv 2007.07314, eq. 9.

    Args:
        logits: ``(n, c)``.
        counts: ``(c,)``. A class of count 0 gets -inf: what was never trained is not to be favoured for it.
        tau: Strength.

    Raises:
        ValueError: The shapes do not fit.
        InputError: The counts are no counts.

    Example:
        >>> adjust_logits(torch.zeros(1, 2), [3, 1]).argmax().item()
        1
    """
    sizes = check_counts(logits, None, counts)
    prior = log_prior(sizes, logits)
    return torch.where(prior.isfinite(), full_precision(logits) - tau * prior, -torch.inf)


def log_prior(sizes: np.ndarray, like: Tensor) -> Tensor:
    """Return the log of each class's share ``(c,)``, on the device of ``like``; -inf for a class without samples."""
    with np.errstate(divide="ignore"):
        prior = np.log(sizes / sizes.sum())
    return torch.as_tensor(prior, dtype=full_precision(like).dtype, device=like.device)


def check_counts(logits: Tensor, labels: Tensor | None, counts: Counts) -> np.ndarray:
    """Return the counts as float64 ``(c,)``.

    Raises:
        ValueError: The shapes do not fit.
        InputError: The counts are not finite, negative, or all 0.
    """
    if logits.ndim != 2 or (labels is not None and labels.shape != logits.shape[:1]):
        shape = None if labels is None else tuple(labels.shape)
        raise ValueError(f"logits must be (n, c) and labels (n,); got {tuple(logits.shape)} and {shape}")
    sizes = np.asarray(counts.cpu() if isinstance(counts, Tensor) else counts, dtype=np.float64)
    if sizes.shape != (logits.shape[1],):
        raise ValueError(f"need one count for each of {logits.shape[1]} classes; got {sizes.shape}")
    if not (np.isfinite(sizes).all() and (sizes >= 0).all() and sizes.any()):
        raise InputError(f"class counts must be finite, at least 0, and not all 0; got {sizes.tolist()}")
    return sizes


def _refuse_empty(labels: Tensor, sizes: np.ndarray) -> None:
    if sizes.all():  # the usual case, decided without asking the device for its labels
        return
    empty = labels[torch.as_tensor(sizes == 0, device=labels.device)[labels]]
    if len(empty):
        raise InputError(
            f"a sample has label {int(empty[0])}, which the class counts say has no training samples",
            remedy="count the classes on the data that is trained on",
        )
