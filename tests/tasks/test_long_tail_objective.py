import numpy as np
import pytest
import torch
from torch.nn import functional

from eotune.losses.logit_adjustment import balanced_softmax, logit_adjusted
from eotune.losses.reslt import reslt_loss
from eotune.losses.reweighting import reweighted_cross_entropy
from eotune.losses.sade import sade_loss
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
