import numpy as np
import pytest

from eotune.core.errors import InputError
from eotune.encoders import load
from eotune.encoders.multimodal import load_pairs

TEXTS = ["a photo of green trees", "many ships on blue water", "a small red house by a road"]
OTHERS = [["a photo of trees", "photo green trees"], ["many on water", "ships"], ["a red house a road", "a small"]]


@pytest.fixture(scope="module")
def scenes():
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in ((64, 64), (40, 90), (30, 20))]


def by_hand(image, text, pool):
    """One pair's vector, from the definition."""
    encoder = load("tiny")
    i, t = encoder.embed_images([image])[0], encoder.embed_texts([text])[0]
    i, t = i / np.sqrt((i * i).sum()), t / np.sqrt((t * t).sum())
    return i * t if pool == "product" else (i + t) / np.sqrt(((i + t) ** 2).sum())


@pytest.mark.parametrize("pool", ["sum", "product"])
def test_a_dual_encoder_stands_in(pool, scenes):
    encoder = load_pairs("tiny", pool=pool)
    expected = np.stack([by_hand(image, text, pool) for image, text in zip(scenes, TEXTS, strict=True)])
    vectors = encoder.pair_vectors(scenes, TEXTS, batch_size=2)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert (vectors.dtype, vectors.shape[1]) == (np.float32, encoder.dim)
    moved = np.stack([[by_hand(image, text, pool) for text in row] for image, row in zip(scenes, OTHERS, strict=True)])
    distances = encoder.perturbed_distances(scenes, TEXTS, OTHERS)
    assert (distances.dtype, distances.shape) == (np.float32, (3, 2))
    np.testing.assert_allclose(distances, np.sqrt(((expected[:, None] - moved) ** 2).sum(-1)), atol=1e-5)


def test_similarities_are_cosines_whatever_the_pooling(scenes):
    encoder = load_pairs("tiny", pool="product")
    tiny = encoder.encoder
    expected = [float(tiny.embed_images([i])[0] @ tiny.embed_texts([t])[0]) for i, t in zip(scenes, TEXTS, strict=True)]
    np.testing.assert_allclose(encoder.similarities(scenes, TEXTS), expected, atol=1e-5)
    with pytest.raises(InputError, match="3 images, 2 texts"):
        encoder.similarities(scenes, TEXTS[:2])


@pytest.mark.parametrize("pool", ["sum", "product"])
def test_another_image_changes_every_score(pool, scenes):
    encoder = load_pairs("tiny", pool=pool)
    first = encoder.perturbed_distances(scenes, TEXTS, OTHERS)
    second = encoder.perturbed_distances(scenes[1:] + scenes[:1], TEXTS, OTHERS)
    assert (np.abs(first - second) > 1e-4 * first).all()


def test_batches_do_not_matter(scenes):
    encoder = load_pairs("tiny")
    expected = encoder.perturbed_distances(scenes, TEXTS, OTHERS)
    np.testing.assert_allclose(encoder.perturbed_distances(scenes, TEXTS, OTHERS, batch_size=1), expected, atol=1e-5)
    backwards = encoder.perturbed_distances(scenes[::-1], TEXTS[::-1], OTHERS[::-1])
    np.testing.assert_allclose(backwards[::-1], expected, atol=1e-5)
    assert encoder.perturbed_distances([], [], []).shape == (0, 0)
    assert encoder.pair_vectors([], []).shape == (0, encoder.dim)


@pytest.mark.parametrize("pool", ["raw-sum", "concat"])
@pytest.mark.parametrize("name", ["tiny", "vlm:nowhere/model"])
def test_pooling_in_which_the_image_cancels_is_refused(name, pool):
    with pytest.raises(InputError, match="the image would cancel; take (sum or product|mean or last)"):
        load_pairs(name, pool=pool)


def test_wrong_settings_are_refused():
    with pytest.raises(InputError, match="unknown pool of 'tiny': 'mean'; Known: product, sum"):
        load_pairs("tiny", pool="mean")
    with pytest.raises(InputError, match="unknown pool of 'vlm:x/y': 'lst'; did you mean 'last'"):
        load_pairs("vlm:x/y", pool="lst")
    with pytest.raises(InputError, match="normalize with pool 'product'"):
        load_pairs("tiny", pool="product", normalize=True)
    with pytest.raises(InputError, match="unknown precision 'bf61'; did you mean 'bf16'"):
        load_pairs("tiny", precision="bf61")
    with pytest.raises(InputError, match="unknown encoder scheme 'vml'"):
        load_pairs("vml:a/b")


def test_pairs_that_do_not_match_are_refused(scenes):
    encoder = load_pairs("tiny")
    with pytest.raises(InputError, match="3 images, 2 texts; give one of each"):
        encoder.pair_vectors(scenes, TEXTS[:2])
    with pytest.raises(InputError, match="3 images, 3 texts, 2 rows of perturbed"):
        encoder.perturbed_distances(scenes, TEXTS, OTHERS[:2])
    with pytest.raises(InputError, match=r"\[1, 2\] perturbed texts of a pair"):
        encoder.perturbed_distances(scenes, TEXTS, [OTHERS[0], OTHERS[1], ["a"]])
    with pytest.raises(InputError, match="text 1 is empty"):
        encoder.perturbed_distances(scenes, TEXTS, [OTHERS[0], ["a", " "], OTHERS[2]])


def test_an_image_of_several_texts_is_encoded_once(scenes, monkeypatch):
    encoder = load_pairs("tiny")
    one, other = scenes[:2]
    pairs = ([one, other, one, one.copy()], [*TEXTS, TEXTS[0]], [*OTHERS, OTHERS[0]])
    expected = np.concatenate(
        [encoder.perturbed_distances(*([part] for part in pair)) for pair in zip(*pairs, strict=True)]
    )
    counts, embed = [], encoder.encoder.embed_images
    monkeypatch.setattr(
        encoder.encoder, "embed_images", lambda images, **how: counts.append(len(images)) or embed(images, **how)
    )
    np.testing.assert_allclose(encoder.perturbed_distances(*pairs), expected, atol=1e-5)
    encoder.similarities(*pairs[:2])
    assert counts == [3, 3]
