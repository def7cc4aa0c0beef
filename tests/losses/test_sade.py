import math

import numpy as np
import pytest
import torch

from eotune.core.errors import InputError
from eotune.losses.sade import SADEHead, aggregate, fit_aggregation, inverted_counts, sade_loss

COUNTS = [60, 3, 25, 8]
INVERTED = [3, 60, 8, 25]


def slow_loss(experts, labels, strength):
    total = 0.0
    n, size = len(labels), sum(COUNTS)
    for i, y in enumerate(labels):
        offsets = (
            [0.0] * 4,
            [math.log(count / size) for count in COUNTS],
            [math.log(a / size) - strength * math.log(b / size) for a, b in zip(COUNTS, INVERTED, strict=True)],
        )
        for expert, offset in zip(experts, offsets, strict=True):
            row = [z + o for z, o in zip(expert[i], offset, strict=True)]
            total += (math.log(sum(map(math.exp, row))) - row[y]) / n
    return total


@pytest.mark.parametrize("strength", [0.0, 1.0, 2.0])
def test_loss_equals_loops(strength) -> None:
    random = np.random.default_rng(0)
    experts = torch.tensor(random.normal(size=(3, 6, 4)), requires_grad=True)
    labels = torch.tensor(random.integers(0, 4, 6))
    expected = slow_loss(experts.tolist(), labels.tolist(), strength)
    assert sade_loss(experts, labels, COUNTS, strength=strength).item() == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(lambda x: sade_loss(x, labels, COUNTS), [experts])


def test_ranks_are_turned_round() -> None:
    assert inverted_counts(np.array(COUNTS)).tolist() == INVERTED
    assert sorted(inverted_counts(np.array([5, 5, 1])).tolist()) == [1, 5, 5]


def test_experts_learn_different_class_distributions() -> None:
    # One uninformative feature: each expert can only learn what to guess.
    torch.manual_seed(0)
    head, labels = SADEHead(1, 4), torch.arange(4).repeat_interleave(torch.tensor(COUNTS))
    features = torch.zeros(len(labels), 1)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=500, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = sade_loss(head(features), labels, COUNTS)
        loss.backward()
        return loss

    optimizer.step(closure)
    forward, uniform, backward = torch.softmax(head(features[:1]).detach(), dim=2)[:, 0].numpy()
    np.testing.assert_allclose(forward, np.array(COUNTS) / 96, atol=1e-3)
    np.testing.assert_allclose(uniform, 0.25, atol=1e-3)
    # logits + log(prior) - 2 log(inverted) = log(prior): the third favours the inverted prior, squared.
    np.testing.assert_allclose(backward, np.square(INVERTED) / np.square(INVERTED).sum(), atol=1e-3)


def slow_similarity(weights, views):
    total = 0.0
    for i in range(views[0].shape[1]):
        pair = []
        for view in views:
            row = sum(w * view[e, i] for e, w in enumerate(weights))
            odds = np.exp(row - row.max())
            pair.append(odds / odds.sum())
        total += pair[0] @ pair[1] / np.linalg.norm(pair[0]) / np.linalg.norm(pair[1])
    return total / views[0].shape[1]


@pytest.fixture
def views():
    """Three experts, the second of which changes its mind least between views; 40 samples, 4 classes."""
    random = np.random.default_rng(0)
    opinion = 3 * random.normal(size=(3, 40, 4))
    noise = np.array([3.0, 0.3, 2.0])[:, None, None]
    return [opinion + noise * random.normal(size=opinion.shape) for _ in range(2)]


def test_the_stable_expert_gains_weight(views) -> None:
    weights, similarity = fit_aggregation(*map(torch.from_numpy, views))
    assert weights.dtype == torch.float32
    assert weights.sum().item() == pytest.approx(1, rel=1e-6)
    assert weights[1] > 0.8
    assert weights.min() >= 0.05
    assert similarity == pytest.approx(slow_similarity(weights.tolist(), views), abs=1e-5)
    assert similarity > slow_similarity([1 / 3] * 3, views)


def test_no_step_gives_equal_weights_and_the_order_of_samples_does_not_matter(views) -> None:
    tensors = [torch.from_numpy(view) for view in views]
    weights, similarity = fit_aggregation(*tensors, steps=0)
    torch.testing.assert_close(weights, torch.full((3,), 1 / 3))
    assert similarity == pytest.approx(slow_similarity([1 / 3] * 3, views))
    turned = [view.flip(1) for view in tensors]
    torch.testing.assert_close(fit_aggregation(*turned)[0], fit_aggregation(*tensors)[0])
    with torch.no_grad():
        torch.testing.assert_close(fit_aggregation(*turned)[0], fit_aggregation(*tensors)[0])


def test_aggregates_are_weighted_means(views) -> None:
    experts = torch.from_numpy(views[0])
    torch.testing.assert_close(aggregate(experts), experts.mean(dim=0))
    expected = sum(w * view for w, view in zip((0.2, 0.5, 0.3), views[0], strict=True))
    np.testing.assert_allclose(aggregate(experts, torch.tensor([0.2, 0.5, 0.3])), expected, atol=1e-6)


def test_wrong_input_is_refused(views) -> None:
    labels = torch.tensor([0])
    with pytest.raises(InputError, match="class 1 has none"):
        sade_loss(torch.zeros(3, 1, 2), labels, [4, 0])
    with pytest.raises(ValueError, match=r"\(3, n, c\); got \(2, 1, 2\)"):
        sade_loss(torch.zeros(2, 1, 2), labels, [4, 1])
    with pytest.raises(ValueError, match="alike"):
        fit_aggregation(torch.zeros(3, 2, 2), torch.zeros(3, 1, 2))
