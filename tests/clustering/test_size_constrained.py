from itertools import pairwise

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.cluster import KMeans

from eotune.clustering.size_constrained import SizeConstrainedKMeans
from eotune.core.errors import InputError


@pytest.fixture(scope="module")
def points():
    random = np.random.default_rng(0)
    blobs = random.choice(8, 3000, p=[0.4, 0.3, 0.2, 0.04, 0.03, 0.01, 0.01, 0.01])
    return (5 * random.standard_normal((8, 6))[blobs] + random.standard_normal((3000, 6))).astype(np.float32)


def test_every_cluster_has_its_size_and_centres_are_means(points):
    model = SizeConstrainedKMeans(8, min_size=3000 / (8 * 1.5), random_state=0).fit(points)
    assert np.bincount(model.labels_).min() >= 250
    means = np.stack([points[model.labels_ == k].mean(axis=0, dtype=np.float64) for k in range(8)])
    np.testing.assert_allclose(model.cluster_centers_, means, rtol=1e-5, atol=1e-5)
    assert model.cluster_centers_.dtype == np.float32
    assert model.inertia_ == pytest.approx(((points - means[model.labels_]) ** 2).sum(), rel=1e-5)


def test_the_objective_never_rises(points):
    start = points[:8]
    inertias = [
        SizeConstrainedKMeans(8, min_size=250, init=start, max_iter=steps, tol=0).fit(points).inertia_
        for steps in range(1, 15)
    ]
    assert all(later <= earlier * (1 + 1e-7) for earlier, later in pairwise(inertias))
    assert inertias[-1] < inertias[0]


def test_without_a_bound_it_is_plain_k_means(points):
    start = points[[0, 1, 2, 5]]
    ours = SizeConstrainedKMeans(4, min_size=0, init=start, max_iter=300, tol=0).fit(points)
    plain = KMeans(4, init=start, n_init=1, max_iter=300, tol=0).fit(points)
    assert (ours.labels_ == plain.labels_).all()
    assert ours.inertia_ == pytest.approx(plain.inertia_, rel=1e-5)
    assert (ours.predict(points) == ours.labels_).all()


def test_predict_takes_the_nearest_centre(points):
    model = SizeConstrainedKMeans(8, min_size=300, random_state=0).fit(points)
    distances = ((points[:, None].astype(np.float64) - model.cluster_centers_) ** 2).sum(axis=2)
    assert (model.predict(points) == distances.argmin(axis=1)).all()
    with pytest.raises(InputError, match="2 features; the centres have 6"):
        model.predict(points[:, :2])


def test_points_far_from_the_origin_give_the_same_clusters(points):
    near = SizeConstrainedKMeans(8, min_size=250, init=points[:8], max_iter=5).fit(points)
    far_points = points.astype(np.float64) + 1e3
    far = SizeConstrainedKMeans(8, min_size=250, init=far_points[:8], max_iter=5).fit(far_points.astype(np.float32))
    assert (near.labels_ == far.labels_).mean() > 0.998  # float32 keeps four decimals there
    assert np.bincount(far.labels_).min() >= 250


def test_a_seed_decides_and_more_starts_never_cost_more(points):
    def fit(n_init, seed=3):
        return SizeConstrainedKMeans(8, min_size=100, n_init=n_init, random_state=seed).fit(points)

    assert (fit(1).labels_ == fit(1).labels_).all()
    assert fit(4).inertia_ <= fit(1).inertia_
    assert (fit(1, seed=4).labels_ != fit(1).labels_).any()


def test_it_is_a_scikit_learn_estimator(points):
    model = clone(SizeConstrainedKMeans(3, min_size=5, random_state=0))
    assert model.get_params()["min_size"] == 5
    assert (model.fit_predict(points[:60]) == model.labels_).all()
    assert model.n_iter_ <= 100


def test_equal_points_and_one_cluster():
    labels = SizeConstrainedKMeans(3, min_size=4, init=np.ones((3, 2))).fit(np.ones((12, 2))).labels_
    assert np.bincount(labels).tolist() == [4, 4, 4]
    assert SizeConstrainedKMeans(1, min_size=12, random_state=0).fit(np.ones((12, 2))).inertia_ == 0


def test_a_fraction_of_a_point_rounds_up():
    points = np.arange(10.0)[:, None]
    labels = SizeConstrainedKMeans(3, min_size=2.2, init=[[0.0], [1.0], [2.0]]).fit(points).labels_
    assert np.bincount(labels).min() >= 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_size": 4}, "3 clusters of at least 4 points need 12; there are 10; set min_size to 3"),
        ({"min_size": -1}, "min_size must be a number of at least 0; got -1"),
        ({"min_size": float("nan")}, "min_size"),
        ({"n_clusters": 11}, "10 points cannot form 11 clusters; set n_clusters to 10"),
        ({"n_clusters": 0}, "n_clusters must be a whole number of at least 1; got 0"),
        ({"n_init": 0}, "n_init"),
        ({"tol": -1}, "tol"),
        ({"init": "random"}, "init must be 'k-means\\+\\+'"),
        ({"init": np.zeros((2, 2))}, r"of shape \(3, 2\); its shape is \(2, 2\)"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    settings = {"n_clusters": 3, "min_size": 1} | settings
    with pytest.raises(InputError, match=message):
        SizeConstrainedKMeans(**settings).fit(np.arange(20.0).reshape(10, 2))


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[1.0], [np.nan], [np.inf]], "2 of 3 points hold NaN or infinity, the first at row 1"),
        (np.zeros(5), r"got \(5,\)"),
        (np.zeros((0, 3)), r"got \(0, 3\)"),
        ([["a"], ["b"]], "points must be numbers"),
    ],
)
def test_wrong_points_are_refused(points, message):
    with pytest.raises(InputError, match=message):
        SizeConstrainedKMeans(1, min_size=1).fit(points)
