import math

import numpy as np
import pytest
import torch
from torch import Tensor

from eotune.losses import adaptive_triplet_loss, triplet_loss


def slow_terms(
    similarities: np.ndarray, positives: np.ndarray, margin: float, gamma: float
) -> tuple[list[float], list[float]]:
    """The spec in loops: w_ij * c_ij of every violating true negative, image to text and text to image."""
    n = len(similarities)
    directions: tuple[list[float], list[float]] = ([], [])
    for terms, scores, positive in zip(
        directions, (similarities, similarities.T), (positives, positives.T), strict=True
    ):
        for i in range(n):
            for j in range(n):
                cost = max(margin + scores[i, j] - scores[i, i], 0.0)
                if not positive[i, j] and cost > 0:
                    terms.append((1 - math.exp(-cost)) ** gamma * cost)
    return directions


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_adaptive_equals_loops(batch, gamma, reduction) -> None:
    forth, back = slow_terms(batch.similarities, batch.positives.numpy(), 0.2, gamma)
    expected = sum(forth + back) / 2 if reduction == "sum" else np.mean(forth + back)
    result = adaptive_triplet_loss(
        batch.images, batch.texts, positives=batch.positives, gamma=gamma, reduction=reduction
    )
    assert result.item() == pytest.approx(expected, rel=1e-9)


def test_eye_as_positives_masks_only_the_diagonal(batch) -> None:
    eye = torch.eye(7).bool()
    forth, back = slow_terms(batch.similarities, np.eye(7, dtype=bool), 0.2, 2.0)
    result = adaptive_triplet_loss(batch.images, batch.texts, positives=eye, reduction="sum")
    assert result.item() == pytest.approx(sum(forth + back) / 2, rel=1e-9)


