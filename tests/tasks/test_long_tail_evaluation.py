import numpy as np
import pytest
import torch

from eotune.tasks.heads import make_head
from eotune.tasks.long_tail_evaluation import logits_of
from eotune.tasks.long_tail_objective import LongTailObjectiveConfig


@pytest.mark.parametrize("loss", ["cross_entropy", "reslt", "sade"])
def test_the_logits_of_views_are_averaged(loss):
    torch.manual_seed(0)
    head = make_head(LongTailObjectiveConfig(loss=loss, head="cosine"), 4, 3).eval()
    views = np.random.default_rng(0).normal(size=(6, 5, 4)).astype(np.float32)
    expected = np.mean([logits_of(head, views[:, view]) for view in range(5)], axis=0)
    np.testing.assert_allclose(logits_of(head, views), expected, atol=1e-5)
    assert expected.std() > 0.01
