import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eotune.search import exact
from eotune.search.exact import top_k


def naive(vectors, query, k, keep=None, minimum=-np.inf):
    scores = np.concatenate(vectors).astype(np.float64) @ query.astype(np.float64)
    rows = [row for row in range(len(scores)) if (keep is None or keep[row]) and scores[row] >= minimum]
    best = sorted(rows, key=lambda row: (-scores[row], row))[:k]
    return best, scores[best]


# Small whole numbers: sums are exact in every precision, and many are equal.
@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.sampled_from([0.0, 0.01, 0.3, 0.9]), st.integers(1, 3))
def test_agrees_with_a_full_sort_ties_and_filters_included(seed, k, share, q):
    random = np.random.default_rng(seed)
    vectors = [random.integers(-3, 4, (n, 8)).astype(np.float16) for n in (700, 1500, 1, 1024)]
    queries = random.integers(-3, 4, (q, 8)).astype(np.float32)
    keep = [random.random(len(one)) < share for one in vectors]
    for query, (rows, scores) in zip(queries, top_k(vectors, queries, k, keep=keep), strict=True):
        expected, values = naive(vectors, query, k, np.concatenate(keep))
        assert rows.tolist() == expected
        np.testing.assert_array_equal(scores, values)
    for query, (rows, _) in zip(queries, top_k(vectors, queries, k, minimum=9.0), strict=True):
        assert rows.tolist() == naive(vectors, query, k, minimum=9.0)[0]


def test_products_are_those_of_the_stored_vectors(tmp_path):
    random = np.random.default_rng(0)
    values = (random.normal(size=(3000, 64)) / 16).astype(np.float16)  # none longer than 1
    values.tofile(tmp_path / "vectors")
    vectors = [np.memmap(tmp_path / "vectors", np.float16, mode="c", shape=values.shape)]
    query = random.normal(size=64).astype(np.float32)
    ((rows, scores),) = top_k(vectors, query[None], 20)
    expected, products = naive([values], query, 20)
    assert rows.tolist() == expected
    np.testing.assert_allclose(scores, products, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("many", [1, 20])
def test_rows_that_only_float32_tells_apart(monkeypatch, many):
    monkeypatch.setattr(exact, "_ROWS", 500)
    random = np.random.default_rng(1)
    query = random.normal(size=64)
    query /= np.linalg.norm(query)
    aside = random.normal(size=(4000, 64))
    aside -= np.outer(aside @ query, query)
    # Products between 0.5 and 0.502 are four float16 numbers; the order inside them shows in float32 only.
    values = 0.5 * query * (1 + random.random((4000, 1)) / 250) + 0.5 * aside / np.linalg.norm(aside, axis=1)[:, None]
    values = values.astype(np.float16)
    for rows, scores in top_k([values], np.tile(query.astype(np.float32), (many, 1)), 50):
        expected, products = naive([values], query.astype(np.float32), 50)
        np.testing.assert_allclose(scores, products, rtol=0, atol=1e-6)
        assert len({*rows.tolist()} ^ {*expected}) <= 2  # the last ones may be equal in float32


@pytest.mark.parametrize("n", [30, 3001])
def test_equal_vectors_come_in_the_order_of_their_rows(n):
    random = np.random.default_rng(0)
    one = (random.normal(size=67) / 16).astype(np.float16)
    ((rows, scores),) = top_k([np.tile(one, (n, 1))], random.normal(size=(1, 67)).astype(np.float32), n - 10)
    assert rows.tolist() == list(range(n - 10))
    assert len({*scores.tolist()}) == 1


@pytest.mark.parametrize("vectors", [[], [np.zeros((0, 4), np.float16)]])
def test_nothing_is_found_in_nothing(vectors):
    ((rows, scores),) = top_k(vectors, np.ones((1, 4), np.float32), 3)
    assert len(rows) == len(scores) == 0


def test_fewer_rows_than_asked_for():
    ((rows, _),) = top_k([np.eye(4, dtype=np.float16)], np.ones((1, 4), np.float32), 10, keep=[np.arange(4) > 1])
    assert rows.tolist() == [2, 3]
