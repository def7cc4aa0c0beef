import numpy as np
import pytest

from eotune.clustering.density import dbscan, hdbscan, neighbour_distance
from eotune.core.errors import InputError


@pytest.fixture
def blobs():
    random = np.random.default_rng(0)
    groups = np.repeat([[0, 0, 0], [9, 0, 0], [0, 9, 9]], 40, axis=0) + 0.3 * random.standard_normal((120, 3))
    return np.concatenate([groups, [[50, 50, 50], [-50, 0, 0]]])


@pytest.mark.parametrize("cluster", [lambda x: dbscan(x, eps=1.5), dbscan, hdbscan], ids=["eps", "chosen", "hdbscan"])
def test_three_groups_and_noise_are_found_with_their_means(blobs, cluster):
    labels, centres = cluster(blobs)
    assert labels.dtype == np.int64
    assert (labels[-2:] == -1).all()
    assert len(centres) == 3
    for start in (0, 40, 80):
        kept = labels[start : start + 40]
        assert np.isin(kept, [-1, kept.max()]).all()
        assert (kept >= 0).mean() >= 0.8
    for k in range(3):
        np.testing.assert_allclose(centres[k], blobs[labels == k].mean(axis=0))


@pytest.mark.parametrize("cluster", [lambda x: dbscan(x, eps=1e-6), lambda x: hdbscan(x, min_cluster_size=70)])
def test_all_noise_gives_no_centres(blobs, cluster):
    labels, centres = cluster(blobs)
    assert set(labels) == {-1}
    assert centres.shape == (0, 3)


def test_the_chosen_distance_makes_that_share_of_the_points_cores(blobs):
    distance = neighbour_distance(blobs, min_samples=5, quantile=0.5)
    pairs = np.linalg.norm(blobs[:, None] - blobs, axis=2)
    cores = (pairs <= distance).sum(axis=1) >= 5
    assert cores.mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dbscan(np.zeros((9, 2)), eps=0), "eps must be above 0 and finite; got 0"),
        (lambda: dbscan(np.zeros((4, 2)), min_samples=5), "min_samples must be 1 to 4, the number of points; got 5"),
        (lambda: dbscan(np.zeros((9, 2))), "90% of the points lie on 4 others"),
        (lambda: dbscan(np.full((9, 2), np.nan)), "NaN"),
        (lambda: neighbour_distance(np.zeros((9, 2)), quantile=1), "quantile"),
        (lambda: hdbscan(np.zeros((4, 2)), min_cluster_size=1), "min_cluster_size must be 2 to 4"),
        (lambda: hdbscan(np.zeros((4, 2)), min_cluster_size=2, min_samples=0), "min_samples"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
