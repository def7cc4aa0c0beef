import math

import numpy as np
import pytest
import torch
from torch import Tensor

from eotune.losses import contrastive_loss, positives_from_ids, sigmoid_loss

SCALE = torch.tensor(4.0, dtype=torch.float64)


def slow_contrastive(similarities: np.ndarray, scale: float, positives: np.ndarray) -> float:
    """The spec in loops: cross-entropy against the row-normalised positives, both directions."""
    n = len(similarities)
    total = 0.0
    for scores, target in ((similarities, positives), (similarities.T, positives.T)):
        for i in range(n):
            exponentials = [math.exp(scale * scores[i, j]) for j in range(n)]
            count = sum(bool(target[i, j]) for j in range(n))
            for j in range(n):
                if target[i, j]:
                    total -= math.log(exponentials[j] / sum(exponentials)) / count / n
    return total / 2


def slow_sigmoid(similarities: np.ndarray, scale: float, bias: float, positives: np.ndarray) -> float:
    n = len(similarities)
    total = 0.0
    for i in range(n):
        for j in range(n):
            sign = 1 if positives[i, j] else -1
            total += math.log(1 / (1 + math.exp(-sign * (scale * similarities[i, j] + bias))))
    return -total / n


def test_contrastive_equals_loops(batch) -> None:
    result = contrastive_loss(batch.images, batch.texts, SCALE, positives=batch.positives)
    assert result.item() == pytest.approx(slow_contrastive(batch.similarities, 4.0, batch.positives.numpy()), rel=1e-9)


def test_with_one_positive_it_is_the_loss_of_clip(batch) -> None:
    eye = torch.eye(7).bool()
    logits = 4 * torch.tensor(batch.similarities)
    expected = sum(torch.nn.functional.cross_entropy(x, torch.arange(7)) for x in (logits, logits.T)) / 2
    torch.testing.assert_close(contrastive_loss(batch.images, batch.texts, SCALE, positives=eye), expected)


def test_sigmoid_equals_loops(batch) -> None:
    bias = torch.tensor(-2.0, dtype=torch.float64)
    result = sigmoid_loss(batch.images, batch.texts, SCALE, positives=batch.positives, logit_bias=bias)
    expected = slow_sigmoid(batch.similarities, 4.0, -2.0, batch.positives.numpy())
    assert result.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("loss", [contrastive_loss, sigmoid_loss])
def test_gradients_equal_numerical_ones(loss, batch) -> None:
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    bias = torch.tensor(-1.0, dtype=torch.float64, requires_grad=True)

    def value(images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        return loss(images, texts, scale, positives=batch.positives, logit_bias=bias)

    assert torch.autograd.gradcheck(value, (batch.images, batch.texts, scale, bias))


def test_a_bias_does_not_change_the_softmax(batch) -> None:
    plain = contrastive_loss(batch.images, batch.texts, SCALE, positives=batch.positives)
    shifted = contrastive_loss(
        batch.images, batch.texts, SCALE, positives=batch.positives, logit_bias=torch.tensor(-10.0)
    )
    torch.testing.assert_close(plain, shifted)


@pytest.mark.parametrize("loss", [contrastive_loss, sigmoid_loss])
def test_autocast_does_not_change_the_value(loss, batch) -> None:
    images, texts = batch.images.detach().float(), batch.texts.detach().float()
    expected = loss(images, texts, torch.tensor(100.0), positives=batch.positives)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = loss(images, texts, torch.tensor(100.0), positives=batch.positives)
    assert result.dtype == torch.float32
    assert torch.equal(result, expected)


def test_a_large_scale_stays_finite(batch) -> None:
    scale = torch.tensor(1e4, dtype=torch.float64, requires_grad=True)
    contrastive_loss(batch.images, batch.texts, scale, positives=batch.positives).backward()
    assert all(bool(x.grad.isfinite().all()) for x in (batch.images, batch.texts, scale))


def test_positives_equal_loops() -> None:
    random = np.random.default_rng(0)
    images, texts = random.integers(0, 5, 20), random.integers(0, 5, 20)
    result = positives_from_ids(torch.tensor(images), torch.tensor(texts))
    for i in range(20):
        for j in range(20):
            assert bool(result[i, j]) == (images[i] == images[j] or texts[i] == texts[j])


def test_positives_of_wrong_shape_or_type_are_refused(batch) -> None:
    for wrong in (batch.positives[:3], batch.positives.float()):
        with pytest.raises(ValueError, match="positives must be boolean"):
            contrastive_loss(batch.images, batch.texts, torch.tensor(1.0), positives=wrong)
    with pytest.raises(ValueError, match="equal length"):
        positives_from_ids(torch.arange(3), torch.arange(4))
