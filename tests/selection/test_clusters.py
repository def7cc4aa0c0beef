import math

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from eotune.core.errors import InputError
from eotune.selection import clusters
from eotune.selection.clusters import (
    assign,
    assign_blocks,
    choose_k,
    fit_centres,
    nearest_centres,
    possible_clusters,
    sample_rows,
)


def points(n=600, k=5, seed=0):
    values, labels = make_blobs(n, n_features=8, centers=k, cluster_std=0.5, random_state=seed)
    return values.astype(np.float32), labels


def test_fitted_on_a_sample_the_second_pass_finds_the_groups():
    values, truth = points(3000)
    centres = fit_centres(values[sample_rows(len(values), 500, seed=0)], 5, seed=0)
    assert adjusted_rand_score(truth, assign(values, centres)[0]) > 0.99


def test_assignment_equals_the_slow_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(clusters, "BLOCK", 64)
    values, _ = points()
    values.astype(np.float16).tofile(tmp_path / "rows")
    mapped = np.memmap(tmp_path / "rows", np.float16, "r", shape=values.shape)
    centres = fit_centres(values, 7, seed=1)
    labels, distances = assign(mapped, centres)
    for row, label, distance in zip(np.asarray(mapped, np.float64), labels, distances, strict=True):
        all_ = [sum((a - b) ** 2 for a, b in zip(row, centre, strict=True)) for centre in centres.astype(float)]
        assert label == all_.index(min(all_))
        assert distance == pytest.approx(min(all_), rel=1e-4, abs=1e-3)
    by_shard = list(assign_blocks([mapped[:100], mapped[100:]], centres))
    assert np.concatenate([part[0] for part in by_shard]).tolist() == labels.tolist()


def test_the_same_seed_gives_the_same_centres():
    values, _ = points()
    assert (fit_centres(values, 4, seed=3) == fit_centres(values, 4, seed=3)).all()


def test_equal_distances_go_to_the_first_centre():
    assert nearest_centres(np.zeros((1, 1), np.float32), np.array([[1], [-1]], np.float32))[0].tolist() == [0]


def test_k_is_found_by_silhouette():
    values, _ = points()
    table, best = choose_k(values, [8, 5, 3, 3], seed=0)
    assert best == 5
    assert [entry.k for entry in table] == [3, 5, 8]
    assert min(table, key=lambda entry: entry.davies_bouldin).k == 5


def test_k_of_a_large_sample_is_scored_on_part_of_it(monkeypatch):
    monkeypatch.setattr(clusters, "SCORED", 60)
    table, best = choose_k(points()[0], [5], seed=0)
    assert best == 5
    assert not math.isnan(table[0].silhouette)


def test_equal_samples_are_one_cluster():
    table, best = choose_k(np.ones((10, 2), np.float32), [2, 3], seed=0)
    assert best == 1
    assert [math.isnan(one.silhouette) for one in table] == [True, True]


def test_more_clusters_than_samples():
    with pytest.raises(InputError, match="4 clusters need at least as many samples; got 3; ask for fewer"):
        fit_centres(np.eye(3, dtype=np.float32), 4, seed=0)
    with pytest.raises(InputError, match=r"between 2 and 2, below .* that silhouette is taken on; got \[3\]"):
        choose_k(np.eye(3, dtype=np.float32), [3], seed=0)
    with pytest.raises(InputError, match="0 clusters"):
        fit_centres(np.eye(3, dtype=np.float32), 0, seed=0)


def test_rows_with_nan_are_named():
    values = np.zeros((9000, 2), np.float32)
    values[8500] = np.nan
    with pytest.raises(InputError, match="first at row 8500"):
        assign(values, np.zeros((1, 2), np.float32))
    with pytest.raises(InputError, match="first at row 8500"):
        fit_centres(values, 2, seed=0)


def test_sample_rows_are_sorted_and_different():
    rows = sample_rows(1000, 100, seed=5)
    assert len(set(rows.tolist())) == 100
    assert (np.diff(rows) > 0).all()
    assert rows.tolist() != sample_rows(1000, 100, seed=6).tolist()


@pytest.mark.parametrize(
    ("asked", "n", "expected"),
    [
        (5, 5, [5]),
        (100_000, 200_000, [100_000]),
        ((64, 8, 64), 65, [8, 64]),
        ((8, 64), 64, [8]),
        ((8, 64), 5, [5]),
        ((8, 64), 8, [8]),
        ((64, 8000), 6000, [64]),
        ((64, 4999), 20_000, [64, 4999]),
    ],
)
def test_numbers_of_clusters_adapt_to_the_samples(asked, n, expected):
    assert possible_clusters(asked, n) == expected


@pytest.mark.parametrize(
    ("asked", "n", "says"),
    [
        (6, 5, "^6 clusters for 5 samples; ask for fewer$"),
        ((200_000,), 300_000, "^200,000 clusters for 300,000 samples, of which k-means is fitted on 100,000; ask for"),
        (
            (64, 8000),
            20_000,
            "8,000 clusters among several.*taken on 5,000 samples.*leave it out, or ask for",
        ),
    ],
)
def test_too_many_clusters_are_refused_with_the_limit(asked, n, says):
    with pytest.raises(InputError, match=says):
        possible_clusters(asked, n)
