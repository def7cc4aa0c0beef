import math

import numpy as np
import pytest
import torch

from eotune.losses.reslt import ResLTHead, reslt_loss

GROUPS = [[3, 0], [1], [2, 4]]


def cross_entropy(row, y):
    return math.log(sum(math.exp(z) for z in row)) - row[y]


def slow_loss(branches, labels, groups, beta):
    """Branch g is judged on the samples of groups g and later; their sum on all."""
    g, n = len(branches), len(labels)
    group_of = {k: i for i, members in enumerate(groups) for k in members}
    single, judged, fused = 0.0, 0, 0.0
    for i in range(n):
        for branch in range(g):
            if group_of[labels[i]] >= branch:
                single += cross_entropy(branches[branch][i], labels[i])
                judged += 1
        fused += cross_entropy([sum(branches[b][i][k] for b in range(g)) for k in range(5)], labels[i])
    return (1 - beta) * fused / n + beta * single / judged


@pytest.mark.parametrize("beta", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_loss_equals_loops(seed, beta) -> None:
    random = np.random.default_rng(seed)
    branches = torch.tensor(random.normal(size=(3, 8, 5)), requires_grad=True)
    labels = torch.tensor(random.integers(0, 5, 8))
    expected = slow_loss(branches.tolist(), labels.tolist(), GROUPS, beta)
    assert reslt_loss(branches, labels, GROUPS, beta=beta).item() == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(lambda x: reslt_loss(x, labels, GROUPS, beta=beta), [branches])


def test_a_head_sample_moves_the_first_branch_only() -> None:
    branches = torch.zeros(3, 1, 5, requires_grad=True)
    reslt_loss(branches, torch.tensor([3]), GROUPS, beta=1.0).backward()
    moved = branches.grad.abs().sum(dim=(1, 2)) > 0
    assert moved.tolist() == [True, False, False]


def test_branches_share_the_classifier_and_start_equal() -> None:
    torch.manual_seed(0)
    head = ResLTHead(6, 5)
    features = torch.randn(4, 6)
    branches = head(features)
    assert branches.shape == (3, 4, 5)
    torch.testing.assert_close(branches[0], branches[2])
    assert sum(p.numel() for p in head.parameters()) == 3 * 2 * 6 + 6 * 5 + 5
    reslt_loss(branches, torch.tensor([0, 1, 2, 3]), GROUPS).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in head.parameters())


def test_wrong_input_is_refused() -> None:
    branches, labels = torch.zeros(3, 2, 5), torch.tensor([0, 1])
    for groups in ([[0, 1], [2], [3]], [[0, 1], [2], [3, 4, 4]], [[0, 1], [2], [3, 5]]):
        with pytest.raises(ValueError, match="each of 5 classes once"):
            reslt_loss(branches, labels, groups)
    with pytest.raises(ValueError, match="for 2 groups"):
        reslt_loss(branches, labels, [[0, 1, 2], [3, 4]])
    with pytest.raises(ValueError, match=r"\(3,\)"):
        reslt_loss(branches, torch.tensor([0, 1, 2]), GROUPS)
    with pytest.raises(ValueError, match="beta must be"):
        reslt_loss(branches, labels, GROUPS, beta=1.5)
