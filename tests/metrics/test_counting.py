import numpy as np
import pytest
import torch

from eotune.metrics.counting import GivenScores, Products, Queries, block_size, count, exact_products, spans


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
@pytest.mark.parametrize("given", [True, False])
def test_counts_equal_loops(chunk, given, monkeypatch) -> None:
    monkeypatch.setattr("eotune.metrics.counting._COMPARED_NUMBERS", {"cpu": 50})
    random = np.random.default_rng(chunk)
    images = random.choice([-0.5, 0.5], (23, 4)).astype(np.float32)
    texts = random.choice([-0.5, 0.5], (31, 4)).astype(np.float32)
    table = texts @ images.T
    source = (
        GivenScores(torch.from_numpy(table.T.copy()))
        if given
        else Products(torch.from_numpy(images), torch.from_numpy(texts), chunk)
    )
    text_vector = np.sort(np.concatenate([np.arange(31), random.integers(0, 31, 40)]))
    image_vector = np.sort(np.concatenate([np.arange(23), random.integers(0, 23, 60)]))
    levels = np.array([-1, -0.5, 0, 0.5, 1, 0.25], np.float32)
    text_queries = Queries(text_vector, random.choice(levels, len(text_vector)))
    image_queries = Queries(image_vector, random.choice(levels, len(image_vector)))
    weights = random.integers(1, 5, 31), random.integers(1, 5, 23)
    pairs = random.integers(0, 31, 50), np.sort(random.integers(0, 23, 50))

    by_text, by_image, pair_scores = count(source, text_queries, image_queries, weights, pairs, chunk=chunk)

    for q, (vector, threshold) in enumerate(zip(text_vector, text_queries.threshold, strict=True)):
        assert by_text.at_least[q] == sum(weights[1][i] for i in range(23) if table[vector, i] >= threshold)
        assert by_text.above[q] == sum(weights[1][i] for i in range(23) if table[vector, i] > threshold)
    for q, (vector, threshold) in enumerate(zip(image_vector, image_queries.threshold, strict=True)):
        assert by_image.at_least[q] == sum(weights[0][j] for j in range(31) if table[j, vector] >= threshold)
        assert by_image.above[q] == sum(weights[0][j] for j in range(31) if table[j, vector] > threshold)
    np.testing.assert_array_equal(pair_scores, table[pairs])
    np.testing.assert_array_equal(source.pairs(*pairs), table[pairs])


def test_spans_cover_everything_once_in_nearly_equal_parts() -> None:
    for length in range(1, 40):
        for size in range(1, 45):
            parts = list(spans(length, size))
            assert [i for start, stop in parts for i in range(start, stop)] == list(range(length))
            sizes = {stop - start for start, stop in parts}
            assert max(sizes) <= size
            assert max(sizes) - min(sizes) <= 1


def test_blocks_shrink_as_images_grow() -> None:
    cpu = torch.device("cpu")
    assert block_size(5000, cpu) == 1000
    assert block_size(10, cpu) == 4096
    assert block_size(10**7, cpu) == 64


def test_exact_products_restores_the_setting_after_an_error() -> None:
    def fail() -> None:
        with exact_products(torch.device("cpu")):
            raise KeyError

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with pytest.raises(KeyError):
            fail()
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
