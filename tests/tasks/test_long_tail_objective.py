import inspect

import numpy as np
import pytest
import torch
from torch.nn import functional

from eotune.losses.logit_adjustment import balanced_softmax, logit_adjusted
from eotune.losses.reslt import reslt_loss
from eotune.losses.reweighting import reweighted_cross_entropy
from eotune.losses.sade import sade_loss
from eotune.tasks.heads import make_head
from eotune.tasks.long_tail_objective import ClassOutput, LongTailObjective, LongTailObjectiveConfig

COUNTS = np.array([50, 10, 2])
GROUPS = [np.array([0]), np.array([1]), np.array([2])]


@pytest.fixture
def batch():
    return {"label": torch.tensor([0, 1, 2, 0]), "index": torch.tensor([3, 0, 2, 5])}


def loss(output, batch, targets=None, **settings):
    return LongTailObjective(LongTailObjectiveConfig(**settings), COUNTS, GROUPS, targets)(output, batch)


def test_each_loss_is_that_of_its_name(batch):
    torch.manual_seed(0)
    logits, experts, labels = torch.randn(4, 3), torch.randn(3, 4, 3), batch["label"]
    one, several = ClassOutput(torch.zeros(4, 2), logits), ClassOutput(torch.zeros(4, 2), experts.transpose(0, 1))
    expected = {
        "cross_entropy": functional.cross_entropy(logits, labels),
        "reweighted": reweighted_cross_entropy(logits, labels, COUNTS, beta=0.9),
        "balanced_softmax": balanced_softmax(logits, labels, COUNTS),
        "logit_adjusted": logit_adjusted(logits, labels, COUNTS, tau=0.5),
        "reslt": reslt_loss(experts, labels, GROUPS, beta=0.7),
        "sade": sade_loss(experts, labels, COUNTS, strength=1.5),
    }
    for name, value in expected.items():
        output = several if name in ("reslt", "sade") else one
        found = loss(output, batch, loss=name, beta=0.9, tau=0.5, branches=0.7, inverted=1.5)
        assert found.item() == pytest.approx(value.item(), abs=1e-6), name
    assert len({round(value.item(), 6) for value in expected.values()}) == len(expected)


def test_targets_belong_to_the_images_of_the_batch(batch):
    features, targets = torch.randn(4, 2), np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    output = ClassOutput(features, torch.zeros(4, 3))
    gaps = [features[row].numpy() - targets[index] for row, index in enumerate(batch["index"].tolist())]
    squared = loss(output, batch, targets, task_weight=0)
    assert squared.item() == pytest.approx(float(np.mean(np.square(gaps))), rel=1e-5)
    norm = loss(output, batch, targets, task_weight=0, distance="norm")
    assert norm.item() == pytest.approx(float(np.mean([np.linalg.norm(gap) for gap in gaps])), rel=1e-5)
    both = loss(output, batch, targets, task_weight=0.5)
    assert both.item() == pytest.approx(squared.item() + 0.5 * np.log(3), rel=1e-5)


@pytest.mark.parametrize("sampling", ["uniform", "balanced"])
@pytest.mark.parametrize("name", ["balanced_softmax", "logit_adjusted", "reweighted"])
def test_classes_of_different_size_are_told_apart_without_favour(name, sampling):
    """Two Gaussians, 95:5, at -1/2 and 1/2: where classes count alike, Bayes' rule cuts halfway, and log odds are x."""
    rng = np.random.default_rng(0)
    share = 0.05 if sampling == "uniform" else 0.5  # of the rare class among the samples drawn
    labels = rng.random(20_000) < share
    x = torch.tensor(rng.normal(labels - 0.5, 1), dtype=torch.float32)[:, None]
    batch = {"label": torch.tensor(labels).long(), "index": torch.arange(len(labels))}
    config = LongTailObjectiveConfig(loss=name, sampling=sampling, beta=1.0)
    objective = LongTailObjective(config, np.array([95, 5]), [])
    head = torch.nn.Linear(1, 2)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=50, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = objective(ClassOutput(x, head(x)), batch)
        value.backward()
        return value

    optimizer.step(closure)
    slope, offset = (float((one[1] - one[0]).detach()) for one in (head.weight[:, 0], head.bias))
    assert (slope, offset) == (pytest.approx(1, abs=0.15), pytest.approx(0, abs=0.15))


def test_experts_of_samples_drawn_evenly_have_no_prior(batch):
    experts = torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(0))
    expected = sum(functional.cross_entropy(experts[:, number], batch["label"]) for number in range(3))
    found = loss(ClassOutput(torch.zeros(4, 2), experts), batch, loss="sade", sampling="balanced", inverted=0)
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)


def test_a_class_that_is_never_drawn_has_no_share(batch):
    config = LongTailObjectiveConfig(loss="logit_adjusted", sampling="balanced")
    logits = torch.tensor([[0.0, 5.0, 0.0]])
    objective = LongTailObjective(config, np.array([50, 0, 2]), [])
    found = objective(ClassOutput(logits, logits), {"label": torch.tensor([0]), "index": torch.tensor([0])})
    assert found.item() == pytest.approx(np.log(2))


@pytest.mark.parametrize(("groups", "branches"), [([[0, 1], [2]], 2), ([[0, 1, 2]], 1)])
def test_reslt_has_a_branch_for_each_group_that_has_classes(batch, groups, branches):
    config = LongTailObjectiveConfig(loss="reslt")
    head = make_head(config, 2, 3, n_groups=branches)
    logits = head(torch.randn(4, 2))
    objective = LongTailObjective(config, COUNTS, [np.array(group) for group in groups])
    assert objective(ClassOutput(torch.zeros(4, 2), logits), batch).isfinite()
    assert head.combined(logits).shape == (4, 3)


def test_the_weight_of_single_branches_is_that_of_the_released_scripts():
    assert LongTailObjectiveConfig().branches == inspect.signature(reslt_loss).parameters["beta"].default == 0.99
