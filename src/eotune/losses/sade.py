"""SADE: experts for different test distributions, mixed at test time (Zhang et al., arXiv 2107.09249)."""

import numpy as np
import torch
from torch import Tensor, nn

from eotune.core.errors import InputError
from eotune.losses.logit_adjustment import Counts, balanced_softmax, check_counts, log_prior
from eotune.losses.similarity import full_precision

N_EXPERTS = 3

_LEAST_WEIGHT = 0.05  # the released code stops once an expert's weight falls below it: the mixture has collapsed


class SADEHead(nn.Module):
    """Three linear experts on the same features.

    The source's experts also have their own last stage of the network; on an adapted encoder they share it, and differ
    by their losses alone.

    Args:
        dim: Width d of the features.
        n_classes: c.

    Example:
        >>> tuple(SADEHead(8, 5)(torch.zeros(2, 8)).shape)
        (3, 2, 5)
    """

    def __init__(self, dim: int, n_classes: int) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(dim, n_classes) for _ in range(N_EXPERTS))

    def forward(self, features: Tensor) -> Tensor:
        """Return the experts' logits ``(3, n, c)`` of features ``(n, d)``; predict with :func:`aggregate`."""
        return torch.stack([expert(features) for expert in self.experts])


def sade_loss(experts: Tensor, labels: Tensor, counts: Counts, *, strength: float = 2.0) -> Tensor:
    """Return the sum of the three experts' losses (arXiv 2107.09249).

    The first learns the training distribution by cross-entropy, the second an even one by balanced softmax, the third
    the inverted one, by the cross-entropy of ``logits + log(prior) - strength log(inverted prior)``. The inverted prior
    gives the rarest class the share of the most frequent one, the second rarest that of the second, and so on.

    Args:
        experts: ``(3, n, c)``; taken to float32 even under autocast.
        labels: ``(n,)`` int64.
        counts: ``(c,)`` training samples of each class, each at least 1, kept on the CPU.
        strength: of the third loss; lambda in the paper, tau = 2 in the released code.

    Returns:
        Scalar, in nats.

    Raises:
        ValueError: The shapes do not fit.
        InputError: A count is not positive: the inverted prior would have to rank what was never seen.

    Example:
        >>> round(sade_loss(torch.zeros(3, 1, 2), torch.tensor([0]), [1, 1]).item(), 4)
        2.0794
    """
    if experts.ndim != 3 or len(experts) != N_EXPERTS:
        raise ValueError(f"experts must be ({N_EXPERTS}, n, c); got {tuple(experts.shape)}")
    experts = full_precision(experts)
    sizes = check_counts(experts[0], labels, counts)
    if not sizes.all():
        empty = int(np.flatnonzero(sizes == 0)[0])
        raise InputError(f"SADE needs training samples of every class; class {empty} has none")
    prior, inverted = log_prior(sizes, experts), log_prior(inverted_counts(sizes), experts)
    forward, uniform, backward = experts
    cross_entropy = torch.nn.functional.cross_entropy
    return (
        cross_entropy(forward, labels)
        + balanced_softmax(uniform, labels, sizes)
        + cross_entropy(backward + prior - strength * inverted, labels)
    )


def inverted_counts(counts: np.ndarray) -> np.ndarray:
    """Return the counts ``(c,)`` with ranks turned round: the class of rank r gets the count of rank c - 1 - r.

    Example:
        >>> inverted_counts(np.array([9, 1, 5, 3])).tolist()
        [1, 9, 3, 5]
    """
    order = np.argsort(counts, kind="stable")
    inverted = np.empty_like(counts)
    inverted[order] = counts[order[::-1]]
    return inverted


def aggregate(experts: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mixture's logits ``(n, c)``.

    Args:
        experts: ``(e, n, c)``.
        weights: ``(e,)`` of sum 1, by :func:`fit_aggregation`; equal ones by default.

    Example:
        >>> aggregate(torch.tensor([[[0.0, 2.0]], [[4.0, 0.0]]])).tolist()
        [[2.0, 1.0]]
    """
    if weights is None:
        return experts.mean(dim=0)
    return torch.einsum("e,enc->nc", weights.to(experts), experts)


def fit_aggregation(
    first_view: Tensor, second_view: Tensor, *, steps: int = 200, learning_rate: float = 0.1
) -> tuple[Tensor, float]:
    """Weigh experts by how stable their mixture's predictions are, on unlabelled test samples.

    Maximises the mean cosine similarity of the mixture's probabilities under two augmented views of each sample
    (arXiv 2107.09249, eq. 4): the expert that knows the classes the test set is made of changes its mind least.
    Weights are a softmax, start equal, and stop before one falls below 0.05, as in the released code. It looks at all
    test samples at once, where the source takes steps over batches, so that the result does not depend on their order.

    It is transductive: the figure it leads to is of these test samples, not of single images to come.

    Args:
        first_view: Experts' logits ``(e, n, c)`` of one view of each sample.
        second_view: The same of the other view.
        steps: Gradient steps at most.
        learning_rate: Of the steps (Adam), on the logarithms of the weights.

    Returns:
        Weights ``(e,)`` float32 of sum 1, and the mean cosine similarity that they reach.

    Raises:
        ValueError: The views differ in shape or are not ``(e, n, c)``.

    Example:
        >>> views = torch.tensor([[[4.0, 0.0]], [[0.0, 4.0]]]), torch.tensor([[[4.0, 0.0]], [[0.0, -4.0]]])
        >>> weights, similarity = fit_aggregation(*views)     # the first expert keeps its mind
        >>> bool(weights[0] > 0.9), round(similarity, 2)
        (True, 1.0)
    """
    if first_view.ndim != 3 or first_view.shape != second_view.shape or 0 in first_view.shape:
        raise ValueError(f"views must be (e, n, c), alike; got {tuple(first_view.shape)} {tuple(second_view.shape)}")
    views = [full_precision(view.detach()) for view in (first_view, second_view)]
    raw = torch.zeros(len(first_view), dtype=views[0].dtype, device=first_view.device, requires_grad=True)
    optimizer = torch.optim.Adam([raw], lr=learning_rate)

    def similarity() -> Tensor:
        weights = torch.softmax(raw, dim=0)
        one, other = (torch.softmax(aggregate(view, weights), dim=1) for view in views)
        return torch.nn.functional.cosine_similarity(one, other, dim=1).mean()

    kept, reached = torch.softmax(raw, dim=0).detach(), float(similarity().detach())
    with torch.enable_grad():
        for _ in range(steps):
            optimizer.zero_grad()
            (-similarity()).backward()
            optimizer.step()
            weights, now = torch.softmax(raw, dim=0).detach(), float(similarity().detach())
            if float(weights.min()) < _LEAST_WEIGHT:
                break
            if now > reached:
                kept, reached = weights, now
    return kept.float(), reached
