import math

import numpy as np
import pytest
import torch

from eotune.losses.cosine_head import CosineHead, class_means


def head_and_features(**options):
    torch.manual_seed(0)
    return CosineHead(5, 3, **options), torch.tensor(np.random.default_rng(0).normal(size=(7, 5)), dtype=torch.float32)


def test_logits_equal_loops() -> None:
    head, features = head_and_features(scale=25.0)
    logits = head(features)
    for i, row in enumerate(features.tolist()):
        for k, weight in enumerate(head.weight.tolist()):
            dot = sum(a * b for a, b in zip(row, weight, strict=True))
            expected = 25 * dot / math.hypot(*row) / math.hypot(*weight)
            assert logits[i, k].item() == pytest.approx(expected, abs=1e-4)


def test_lengths_of_features_and_weights_do_not_matter() -> None:
    head, features = head_and_features()
    before = head(features)
    with torch.no_grad():
        head.weight.mul_(torch.tensor([[0.1], [5.0], [30.0]]))
    torch.testing.assert_close(head(100 * features), before)


def test_the_scale_trains_only_if_asked() -> None:
    fixed, features = head_and_features(scale=10)
    learned, _ = head_and_features(scale=10, learn_scale=True)
    torch.testing.assert_close(fixed(features), learned(features))
    for head, trains in ((fixed, False), (learned, True)):
        head(features).square().sum().backward()
        assert (head.log_scale.grad is not None) is trains
        assert head.weight.grad is not None
    again = CosineHead(5, 3, scale=1.0)
    again.load_state_dict(learned.state_dict())
    torch.testing.assert_close(again(features), learned(features))


def test_bfloat16_features_are_compared_in_float32() -> None:
    head, features = head_and_features()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(features)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, head(features))


def test_it_starts_from_directions_and_keeps_rows_that_have_none() -> None:
    head, _ = head_and_features()
    old = head.weight.detach().clone()
    head.start_from(torch.tensor([[3.0, 0, 0, 0, 4.0], [0.0] * 5, [math.nan] * 5]))
    np.testing.assert_allclose(head.weight[0].detach(), [0.6, 0, 0, 0, 0.8], rtol=1e-6)
    torch.testing.assert_close(head.weight[1:], old[1:])
    with pytest.raises(ValueError, match="must be \\(3, 5\\); got \\(2, 5\\)"):
        head.start_from(torch.zeros(2, 5))


def test_class_means_classify_separated_classes() -> None:
    random = np.random.default_rng(1)
    labels = torch.tensor([0] * 9 + [2] * 2)
    features = torch.tensor(random.normal(size=(11, 5)) + 9 * np.eye(5)[labels], dtype=torch.float32)
    means = class_means(features, labels, 3)
    for k in (0, 2):
        np.testing.assert_allclose(means[k], features[labels == k].numpy().mean(axis=0), rtol=1e-5)
    assert (means[1] == 0).all()
    head = CosineHead(5, 3)
    head.start_from(means)
    assert head(features)[:, [0, 2]].argmax(dim=1).tolist() == [0] * 9 + [1] * 2


def test_a_scale_that_is_not_positive_is_refused() -> None:
    for scale in (0, -1, math.nan):
        with pytest.raises(ValueError, match="scale must be positive"):
            CosineHead(2, 2, scale=scale)
