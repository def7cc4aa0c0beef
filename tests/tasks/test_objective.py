import pytest
import torch

from eotune.core.config import validation_problems
from eotune.encoders.base import DualOutput
from eotune.losses import adaptive_triplet_loss, contrastive_loss, positives_from_ids, triplet_loss
from eotune.tasks.objective import DualObjective, ObjectiveConfig


@pytest.fixture
def batch():
    torch.manual_seed(0)
    output = DualOutput(torch.randn(6, 5), torch.randn(6, 5), torch.tensor(20.0))
    return output, {"image_ids": torch.tensor([0, 0, 1, 2, 3, 4]), "text_ids": torch.tensor([0, 1, 1, 2, 3, 4])}


def test_the_total_is_the_weighted_sum(batch):
    output, targets = batch
    positives = positives_from_ids(targets["image_ids"], targets["text_ids"])
    contrastive = contrastive_loss(
        output.image_embeddings, output.text_embeddings, output.logit_scale, positives=positives
    )
    triplet = adaptive_triplet_loss(output.image_embeddings, output.text_embeddings, positives=positives)
    config = ObjectiveConfig(contrastive=0.5, triplet="adaptive", triplet_weight=3)
    torch.testing.assert_close(DualObjective(config)(*batch), 0.5 * contrastive + 3 * triplet)
    torch.testing.assert_close(DualObjective(ObjectiveConfig())(*batch), contrastive)


def test_diagonal_positives_see_more_negatives(batch):
    values = [
        DualObjective(ObjectiveConfig(contrastive=0, triplet="adaptive", reduction="sum", positives=positives))(*batch)
        for positives in ("captions", "diagonal")
    ]
    assert values[1] > values[0] > 0


def test_nothing_to_train_towards_is_refused():
    assert "nothing to train towards" in validation_problems(ObjectiveConfig, {"contrastive": 0})[0]


@pytest.mark.parametrize("mining", ["sum", "hardest"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_plain_triplets_are_reduced_as_asked(batch, mining, reduction):
    output, targets = batch
    expected = triplet_loss(
        output.image_embeddings,
        output.text_embeddings,
        positives=positives_from_ids(targets["image_ids"], targets["text_ids"]),
        mining=mining,
        reduction=reduction,
    )
    config = ObjectiveConfig(contrastive=0, triplet=mining, reduction=reduction)
    torch.testing.assert_close(DualObjective(config)(*batch), expected)
