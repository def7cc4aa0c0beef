import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eotune.core.errors import InputError
from eotune.metrics.ranking import RankReadings, rank_readings, ranks_from_scores, retrieval_ranks

READINGS = ("against", "favour", "any_caption")


def check(readings: RankReadings, slow_ranks, scores, owner, captions) -> None:
    for reading in READINGS:
        i2t, t2i = slow_ranks(scores, owner, captions, reading)
        ranks = getattr(readings, reading)
        assert ranks.image_to_text.tolist() == i2t, reading
        assert ranks.text_to_image.tolist() == t2i, reading
        assert ranks.image_to_text.dtype == ranks.text_to_image.dtype == np.int64


@pytest.mark.parametrize("chunk", [1, 5, 16, None])
def test_embeddings_with_ties_equal_the_spec(case, chunk, slow_ranks) -> None:
    readings = rank_readings(case.images, case.texts, case.owner, case.captions, chunk=chunk)
    check(readings, slow_ranks, case.scores, case.owner, case.captions)


@pytest.mark.parametrize("chunk", [1, 5, 16, None])
def test_captions_that_repeat_with_different_embeddings_equal_the_spec(case, chunk, slow_ranks) -> None:
    texts = np.random.default_rng(0).permutation(case.texts)
    readings = rank_readings(case.images, texts, case.owner, case.captions, chunk=chunk)
    check(readings, slow_ranks, case.images @ texts.T, case.owner, case.captions)


@st.composite
def score_tables(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[str], int]:
    counts = draw(st.lists(st.integers(1, 4), min_size=1, max_size=6))
    owner = np.array(draw(st.permutations(np.repeat(np.arange(len(counts)), counts).tolist())))
    captions = draw(st.lists(st.sampled_from("abcd"), min_size=len(owner), max_size=len(owner)))
    levels = st.sampled_from([-1.0, -0.0, 0.0, 1e-40, 0.1, float(np.nextafter(np.float32(0.1), 1)), 3e38])
    size = len(counts) * len(owner)
    scores = draw(st.lists(levels, min_size=size, max_size=size))
    return np.array(scores, np.float32).reshape(len(counts), -1), owner, captions, draw(st.integers(1, 9))


@settings(max_examples=200, deadline=None)
@given(table=score_tables())
def test_scores_equal_the_spec(table, slow_ranks) -> None:
    scores, owner, captions, chunk = table
    check(ranks_from_scores(scores, owner, captions, chunk=chunk), slow_ranks, scores, owner, captions)


def test_double_scores_keep_their_precision() -> None:
    scores = np.array([[0.5, 0.5 + 1e-12], [0.5, 1.0]])
    assert ranks_from_scores(scores, [0, 1]).against.image_to_text.tolist() == [2, 1]
    assert ranks_from_scores(scores.astype(np.float32), [0, 1]).favour.image_to_text.tolist() == [1, 1]


