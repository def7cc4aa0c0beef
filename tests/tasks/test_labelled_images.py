import numpy as np
import pytest
import torch

from eotune.core.errors import EotuneError
from eotune.data.augment import Augmentation
from eotune.data.cache import ImageCache
from eotune.encoders import load_image
from eotune.tasks.labelled_images import LabelledDataset, image_features, view_features

IMAGES = [np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8) for seed in range(6)]
LABELS = np.array([0, 0, 0, 0, 1, 2])


@pytest.fixture(scope="module")
def encoder():
    return load_image("tiny", image_size=32)


@pytest.fixture
def cache(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(len(IMAGES))]
    cache = ImageCache(paths, read=lambda path, max_side: IMAGES[int(path.stem)], max_side=64)
    for path in paths:
        path.touch()
    return cache


def dataset(cache, encoder, augmentation=None, **settings):
    return LabelledDataset(cache, LABELS, encoder, augmentation, **{"sampling": "uniform", "seed": 0, **settings})


def test_without_augmentation_images_are_as_they_are_measured(cache, encoder):
    found = dataset(cache, encoder)
    for index, image in enumerate(IMAGES):
        item = found[7, index]
        np.testing.assert_array_equal(item["pixels"], encoder.transform(image))
        assert (item["index"], item["label"]) == (index, LABELS[index])


def test_augmentation_depends_on_seed_epoch_and_image_alone(cache, encoder):
    one, other = (dataset(cache, encoder, Augmentation(), seed=seed) for seed in (0, 1))
    first = one[0, 2]["pixels"]
    np.testing.assert_array_equal(first, dataset(cache, encoder, Augmentation())[0, 2]["pixels"])
    assert not np.array_equal(first, one[1, 2]["pixels"])
    assert not np.array_equal(first, other[0, 2]["pixels"])


def test_balanced_sampling_takes_each_class_as_often(cache, encoder):
    found = dataset(cache, encoder, sampling="balanced")
    drawn = [found[epoch, index]["label"] for epoch in range(200) for index in range(len(found))]
    np.testing.assert_allclose(np.bincount(drawn) / len(drawn), 1 / 3, atol=0.04)


def test_views_are_embedded_as_images_are(cache, encoder):
    views = view_features(encoder, cache, precision="fp32")
    assert views.shape == (6, 5, encoder.dim)
    one = encoder.embed_pixels(torch.from_numpy(encoder.transform.five_crops(IMAGES[3])), precision="fp32")
    np.testing.assert_allclose(views[3], one, atol=1e-5)
    assert not np.allclose(views[:, 0], image_features(encoder, cache, precision="fp32"), atol=1e-3)


def test_features_of_a_model_that_diverged_say_so(cache):
    broken = load_image("tiny", image_size=32)
    with torch.no_grad():
        next(broken.parameters()).fill_(torch.nan)
    with pytest.raises(EotuneError, match=r"embedding train: the features of 6 of 6 images .* lower training.learning"):
        image_features(broken, cache, precision="fp32", description="embedding train")