@pytest.mark.parametrize("mining", ["sum", "hardest"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_plain_equals_loops(batch, mining, reduction) -> None:
    terms = []
    for scores, positive in (
        (batch.similarities, batch.positives.numpy()),
        (batch.similarities.T, batch.positives.numpy().T),
    ):
        for i in range(7):
            costs = [0.3 + scores[i, j] - scores[i, i] for j in range(7) if not positive[i, j]]
            terms += [max(costs)] if mining == "hardest" else costs
    terms = [cost for cost in terms if cost > 0]
    result = triplet_loss(
        batch.images, batch.texts, positives=batch.positives, margin=0.3, mining=mining, reduction=reduction
    )
    assert result.item() == pytest.approx(sum(terms) / 2 if reduction == "sum" else np.mean(terms), rel=1e-9)


def test_gamma_0_is_the_plain_loss(batch) -> None:
    adaptive = adaptive_triplet_loss(batch.images, batch.texts, positives=batch.positives, gamma=0)
    plain = triplet_loss(batch.images, batch.texts, positives=batch.positives, mining="sum")
    torch.testing.assert_close(adaptive, plain)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_adaptive_gradients_equal_numerical_ones(batch, gamma, reduction) -> None:
    def value(images: Tensor, texts: Tensor) -> Tensor:
        return adaptive_triplet_loss(images, texts, positives=batch.positives, gamma=gamma, reduction=reduction)

    assert torch.autograd.gradcheck(value, (batch.images, batch.texts))


@pytest.mark.parametrize("mining", ["sum", "hardest"])
def test_plain_gradients_equal_numerical_ones(batch, mining) -> None:
    def value(images: Tensor, texts: Tensor) -> Tensor:
        return triplet_loss(images, texts, positives=batch.positives, mining=mining)

    assert torch.autograd.gradcheck(value, (batch.images, batch.texts))


def test_without_gradient_through_the_weight_it_is_a_constant_factor() -> None:
    # One violating direction, cost c at the similarity x: with the weight fixed, d(wc)/dx = w.
    angle = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    images = torch.eye(2, dtype=torch.float64)
    texts = torch.stack([torch.stack([angle.cos(), angle.sin()]), images[1]])
    result = adaptive_triplet_loss(images, texts, positives=torch.eye(2).bool(), reduction="sum", weight_gradient=False)
    (gradient,) = torch.autograd.grad(result, angle)

    def costs(at: float) -> list[float]:
        x, y = math.cos(at), math.sin(at)
        # i2t: image 0 against text 1, image 1 against text 0; t2i: text 0 against image 1, text 1 against image 0.
        return [max(c, 0.0) for c in (0.2 + 0 - x, 0.2 + y - 1, 0.2 + y - x, 0.2 + 0 - 1)]

    step = 1e-6
    expected = sum(
        (1 - math.exp(-c)) ** 2 * (high - low) / (2 * step) / 2
        for c, low, high in zip(costs(0.9), costs(0.9 - step), costs(0.9 + step), strict=True)
    )
    assert gradient.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_cost_of_exactly_0_gives_finite_gradients(gamma, reduction) -> None:
    # Image 0 and text 1 are orthogonal, the own pair has similarity 1: margin 1 puts the cost at exactly 0.
    images = torch.eye(2, dtype=torch.float64, requires_grad=True)
    texts = torch.eye(2, dtype=torch.float64, requires_grad=True)
    loss = adaptive_triplet_loss(
        images, texts, positives=torch.eye(2).bool(), margin=1.0, gamma=gamma, reduction=reduction
    )
    loss.backward()
    assert loss.item() == 0
    assert images.grad is not None
    assert bool((images.grad == 0).all())


@pytest.mark.parametrize("gamma", [0.1, 0.5, 2.0])
def test_costs_near_0_give_finite_gradients(gamma) -> None:
    for exponent in range(1, 12):
        images = torch.eye(2, requires_grad=True)
        texts = torch.eye(2, requires_grad=True)
        adaptive_triplet_loss(
            images, texts, positives=torch.eye(2).bool(), margin=1 + 10.0**-exponent, gamma=gamma
        ).backward()
        assert images.grad is not None
        assert bool(images.grad.isfinite().all())


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("mining", ["adaptive", "sum", "hardest"])
def test_without_a_violating_pair_loss_and_gradient_are_0_and_connected(reduction, mining) -> None:
    images = torch.eye(4, requires_grad=True)
    texts = torch.eye(4, requires_grad=True)
    for positives in (torch.eye(4).bool(), torch.ones(4, 4).bool()):
        if mining == "adaptive":
            loss = adaptive_triplet_loss(images, texts, positives=positives, reduction=reduction)
        else:
            loss = triplet_loss(images, texts, positives=positives, mining=mining, reduction=reduction)
        gradients = torch.autograd.grad(loss, (images, texts))
        assert loss.item() == 0
        assert all(bool((gradient == 0).all()) for gradient in gradients)


def test_the_sum_grows_with_the_square_of_the_batch_and_the_mean_does_not() -> None:
    """About 4 at batch 64 and 166 at 428 where similarities spread as in the source's runs."""

    def average(n: int, reduction: str) -> float:
        generator = torch.Generator().manual_seed(0)
        values = []
        for _ in range(2560 // n):
            images = torch.randn(n, 64, generator=generator)
            texts = images + 3.1 * torch.randn(n, 64, generator=generator)
            values.append(
                adaptive_triplet_loss(images, texts, positives=torch.eye(n).bool(), reduction=reduction).item()
            )
        return float(np.mean(values))

    assert average(64, "sum") == pytest.approx(4, rel=0.2)
    assert average(428, "sum") == pytest.approx(166, rel=0.2)
    assert average(428, "sum") / average(64, "sum") == pytest.approx((428 / 64) ** 2, rel=0.1)
    assert average(428, "mean") == pytest.approx(average(64, "mean"), rel=0.1)


def test_autocast_does_not_change_the_value(batch) -> None:
    images, texts = batch.images.detach().float(), batch.texts.detach().float()
    expected = adaptive_triplet_loss(images, texts, positives=batch.positives)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = adaptive_triplet_loss(images, texts, positives=batch.positives)
    assert result.dtype == torch.float32
    assert torch.equal(result, expected)


def test_wrong_arguments_are_refused(batch) -> None:
    with pytest.raises(ValueError, match="gamma must be at least 0; got -1"):
        adaptive_triplet_loss(batch.images, batch.texts, positives=batch.positives, gamma=-1)
    with pytest.raises(ValueError, match="got 'median'"):
        adaptive_triplet_loss(batch.images, batch.texts, positives=batch.positives, reduction="median")
    with pytest.raises(ValueError, match="got 'random'"):
        triplet_loss(batch.images, batch.texts, positives=batch.positives, mining="random")
    with pytest.raises(ValueError, match="7 images and 6 texts"):
        triplet_loss(batch.images, batch.texts[:6], positives=batch.positives[:, :6])
    with pytest.raises(ValueError, match="positives must be boolean"):
        triplet_loss(batch.images, batch.texts, positives=batch.positives.float())
