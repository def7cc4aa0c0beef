import numpy as np
import pytest
import torch

from eotune import encoders
from eotune.data.bands import BandConfig
from eotune.data.captions import read_captions
from eotune.data.scenes import write_dataset
from eotune.methods import create
from eotune.tasks import shared_images as module
from eotune.tasks.features import FeaturePairs, FeatureTraining
from eotune.tasks.image_training import ImageTraining
from eotune.tasks.retrieval import RetrievalConfig, read_data
from eotune.tasks.shared_images import SharedImages
from eotune.training.config import TrainingConfig


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("scenes"), {"train": 2, "validation": 1, "test": 1}, size=48)


@pytest.fixture
def config(captions):
    splits = {split: {"captions": captions, "split": split} for split in ("train", "validation", "test")}
    return RetrievalConfig.model_validate(splits)


@pytest.fixture
def reads(monkeypatch):
    """Record which images are decoded."""
    from eotune.data import cache

    paths, real = [], cache.read_image
    monkeypatch.setattr(
        cache, "read_image", lambda path, *rest, **named: paths.append(path) or real(path, *rest, **named)
    )
    return paths


def test_an_image_is_decoded_once_for_all_trainings(config, reads):
    data, encoder, images = read_data(config, seed=0), encoders.load("tiny"), SharedImages()
    trainings = [ImageTraining(config, data, encoder, TrainingConfig(), seed, images) for seed in (0, 1)]
    assert sorted(reads) == sorted([*data.train.paths(), *data.validation.paths()])
    assert trainings[0].validation is trainings[1].validation
    alone = ImageTraining(config, data, encoder, TrainingConfig(), seed=1)
    for index in range(4):
        one, other = (training.pairs[(0, index)] for training in (trainings[1], alone))
        np.testing.assert_array_equal(one.pop("pixels"), other.pop("pixels"))
        assert one == other


def test_other_bands_sizes_and_limits_are_not_mixed(captions):
    train, images = read_captions(captions, split="train"), SharedImages()
    tiny, small = encoders.load("tiny"), encoders.load("tiny", image_size=16)
    first = images.training(train, tiny, TrainingConfig())
    assert images.training(train, tiny, TrainingConfig()).kept_bytes == first.kept_bytes > 0
    assert images.training(train, small, TrainingConfig())[0].shape == (32, 32, 3)
    assert images.training(train, small, TrainingConfig(cache_gigabytes=0)).kept == 0
    plain = images.evaluation(train, tiny)
    assert images.evaluation(train, tiny) is plain
    assert images.evaluation(train, small) is not plain
    assert images.evaluation(train, tiny, bands=BandConfig(bands=(3, 2, 1))) is not plain


def test_what_does_not_fit_is_made_again(captions, monkeypatch):
    monkeypatch.setattr(module, "free_memory", lambda: 1)
    images, encoder = SharedImages(), encoders.load("tiny")
    train, test = (read_captions(captions, split=split) for split in ("train", "test"))
    first = images.evaluation(train, encoder)
    assert images.evaluation(train, encoder) is first  # the last one always stays
    images.evaluation(test, encoder)
    again = images.evaluation(train, encoder)
    assert again is not first
    assert torch.equal(again.pixels, first.pixels)


def test_the_one_unused_for_longest_goes_first():
    recent = module._Recent[str](4, len)
    made = []

    def get(word):
        return recent.get(word[0], lambda: made.append(word) or word)

    for word in ("aa", "bb", "aa", "cc", "aa", "bb"):
        assert get(word) == word
    assert made == ["aa", "bb", "cc", "bb"]


def test_features_are_computed_once_while_the_encoder_is_the_same(config, monkeypatch):
    calls, real = [], FeaturePairs.embedded
    monkeypatch.setattr(FeaturePairs, "embedded", lambda self, *a, **k: calls.append(self) or real(self, *a, **k))
    data, images = read_data(config, seed=0), SharedImages()

    def train(images, seed=0, **settings):
        encoder = encoders.load("tiny")
        create({"name": "linear"}).apply(encoder, seed=seed)
        with torch.no_grad():
            next(p for p in encoder.parameters() if not p.requires_grad).add_(settings.pop("shift", 0.0))
        return FeatureTraining(config, data, encoder, TrainingConfig(**settings), seed, images)

    first = train(images)
    second = train(images, seed=1, learning_rate=1e-2)
    assert len(calls) == 1
    assert second.pairs.image_features is first.pairs.image_features
    assert second.held[1] is first.held[1]
    assert second.pairs.pairing.seed == 1
    alone = train(None)
    assert torch.equal(alone.pairs.image_features, second.pairs.image_features)
    assert torch.equal(alone.pairs.text_features, second.pairs.text_features)
    assert all(map(torch.equal, alone.held, second.held))
    train(images, precision="bf16")
    train(images, shift=0.1)
    assert len(calls) == 4
