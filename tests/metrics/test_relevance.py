import numpy as np
import pytest

from eotune.metrics.relevance import any_caption_relevance, own_relevance, shared_by_several, unique_pairs


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("reading", ["own", "any"])
def test_right_answers_equal_loops(seed, reading) -> None:
    random = np.random.default_rng(seed)
    n, m = 9, 30
    owner = random.permutation(np.concatenate([np.arange(n), random.integers(0, n, m - n)]))
    ids = np.unique(random.integers(0, 12, m), return_inverse=True)[1]
    image_vector, text_vector = random.integers(0, 5, n), random.integers(0, 11, m)
    if reading == "own":
        both = own_relevance(image_vector, text_vector, owner)
    else:
        both = any_caption_relevance(image_vector, text_vector, owner, ids)

    for i in range(n):
        texts = {ids[j] for j in range(m) if owner[j] == i}
        right = [j for j in range(m) if (ids[j] in texts if reading == "any" else owner[j] == i)]
        check(both.image_to_text, i, image_vector[i], text_vector[right])
    for j in range(m):
        right = [int(owner[j])]
        if reading == "any":
            right = sorted({int(owner[k]) for k in range(m) if ids[k] == ids[j]})
        check(both.text_to_image, j, text_vector[j], image_vector[right])


def check(relevance, member: int, vector: int, right_vectors: np.ndarray) -> None:
    query = relevance.member[member]
    chosen = relevance.query == query
    found = dict(zip(relevance.candidate[chosen].tolist(), relevance.number[chosen].tolist(), strict=True))
    expected = {int(v): int((right_vectors == v).sum()) for v in right_vectors}
    assert found == expected
    assert chosen.sum() == len(found)
    assert relevance.vector[query] == vector


def test_pairs_are_listed_once_and_found_again() -> None:
    random = np.random.default_rng(0)
    owner = np.concatenate([np.arange(6), random.integers(0, 6, 14)])
    ids = np.unique(random.integers(0, 8, 20), return_inverse=True)[1]
    image_vector, text_vector = random.integers(0, 4, 6), random.integers(0, 9, 20)
    relevances = [
        own_relevance(image_vector, text_vector, owner),
        any_caption_relevance(image_vector, text_vector, owner, ids),
    ]
    (texts, images), places = unique_pairs(relevances, 9)
    assert len(set(zip(texts.tolist(), images.tolist(), strict=True))) == len(texts)
    assert (np.diff(images) >= 0).all()
    for relevance, (forth, back) in zip(relevances, places, strict=True):
        to_text, to_image = relevance.image_to_text, relevance.text_to_image
        np.testing.assert_array_equal(texts[forth], to_text.candidate)
        np.testing.assert_array_equal(images[forth], to_text.vector[to_text.query])
        np.testing.assert_array_equal(images[back], to_image.candidate)
        np.testing.assert_array_equal(texts[back], to_image.vector[to_image.query])


@pytest.mark.parametrize("seed", range(3))
def test_shared_captions_equal_loops(seed) -> None:
    random = np.random.default_rng(seed)
    owner, ids = random.integers(0, 6, 25), random.integers(0, 12, 25)
    expected = [len({owner[k] for k in range(25) if ids[k] == ids[j]}) > 1 for j in range(25)]
    assert shared_by_several(owner, ids).tolist() == expected
