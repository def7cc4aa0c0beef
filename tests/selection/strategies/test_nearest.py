import tracemalloc
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eotune.core.errors import InputError
from eotune.selection.result import Columns
from eotune.selection.strategies import nearest
from eotune.selection.strategies.by_name import create


def columns(vectors, targets, ranks=None):
    n = len(vectors)
    ranks = np.arange(n) if ranks is None else ranks
    return Columns(ranks, np.ones(n, bool), text_embeddings=vectors, targets=np.array(targets))


def in_turns(vectors, targets, ranks, total):
    """Let every target in turn take its best sample left, from the full table."""
    cosines = (targets / np.linalg.norm(targets, axis=1, keepdims=True)) @ (
        vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    ).T
    left = set(range(len(vectors)))
    for turn in range(total):
        row = cosines[turn % len(targets)]
        left.remove(min(left, key=lambda i: (-row[i], ranks[i])))
    return set(range(len(vectors))) - left


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 6), st.integers(0, 40), st.sampled_from([4, 2**23])
)
@settings(deadline=None)
def test_targets_take_turns(seed, n, m, total, similarities):
    random = np.random.default_rng(seed)
    vectors, targets, ranks = random.standard_normal((n, 3)), random.standard_normal((m, 3)), random.permutation(n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "_SIMILARITIES", similarities)  # small ones make many blocks
        result = create({"name": "nearest"}).choose(columns(vectors, targets, ranks), total, 0)
    assert set(np.flatnonzero(result.kept).tolist()) == in_turns(vectors, targets, ranks, min(total, n))


def test_lists_grow_where_targets_want_the_same():
    vectors = np.random.default_rng(0).standard_normal((60, 3))
    targets = np.repeat(vectors[:1], 5, axis=0)
    result = create({"name": "nearest"}).choose(columns(vectors, targets), 50, 0)
    assert set(np.flatnonzero(result.kept).tolist()) == in_turns(vectors, targets, np.arange(60), 50)


CORNERS = np.array(list(product((-0.5, 0.5), repeat=4)))  # of length 1; their cosines are exact


@given(st.data(), st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 12), st.integers(0, 60))
@settings(deadline=None)
def test_equal_targets_and_equal_samples(data, seed, n, m, total):
    random = np.random.default_rng(seed)
    vectors, ranks = CORNERS[random.integers(16, size=n)], random.permutation(n)
    targets = CORNERS[random.integers(data.draw(st.integers(1, 16)), size=m)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "_SIMILARITIES", data.draw(st.sampled_from([4, 100, 2**23])))
        patch.setattr(nearest, "_LISTED", data.draw(st.sampled_from([1, 100, 2**24])))
        result = create({"name": "nearest"}).choose(columns(vectors, targets, ranks), total, 0)
    assert set(np.flatnonzero(result.kept).tolist()) == in_turns(vectors, targets, ranks, min(total, n))


def test_repeated_targets_take_no_memory_of_their_own():
    random = np.random.default_rng(0)
    n, turns = 10_000, random.integers(10, size=1000)
    vectors, different = random.standard_normal((n, 8)), random.standard_normal((10, 8))
    given = columns(vectors, different[turns])
    tracemalloc.start()
    result = create({"name": "nearest"}).choose(given, n // 3, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.kept.sum() == n // 3
    assert peak < 500 * n  # bytes


def test_the_score_is_the_largest_cosine():
    result = create({"name": "nearest"}).choose(columns(np.array([[3.0, 4], [-1, 0]]), [[1.0, 0], [0, 2]]), 1, 0)
    assert result.score.tolist() == pytest.approx([0.8, 0])


def test_targets_of_another_width_are_refused():
    with pytest.raises(InputError, match=r"targets must be \(m, 2\) with m at least 1; got \(1, 3\)"):
        create({"name": "nearest"}).choose(columns(np.eye(2), np.ones((1, 3))), 1, 0)
