import pytest
import torch

from eotune.tasks.heads import make_head, start_from_means
from eotune.tasks.long_tail_objective import LongTailObjectiveConfig


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_a_head_that_starts_from_class_means_classifies_by_the_nearest(kind):
    rng = torch.Generator().manual_seed(0)
    means = torch.randn(5, 8, generator=rng)
    means[:, 0] += 10  # what all classes share tells nothing
    if kind == "cosine":
        means[:, 0] -= 10
        means = torch.nn.functional.normalize(means, dim=1)
    features = means.repeat(4, 1) + 0.1 * torch.randn(20, 8, generator=rng)
    head = make_head(LongTailObjectiveConfig(head=kind), 8, 5)
    start_from_means(head, means)
    nearest = torch.cdist(features, means).argmin(1)
    assert head.combined(head(features)).argmax(1).tolist() == nearest.tolist()


@pytest.mark.parametrize(("loss", "shape"), [("cross_entropy", (2, 3)), ("reslt", (2, 3, 3)), ("sade", (2, 3, 3))])
def test_a_row_of_logits_is_a_sample(loss, shape):
    head = make_head(LongTailObjectiveConfig(loss=loss), 4, 3)
    logits = head(torch.randn(2, 4))
    assert logits.shape == shape
    assert head.combined(logits).shape == (2, 3)


@pytest.mark.parametrize("n_groups", [1, 2])
def test_reslt_has_a_branch_for_each_group(n_groups):
    head = make_head(LongTailObjectiveConfig(loss="reslt"), 4, 3, n_groups=n_groups)
    assert head(torch.randn(2, 4)).shape == (2, n_groups, 3)


def test_branches_are_added_and_experts_averaged():
    logits = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    assert make_head(LongTailObjectiveConfig(loss="reslt"), 4, 2).combined(logits).tolist() == [[4.0, 6.0]]
    assert make_head(LongTailObjectiveConfig(loss="sade"), 4, 2).combined(logits).tolist() == [[2.0, 3.0]]
