import math

import numpy as np
import pytest
import torch

from eotune.core.errors import InputError
from eotune.losses.reweighting import effective_number_weights, reweighted_cross_entropy

COUNTS = np.array([500, 40, 5, 1])


def slow_weights(counts, beta):
    """1 / E_n with E_n summed as the geometric series it is, scaled to sum to the number of classes."""
    inverse = [1 / sum(beta**i for i in range(n)) for n in counts]
    return [value * len(counts) / sum(inverse) for value in inverse]


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.99, 0.9999, 1.0])
def test_weights_and_loss_equal_loops(beta) -> None:
    random = np.random.default_rng(0)
    logits, labels = torch.tensor(random.normal(size=(9, 4))), torch.tensor(random.integers(0, 4, 9))
    weights = slow_weights(COUNTS, beta)
    np.testing.assert_allclose(effective_number_weights(COUNTS, beta), weights, rtol=1e-9)
    total = 0.0
    for row, y in zip(logits.tolist(), labels.tolist(), strict=True):
        total -= weights[y] * math.log(math.exp(row[y]) / sum(map(math.exp, row)))
    result = reweighted_cross_entropy(logits, labels, COUNTS, beta=beta)
    assert result.item() == pytest.approx(total / len(labels), rel=1e-9)


def test_beta_0_is_plain_and_beta_1_gives_every_class_the_same_say() -> None:
    labels = torch.arange(4).repeat_interleave(torch.tensor(COUNTS))
    logits = torch.randn(len(labels), 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(reweighted_cross_entropy(logits, labels, COUNTS, beta=0), losses.mean())
    by_class = torch.stack([losses[labels == k].mean() for k in range(4)]).mean()
    ratio = reweighted_cross_entropy(logits, labels, COUNTS, beta=1) / by_class
    # All weights times counts are equal; their sum over samples is 4 times the smallest share's.
    assert ratio.item() == pytest.approx(16 / (len(labels) * (1 / COUNTS).sum()))


def test_near_1_the_weights_keep_their_digits() -> None:
    np.testing.assert_allclose(
        effective_number_weights(COUNTS, 1 - 1e-12), effective_number_weights(COUNTS, 1.0), rtol=1e-6
    )


def test_a_class_without_samples_weighs_nothing() -> None:
    for beta in (0.0, 0.9, 1.0):
        weights = effective_number_weights(np.array([8, 0, 2]), beta)
        np.testing.assert_allclose(weights[[0, 2]], effective_number_weights(np.array([8, 2]), beta))
        assert weights[1] == 0


def test_gradients_equal_numerical_ones() -> None:
    logits = torch.tensor(np.random.default_rng(0).normal(size=(6, 4)), requires_grad=True)
    labels = torch.tensor([0, 1, 2, 3, 3, 0])
    assert torch.autograd.gradcheck(lambda x: reweighted_cross_entropy(x, labels, COUNTS, beta=0.9), [logits])


def test_wrong_input_is_refused() -> None:
    for beta in (-0.1, 1.1, math.nan):
        with pytest.raises(InputError, match="beta must be from 0 to 1"):
            reweighted_cross_entropy(torch.zeros(1, 4), torch.tensor([0]), COUNTS, beta=beta)
    with pytest.raises(InputError, match="finite, at least 0"):
        reweighted_cross_entropy(torch.zeros(1, 2), torch.tensor([0]), [3, -1])
    with pytest.raises(ValueError, match="each of 4 classes"):
        reweighted_cross_entropy(torch.zeros(1, 4), torch.tensor([0]), [3, 1])
