import math

import numpy as np
import pytest
import torch

from eotune.core.errors import InputError
from eotune.losses.logit_adjustment import adjust_logits, balanced_softmax, logit_adjusted

COUNTS = np.array([50, 20, 5, 1])


@pytest.fixture(params=range(3))
def sample(request):
    random = np.random.default_rng(request.param)
    logits = torch.tensor(3 * random.normal(size=(9, 4)), requires_grad=True)
    return logits, torch.tensor(random.integers(0, 4, 9))


def slow_adjusted(logits, labels, counts, tau):
    """Menon et al., eq. 10, second form: log(1 + sum of (prior ratio)^tau exp(margin))."""
    total = 0.0
    for row, y in zip(logits, labels, strict=True):
        inner = sum((counts[k] / counts[y]) ** tau * math.exp(row[k] - row[y]) for k in range(len(counts)) if k != y)
        total += math.log(1 + inner)
    return total / len(labels)


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 2.0])
def test_logit_adjustment_equals_loops(sample, tau) -> None:
    logits, labels = sample
    expected = slow_adjusted(logits.tolist(), labels.tolist(), COUNTS, tau)
    assert logit_adjusted(logits, labels, COUNTS, tau=tau).item() == pytest.approx(expected, rel=1e-12)


def test_balanced_softmax_equals_its_definition(sample) -> None:
    logits, labels = sample
    total = 0.0
    for row, y in zip(logits.tolist(), labels.tolist(), strict=True):
        parts = [n * math.exp(z) for n, z in zip(COUNTS, row, strict=True)]
        total -= math.log(parts[y] / sum(parts))
    assert balanced_softmax(logits, labels, COUNTS).item() == pytest.approx(total / len(labels), rel=1e-12)


def test_equal_counts_and_tau_0_are_plain_cross_entropy(sample) -> None:
    logits, labels = sample
    plain = torch.nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(logit_adjusted(logits, labels, [7, 7, 7, 7]), plain)
    torch.testing.assert_close(logit_adjusted(logits, labels, COUNTS, tau=0), plain)


def test_gradients_equal_numerical_ones(sample) -> None:
    logits, labels = sample
    assert torch.autograd.gradcheck(lambda x: logit_adjusted(x, labels, COUNTS, tau=1.5), [logits])


def test_counts_may_be_a_list_an_array_or_a_tensor(sample) -> None:
    logits, labels = sample
    results = [logit_adjusted(logits, labels, c) for c in (COUNTS, COUNTS.tolist(), torch.from_numpy(COUNTS))]
    assert len({result.item() for result in results}) == 1


def test_half_precision_logits_are_computed_in_float32(sample) -> None:
    logits, labels = sample
    rounded = logits.detach().bfloat16()
    result = logit_adjusted(rounded, labels, COUNTS)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, logit_adjusted(rounded.float(), labels, COUNTS))


def test_a_class_without_samples_takes_no_part() -> None:
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.tensor([0, 1, 1, 0, 0])
    loss = logit_adjusted(logits, labels, [4, 2, 0])
    torch.testing.assert_close(loss, logit_adjusted(logits[:, :2], labels, [4, 2]))
    loss.backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[:, 2] == 0).all()
    with pytest.raises(InputError, match="label 2, which the class counts say"):
        logit_adjusted(logits, torch.tensor([0, 1, 2, 0, 0]), [4, 2, 0])
    torch.testing.assert_close(
        logit_adjusted(logits, labels, [4, 2, 0], tau=0), torch.nn.functional.cross_entropy(logits, labels)
    )


def test_adjusting_afterwards_undoes_the_prior(sample) -> None:
    logits, labels = sample
    shifted = adjust_logits(logits, COUNTS, tau=0.7)
    expected = [
        [z - 0.7 * math.log(n / COUNTS.sum()) for n, z in zip(COUNTS, row, strict=True)] for row in logits.tolist()
    ]
    np.testing.assert_allclose(shifted.detach().numpy(), expected, rtol=1e-12)
    plain = torch.nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(logit_adjusted(adjust_logits(logits, COUNTS), labels, COUNTS), plain)
    assert adjust_logits(torch.zeros(1, 3), [2, 1, 0]).tolist()[0][2] == -math.inf


def test_wrong_input_is_refused(sample) -> None:
    logits, labels = sample
    for counts in ([1, 2, 3, -1], [1, 2, 3, math.nan], [0, 0, 0, 0]):
        with pytest.raises(InputError, match="finite, at least 0"):
            logit_adjusted(logits, labels, counts)
    with pytest.raises(ValueError, match="each of 4 classes; got \\(3,\\)"):
        logit_adjusted(logits, labels, [1, 2, 3])
    with pytest.raises(ValueError, match="labels \\(n,\\)"):
        logit_adjusted(logits, labels[:-1], COUNTS)
