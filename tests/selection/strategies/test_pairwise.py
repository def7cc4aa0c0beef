"""k_center, semdedup and representative against slow answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eotune.selection.result import Columns
from eotune.selection.strategies.by_name import create

SEEDS = st.integers(0, 2**32 - 1)


def unit(n, d, seed):
    vectors = np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def columns(vectors, clusters=None, ranks=None):
    n = len(vectors)
    clusters = np.zeros(n, int) if clusters is None else clusters
    return Columns(np.arange(n) if ranks is None else ranks, np.ones(n, bool), clusters, text_embeddings=vectors)


def picked(config, total, given_):
    return set(np.flatnonzero(create(config).choose(given_, total, 0).kept).tolist())


@given(SEEDS, st.integers(1, 25), st.integers(0, 25))
@settings(deadline=None)
def test_k_center_is_the_farthest_first_traversal(seed, n, total):
    vectors = unit(n, 3, seed).astype(np.float64)
    total = min(total, n)
    centres = [int(np.argmin([((row - vectors.mean(axis=0)) ** 2).sum() for row in vectors]))]
    while len(centres) < total:
        gaps = [min(((row - vectors[centre]) ** 2).sum() for centre in centres) for row in vectors]
        centres.append(int(np.argmax(gaps)))
    assert picked({"name": "k_center"}, total, columns(vectors)) == set(centres[:total])


def test_k_center_scores_are_distances():
    vectors = np.array([[1, 0], [0.6, 0.8], [-1, 0]])
    result = create({"name": "k_center"}).choose(columns(vectors), 2, 0)
    assert result.kept.tolist() == [False, True, True]
    assert result.score == pytest.approx([0.8, 4, 3.2], rel=1e-5)


def test_k_center_never_picks_a_sample_twice():
    assert len(picked({"name": "k_center"}, 9, columns(np.ones((10, 3))))) == 9


def semdedup_scores(vectors, keep):
    near = vectors @ vectors.mean(axis=0)
    if (np.diff(np.sort(near)) < 1e-4).any():
        return None  # decided by rounding
    order = sorted(range(len(vectors)), key=lambda i: near[i] if keep == "hard" else -near[i])
    return {
        row: -max((float(vectors[row] @ vectors[other]) for other in order[:place]), default=-1)
        for place, row in enumerate(order)
    }


@pytest.mark.parametrize("keep", ["hard", "easy"])
@given(SEEDS, st.integers(1, 25))
@settings(deadline=None)
def test_semdedup_drops_what_resembles_another_most(keep, seed, n):
    vectors = unit(n, 3, seed)
    clusters = np.arange(n) % 2
    scores = {}
    for cluster in set(clusters.tolist()):
        rows = np.flatnonzero(clusters == cluster)
        of_cluster = semdedup_scores(vectors[rows], keep)
        if of_cluster is None:
            return
        scores |= {int(rows[i]): score for i, score in of_cluster.items()}
    result = create({"name": "semdedup", "keep": keep}).choose(columns(vectors, clusters), n // 2, 0)
    assert result.score == pytest.approx([scores[row] for row in range(n)], abs=1e-5)
    kept, dropped = result.score[result.kept], result.score[~result.kept]
    assert not len(kept) or kept.min() >= dropped.max()


def mmd(kernel, chosen):
    inside = kernel[np.ix_(chosen, chosen)].mean()
    return kernel.mean() + inside - 2 * kernel[:, chosen].mean()


@given(SEEDS, st.integers(1, 14), st.integers(1, 14))
@settings(deadline=None)
def test_representative_picks_the_least_mmd_greedily(seed, n, total):
    vectors = unit(n, 3, seed).astype(np.float64)
    kernel = np.exp(-((vectors[:, None] - vectors[None]) ** 2).sum(axis=2) / 2)
    chosen = []
    while len(chosen) < min(total, n):
        values = {row: mmd(kernel, [*chosen, row]) for row in range(n) if row not in chosen}
        best = sorted(values.values())
        if len(best) > 1 and best[1] - best[0] < 1e-6:
            return  # decided by rounding
        chosen.append(min(values, key=values.get))
    assert picked({"name": "representative"}, total, columns(vectors)) == set(chosen)


def test_representative_shares_follow_transferability_and_density():
    random = np.random.default_rng(0)
    centres, spread = np.array([[1, 0.5, 0, 0], [1, 0, 0.5, 0], [-1, 0, 0, 1.0]]), np.array([0.01, 0.6, 0.01])
    clusters = np.repeat([0, 1, 2], 50)
    vectors = centres[clusters] + spread[clusters][:, None] * random.standard_normal((150, 4))
    strategy = create({"name": "representative", "temperature": 1.0})
    given_ = columns(vectors, clusters)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    middles = np.stack([units[clusters == i].mean(axis=0) for i in range(3)])
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    exponents = []
    for i in range(3):
        squares = ((units[clusters == i][:, None] - units[clusters == i][None]) ** 2).sum(axis=2)
        transfer = np.mean([middles[i] @ middles[j] for j in range(3) if j != i and middles[i] @ middles[j] <= 0.9])
        exponents.append(transfer / np.exp(-squares / 2).mean())
    shares = np.exp(exponents) / np.exp(exponents).sum()
    quota = strategy.cluster_quotas(given_, 60)
    assert quota.sum() == 60
    assert np.abs(quota - 60 * shares).max() < 1
    assert quota[0] > quota[2]
    two = strategy.cluster_quotas(columns(vectors[:100], clusters[:100]), 60)  # as alike each other, not as dense
    assert two[1] > two[0]


@pytest.mark.parametrize("name", ["k_center", "representative", "semdedup"])
def test_large_clusters_are_cut_into_parts(name):
    vectors, ranks = unit(300, 4, 0), np.random.default_rng(1).permutation(300)
    result = create({"name": name, "part": 32}).choose(columns(vectors, ranks=ranks), 100, 0)
    assert result.kept.sum() == 100
    assert np.isfinite(result.score).all()


def test_k_center_covers_better_than_chance():
    vectors = unit(500, 6, 0)
    chosen = sorted(picked({"name": "k_center", "part": 200}, 50, columns(vectors)))
    radius = (vectors @ vectors[chosen].T).max(axis=1).min()
    by_chance = [
        (vectors @ vectors[np.random.default_rng(seed).choice(500, 50, replace=False)].T).max(axis=1).min()
        for seed in range(20)
    ]
    assert radius > max(by_chance)