@pytest.mark.parametrize("chunk", [3, 40, None])
@pytest.mark.parametrize("d", [7, 64])
def test_random_embeddings_with_exact_duplicates_equal_the_spec(chunk, d, slow_ranks) -> None:
    random = np.random.default_rng(d)
    n = 30
    owner = random.permutation(np.repeat(np.arange(n), random.integers(1, 5, n)))
    image_of, text_of = random.integers(0, 12, n), random.integers(0, 25, len(owner))
    vectors = random.normal(size=(37, d))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    images, texts = vectors[:12][image_of], vectors[12:][text_of]
    # In float64 on the distinct vectors: duplicates tie, and nothing else comes near.
    scores = (vectors[:12].astype(float) @ vectors[12:].astype(float).T)[image_of][:, text_of]
    captions = [f"{word}" for word in text_of // 2]
    readings = rank_readings(images, texts, owner, captions, chunk=chunk)
    check(readings, slow_ranks, scores, owner, captions)


def test_one_image_many_times_ranks_last_against_and_first_in_favour() -> None:
    image = np.random.default_rng(0).normal(size=(1, 512)).astype(np.float32)
    images = np.repeat(image, 700, axis=0)
    readings = rank_readings(images, images, np.arange(700), ["the same"] * 700)
    assert set(readings.against.image_to_text) == set(readings.against.text_to_image) == {700}
    assert set(readings.favour.image_to_text) == set(readings.favour.text_to_image) == {1}
    assert readings.any_caption is not None
    assert set(readings.any_caption.image_to_text) == set(readings.any_caption.text_to_image) == {1}


def test_an_images_own_repeats_never_count_against_it() -> None:
    images = np.eye(2, dtype=np.float32)
    readings = rank_readings(images, images[[0, 0, 0, 0, 0, 1]], [0, 0, 0, 0, 0, 1])
    assert readings.against.image_to_text.tolist() == [1, 1]


def test_a_repeated_caption_does_not_win_by_rounding_noise() -> None:
    random = np.random.default_rng(0)
    images = random.normal(size=(40, 32))
    vectors = random.normal(size=(25, 32))
    words = random.integers(0, 25, 120)
    owner = np.repeat(np.arange(40), 3)
    captions = [f"{word}" for word in words]
    clean = vectors[words]
    noisy = clean * (1 + 1e-6 * random.normal(size=clean.shape))
    expected, result = (rank_readings(images, texts, owner, captions) for texts in (clean, noisy))
    for reading in READINGS:
        np.testing.assert_array_equal(getattr(result, reading).image_to_text, getattr(expected, reading).image_to_text)
    without = rank_readings(images, noisy, owner)
    assert (without.against.image_to_text < expected.against.image_to_text).any()


def test_any_caption_lies_at_or_before_against_and_favour_too(case) -> None:
    readings = rank_readings(case.images, case.texts, case.owner, case.captions)
    assert readings.any_caption is not None
    for direction in ("image_to_text", "text_to_image"):
        against = getattr(readings.against, direction)
        assert (getattr(readings.favour, direction) <= against).all()
        assert (getattr(readings.any_caption, direction) <= against).all()


def test_ranks_do_not_depend_on_the_order_of_the_data(case) -> None:
    random = np.random.default_rng(1)
    image_order, text_order = random.permutation(len(case.images)), random.permutation(len(case.texts))
    expected = retrieval_ranks(case.images, case.texts, case.owner)
    result = retrieval_ranks(
        case.images[image_order], case.texts[text_order], np.argsort(image_order)[case.owner[text_order]]
    )
    np.testing.assert_array_equal(result.image_to_text, expected.image_to_text[image_order])
    np.testing.assert_array_equal(result.text_to_image, expected.text_to_image[text_order])


def test_lengths_do_not_matter(case) -> None:
    images = case.images * 2.0 ** np.random.default_rng(0).integers(-3, 4, (len(case.images), 1))
    result, expected = (retrieval_ranks(rows, case.texts, case.owner) for rows in (images, case.images))
    np.testing.assert_array_equal(result.image_to_text, expected.image_to_text)
    np.testing.assert_array_equal(result.text_to_image, expected.text_to_image)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_are_taken_to_float32(case, dtype) -> None:
    images, texts = torch.from_numpy(case.images).to(dtype), torch.from_numpy(case.texts).to(dtype)
    result = retrieval_ranks(images.requires_grad_(), texts, torch.from_numpy(case.owner))
    expected = retrieval_ranks(case.images, case.texts, case.owner)
    np.testing.assert_array_equal(result.image_to_text, expected.image_to_text)
    np.testing.assert_array_equal(result.text_to_image, expected.text_to_image)


def test_products_are_full_float32_under_autocast_and_settings_are_left_as_they_were() -> None:
    random = np.random.default_rng(0)
    images = random.normal(size=(60, 32)).astype(np.float32)
    texts = (images[np.repeat(np.arange(60), 2)] + random.normal(size=(120, 32))).astype(np.float32)
    owner = np.repeat(np.arange(60), 2)
    expected = retrieval_ranks(images, texts, owner)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result = retrieval_ranks(images, texts, owner)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    np.testing.assert_array_equal(result.text_to_image, expected.text_to_image)
    np.testing.assert_array_equal(result.image_to_text, expected.image_to_text)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_ranks(case) -> None:
    expected = rank_readings(case.images, case.texts, case.owner, case.captions)
    result = rank_readings(case.images, case.texts, case.owner, case.captions, device="cuda")
    for reading in READINGS:
        for direction in ("image_to_text", "text_to_image"):
            np.testing.assert_array_equal(
                getattr(getattr(result, reading), direction), getattr(getattr(expected, reading), direction)
            )


def test_wrong_input_is_refused() -> None:
    eye = np.eye(3, dtype=np.float32)
    with pytest.raises(InputError, match="image embeddings have 3 dimensions but text embeddings 2"):
        retrieval_ranks(eye, eye[:, :2], [0, 1, 2])
    with pytest.raises(InputError, match="3 text embeddings but 2 entries in image_index"):
        retrieval_ranks(eye, eye, [0, 1])
    with pytest.raises(InputError, match="integers; got float64"):
        retrieval_ranks(eye, eye, [0.0, 1.0, 2.0])
    with pytest.raises(InputError, match="does not name each of the 3 images: 1 have no caption, the first is 1;"):
        retrieval_ranks(eye, eye, [0, 0, 2])
    with pytest.raises(InputError, match="does not name each of the 3 images: -1 is outside"):
        retrieval_ranks(eye, eye, [0, -1, 2])
    with pytest.raises(InputError, match="3 text embeddings but 2 captions"):
        rank_readings(eye, eye, [0, 1, 2], ["a", "b"])
    with pytest.raises(InputError, match="must be a matrix"):
        ranks_from_scores(np.zeros(3), [0])
    with pytest.raises(InputError, match="not a number"):
        ranks_from_scores(np.array([[np.nan]]), [0])
