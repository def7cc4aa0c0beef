import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eotune.core.errors import InputError
from eotune.selection import duplicates
from eotune.selection.duplicates import exact_duplicates, near_duplicates
from eotune.selection.vectors import blocks


def naive(vectors, clusters, ranks, threshold, which):
    """Compare all pairs in the order of ids."""
    stand_in, stays = np.full(len(vectors), -1), []
    for row in np.argsort(ranks):
        if clusters[row] < 0 or not which[row]:
            continue
        for other in stays:
            lengths = np.linalg.norm(vectors[row]) * np.linalg.norm(vectors[other])
            if clusters[other] == clusters[row] and lengths and vectors[row] @ vectors[other] / lengths >= threshold:
                stand_in[row] = other
                break
        else:
            stays.append(row)
    return stand_in


def small(monkeypatch):
    """Make every part of the search that large clusters need take part in small ones."""
    for name, value in (("_BLOCK", 4), ("_CELL", 3), ("_CELLS", 6), ("_PAIRS", 5), ("_DIRECTIONS", 2), ("_SAMPLE", 9)):
        monkeypatch.setattr(duplicates, name, value)


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 6), st.floats(0.05, 1), st.floats(0, 2), st.booleans()
)
@settings(deadline=None)
def test_equal_to_comparing_all_pairs(seed, n, d, threshold, spread, large):
    random = np.random.default_rng(seed)
    centres = random.standard_normal((3, d))
    vectors = centres[random.integers(3, size=n)] + spread * random.standard_normal((n, d))
    vectors[random.random(n) < 0.2] = vectors[0]
    clusters, ranks, which = random.integers(-1, 2, n), random.permutation(n), random.random(n) < 0.9
    scaled = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = scaled @ scaled.T
    if (np.abs(cosines - threshold) < 1e-5).any() and threshold < 1:
        return  # decided by rounding
    with pytest.MonkeyPatch.context() as patch:
        if large:
            small(patch)
        found = near_duplicates(vectors, clusters, ranks, threshold=threshold, which=which, compared=None)
    assert found.tolist() == naive(vectors, clusters, ranks, min(threshold, 1 - 1e-6), which).tolist()


