import numpy as np
import pytest
import torch

from eotune.data.cache import ImageCache
from eotune.data.scenes import write_dataset
from eotune.encoders import load_image
from eotune.methods import create
from eotune.tasks.long_tail import LongTailConfig, read_data
from eotune.tasks.long_tail_objective import ClassOutput
from eotune.tasks.long_tail_training import Caches, LongTailTraining
from eotune.training.config import TrainingConfig


@pytest.fixture
def phases(tmp_path):
    """Return a function that gives the work of each phase of a method, under logit adjustment."""
    scenes = write_dataset(
        tmp_path / "scenes", {"train": 12, "validation": 1, "test": 1}, classes=("Forest", "Beach", "Harbour"), size=32
    )

    def of(method, **objective):
        splits = {split: {"path": scenes, "split": split} for split in ("train", "validation", "test")}
        objective = {"loss": "logit_adjusted", "augment": False, **objective}
        config = LongTailConfig(**splits, imbalance_ratio=6, objective=objective)
        data, encoder, made = read_data(config, 0), load_image("tiny", image_size=32), create(method)
        made.apply(encoder, seed=0)
        caches = Caches(*(ImageCache(one.paths()) for one in (data.train, data.validation, data.test)))
        training = LongTailTraining(config, data, caches, encoder, TrainingConfig(precision="fp32"), 0)
        return [training.work(phase, made, tmp_path / phase.name) for phase in made.phases()]

    return of


def test_clusters_that_are_all_noise_are_told_of(phases, capsys):
    phases({"name": "deblora", "clustering": "dbscan", "eps": 1e-9, "strong": 2})
    assert "warning: no cluster was found, all images are noise" in capsys.readouterr().err


def drawn(work):
    """Share of each class among the samples that a phase draws in 20 epochs."""
    labels = [work.dataset[epoch, index]["label"] for epoch in range(20) for index in range(len(work.dataset))]
    return np.bincount(labels, minlength=3) / len(labels)


def corrected(work):
    """Share of each class by which the loss corrects: without targets and with all logits 0, it is -log of that."""
    work.loss.targets = None
    zero, labels = torch.zeros(1, 3), torch.arange(3)
    losses = [work.loss(ClassOutput(zero, zero), {"label": one[None], "index": one[None]}) for one in labels]
    return np.exp([-value.item() for value in losses])


DEBLORA = {"name": "deblora", "clusters": 3, "rho": 2, "task_weight": 1.0}
UNEVEN, EVEN = [12, 5, 2], [1, 1, 1]


@pytest.mark.parametrize(
    ("method", "objective", "expected"),
    [
        ({"name": "lora"}, {}, [UNEVEN]),
        ({"name": "lora"}, {"sampling": "balanced"}, [EVEN]),
        (DEBLORA, {}, [UNEVEN, UNEVEN]),
        ({**DEBLORA, "sampling": "balanced"}, {}, [UNEVEN, EVEN]),
    ],
)
def test_each_phase_corrects_once_for_the_classes_as_it_draws_them(phases, method, objective, expected):
    works = phases(method, **objective)
    assert len(works) == len(expected)
    for work, counts in zip(works, expected, strict=True):
        prior = corrected(work)
        np.testing.assert_allclose(np.sort(prior)[::-1], np.array(counts) / sum(counts), atol=1e-6)
        np.testing.assert_allclose(drawn(work), prior, atol=0.08)
