import math

import numpy as np
import pytest

from eotune.clustering.debias import (
    calibrate,
    calibration_alpha,
    collapsed_pairs,
    composition,
    debiased_centres,
    tail_weights,
)
from eotune.core.errors import InputError

N, D, K, C = 120, 5, 6, 4


@pytest.fixture
def samples():
    random = np.random.default_rng(0)
    labels = random.choice(C, N, p=[0.6, 0.25, 0.1, 0.05])
    clusters = random.integers(-1, K, N)
    clusters[labels == 3] = -1  # a class that is all noise
    return random.standard_normal((N, D)), labels, clusters, random.standard_normal((K, D))


def slow_centres(features, labels, clusters, cluster_centres, share):
    """The equations, one sum at a time."""
    centres = []
    for c in range(C):
        of_class = [i for i in range(N) if labels[i] == c and clusters[i] >= 0]
        if not of_class:
            own = [features[i] for i in range(N) if labels[i] == c]
            centres.append(sum(own) / len(own))
            continue
        weights = []
        for k in range(K):
            n_kc = sum(clusters[i] == k for i in of_class)
            n_k = sum(clusters == k)
            weights.append(n_kc / len(of_class) if share == "class" else n_kc / n_k)
        total = sum(weights)
        centres.append(sum(weight / total * centre for weight, centre in zip(weights, cluster_centres, strict=True)))
    return np.array(centres)


@pytest.mark.parametrize("share", ["class", "cluster"])
def test_centres_and_targets_equal_the_equations_summed_one_by_one(samples, share):
    features, labels, clusters, cluster_centres = samples
    weights = tail_weights(composition(clusters, labels, K, C), share)
    centres = debiased_centres(features, labels, weights, cluster_centres)
    expected = slow_centres(features, labels, clusters, cluster_centres, share)
    np.testing.assert_allclose(centres, expected, rtol=1e-12)
    np.testing.assert_allclose(weights.sum(axis=0), [1, 1, 1, 0])

    counts = np.bincount(labels)
    targets = calibrate(features, labels, centres, calibration_alpha(counts, threshold=2.0))
    for i, c in enumerate(labels):
        alpha = min(1, 2 / (max(counts) / counts[c]))
        np.testing.assert_allclose(targets[i], alpha * features[i] + (1 - alpha) * expected[c], rtol=1e-12)


def test_the_two_readings_of_the_weights_differ_where_clusters_differ_in_size():
    counts = np.array([[90, 5], [0, 5]])
    assert tail_weights(counts)[:, 1].tolist() == [0.5, 0.5]
    np.testing.assert_allclose(tail_weights(counts, "cluster")[:, 1], [5 / 95 / (1 + 5 / 95), 1 / (1 + 5 / 95)])


def test_alpha_of_the_ships():
    alpha = calibration_alpha(np.array([3890, 1710, 814, 315, 242]))
    np.testing.assert_allclose(alpha, [1, 1, 1, 0.810, 0.622], atol=5e-4)
    assert calibration_alpha(np.array([100, 10])).tolist() == [1, 1]  # a ratio of exactly 10 keeps its features


def test_head_classes_keep_their_features_to_the_bit(samples):
    features, labels, _, _ = samples
    targets = calibrate(features, labels, np.ones((C, D)), np.array([1.0, 1.0, 0.5, 0.5]))
    assert (targets[labels < 2] == features[labels < 2]).all()


def test_classes_that_share_their_clusters_collapse(samples):
    _, _, _, cluster_centres = samples
    counts = np.array([[9, 2, 4, 0]] * 3 + [[0, 0, 0, 2]] * 3)  # classes 0 to 2 lie alike in clusters 0 to 2
    centres = debiased_centres(np.ones((4, D)), np.arange(4), tail_weights(counts), cluster_centres)
    pairs = collapsed_pairs(centres, np.array([1, 2, 3]))
    assert [(first, second) for first, second, _ in pairs] == [(1, 2)]
    assert math.isclose(pairs[0][2], 1)
    assert collapsed_pairs(np.zeros((3, D)), np.arange(3)) == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: composition(np.array([0, 6]), np.array([0, 0]), 6, 2), "clusters must be -1 to 5; got 0 to 6"),
        (lambda: composition(np.array([0]), np.array([2]), 6, 2), "labels must be 0 to 1; got 2 to 2"),
        (lambda: composition(np.array([0]), np.array([0, 1]), 6, 2), "each sample needs"),
        (lambda: composition(np.array([0]), np.array([0.5]), 6, 2), "whole numbers"),
        (lambda: tail_weights(np.ones((2, 2)), "both"), "share must be 'class' or 'cluster'; got 'both'"),
        (lambda: calibration_alpha(np.array([5, 0])), "at least one sample"),
        (lambda: calibration_alpha(np.array([5]), threshold=0), "threshold must be above 0"),
        (
            lambda: debiased_centres(np.ones((1, 2)), np.array([0]), np.zeros((1, 2)), np.ones((1, 2))),
            "class 1 has no samples",
        ),
        (
            lambda: debiased_centres(np.ones((1, 3)), np.array([0]), np.ones((1, 1)), np.ones((1, 2))),
            "differ in width",
        ),
        (
            lambda: debiased_centres(np.ones((2, 3)), np.array([0]), np.ones((1, 1)), np.ones((1, 3))),
            "2 features for 1 labels",
        ),
        (lambda: calibrate(np.ones((2, 3)), np.array([0, 0]), np.ones((1, 2)), np.ones(1)), "do not fit together"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