def clustered(n, d=48, seed=0):
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((20, d))[random.integers(20, size=n)] + 0.5 * random.standard_normal((n, d))
    copies = random.integers(n, size=n // 5)
    vectors[random.integers(n, size=n // 5)] = vectors[copies] + 0.05 * random.standard_normal((n // 5, d))
    return vectors.astype(np.float32)


@pytest.mark.parametrize("threshold", [0.8, 0.95])
def test_a_cluster_of_several_blocks_and_cells(threshold):
    vectors = clustered(3000)
    clusters, ranks = np.zeros(3000, int), np.random.default_rng(1).permutation(3000)
    found = near_duplicates(vectors, clusters, ranks, threshold=threshold)
    ordered = units(3000)[np.argsort(ranks)]
    near, expected = ordered @ ordered.T >= threshold, np.full(3000, -1)
    for row in range(3000):
        earlier = np.flatnonzero(near[row, :row] & (expected[:row] < 0))
        if len(earlier):
            expected[row] = earlier[0]
    order = np.argsort(ranks)
    assert found[order].tolist() == np.where(expected < 0, -1, order[expected]).tolist()
    assert 300 < (found >= 0).sum() < 2900


def units(n):
    vectors = clustered(n)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_cells_out_of_reach_hold_no_neighbours():
    values = units(600)
    cells = duplicates._Cells(values[::3], len(values), radius=0.3)
    for part in blocks(len(values)):
        cells.take(part, values[part])
    counts = np.bincount(cells.labels, minlength=len(cells.centres))
    reach = cells.reach(values, cells.labels, counts, enough=600)
    near = np.linalg.norm(values[:, None] - values[None], axis=2) <= 0.3
    rows, others = np.nonzero(near)
    assert reach[rows, cells.labels[others]].all()
    assert len(rows) > len(values)
    assert not reach.all()
    fewer = cells.reach(values, cells.labels, counts, enough=100)
    assert (reach >= fewer).all()
    assert ((fewer * counts).sum(axis=1) >= np.minimum(100, (reach * counts).sum(axis=1))).all()
    assert fewer[np.arange(600), cells.labels].all()  # its own is the nearest


@pytest.mark.parametrize("compared", [1, 300])
def test_compared_with_the_nearest_alone(monkeypatch, compared):
    monkeypatch.setattr(duplicates, "_BLOCK", 64)
    monkeypatch.setattr(duplicates, "_CELL", 64)
    values, together, ranks = units(3000), np.zeros(3000, int), np.random.default_rng(1).permutation(3000)
    found = near_duplicates(values, together, ranks, threshold=0.95, compared=compared)
    every = near_duplicates(values, together, ranks, threshold=0.95, compared=None)
    dropped = np.flatnonzero(found >= 0)
    assert (np.einsum("ij,ij->i", values[dropped], values[found[dropped]]) >= 0.95 - 1e-5).all()
    assert (found[found[dropped]] == -1).all()  # what stands for others stays
    assert (ranks[found[dropped]] < ranks[dropped]).all()
    assert len(dropped) >= 0.99 * (every >= 0).sum() > 300


def test_rows_that_are_not_kept_in_memory_give_the_same(monkeypatch):
    arguments = (clustered(2500), np.arange(2500) % 2, np.random.default_rng(1).permutation(2500))
    held = near_duplicates(*arguments, threshold=0.95)
    monkeypatch.setattr(duplicates, "_HELD", 0)
    assert near_duplicates(*arguments, threshold=0.95).tolist() == held.tolist()


def test_projected_distances_are_lower_bounds():
    values = units(300)
    projected = duplicates._directions(values).project(values)
    full, low = (np.linalg.norm(points[:, None] - points[None], axis=2) for points in (values, projected))
    assert (low <= full + 1e-5).all()
    assert np.median(low / np.maximum(full, 1e-6)) > 0.5


@pytest.mark.parametrize("n", [1, 3000])
def test_degenerate_clusters(n):
    for vectors in (np.ones((n, 4)), np.ones((n, 1))):
        found = near_duplicates(vectors, np.zeros(n, int), np.arange(n)[::-1], threshold=1.0)
        assert found.tolist() == [n - 1] * (n - 1) + [-1]
    assert (near_duplicates(np.zeros((n, 4)), np.zeros(n, int), np.arange(n), threshold=0.5) == -1).all()


def test_directions_that_tell_nothing():
    vectors = np.random.default_rng(0).standard_normal((2200, 600)).astype(np.float32)
    vectors[2100:] = vectors[:100]
    found = near_duplicates(vectors, np.zeros(2200, int), np.arange(2200), threshold=0.9)
    assert found.tolist() == [-1] * 2100 + list(range(100))


def test_no_samples():
    assert near_duplicates(np.empty((0, 3)), np.empty(0, int), np.empty(0, np.int64), threshold=0.9).tolist() == []


def test_a_memory_map_gives_the_same(tmp_path):
    vectors = clustered(2500).astype(np.float16)
    vectors.tofile(tmp_path / "rows")
    mapped = np.memmap(tmp_path / "rows", np.float16, "r", shape=vectors.shape)
    arguments = (np.arange(2500) % 2, np.arange(2500))
    found = near_duplicates(mapped, *arguments, threshold=0.95)
    assert found.tolist() == near_duplicates(vectors, *arguments, threshold=0.95).tolist()


def test_wrong_input():
    with pytest.raises(InputError, match="above 0 and at most 1; got 1.5"):
        near_duplicates(np.eye(2), np.zeros(2, int), np.arange(2), threshold=1.5)
    with pytest.raises(InputError, match="first at row 1"):
        near_duplicates(np.array([[1.0], [np.nan]]), np.zeros(2, int), np.arange(2), threshold=0.9)


@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=12).flatmap(
    lambda keys: st.tuples(st.just(keys), st.permutations(range(len(keys))))))  # fmt: skip
@settings(deadline=None)
def test_exact_duplicates_keep_the_first_id(case):
    keys, ranks = case
    found = exact_duplicates(iter(keys), np.array(ranks, np.int64))
    for row, key in enumerate(keys):
        same = [other for other in range(len(keys)) if keys[other] == key]
        first = min(same, key=lambda other: ranks[other])
        assert found[row] == (-1 if key is None or first == row else first)
