import math

import numpy as np
import pytest

from eotune.core.errors import InputError
from eotune.metrics.class_geometry import centre_mismatch, class_geometry

GROUPS = {"head": np.array([0, 1]), "tail": np.array([2, 3, 4])}


def samples(seed, n=40, d=5):
    random = np.random.default_rng(seed)
    labels = random.choice([0, 1, 2, 4], n)  # class 3 has no samples
    labels[:4] = [0, 1, 2, 4]
    return (random.normal(size=(n, d)) + 2 * np.eye(5)[labels]).astype(np.float32), labels


def distance(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return 1 - dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def slow_centre(features, labels, k):
    members = [row.tolist() for row, y in zip(features, labels, strict=True) if y == k]
    return [sum(column) / len(members) for column in zip(*members, strict=True)]


@pytest.mark.parametrize("seed", range(3))
def test_distances_equal_loops(seed) -> None:
    features, labels = samples(seed)
    result = class_geometry(features, labels, 5)
    centres = {k: slow_centre(features, labels, k) for k in (0, 1, 2, 4)}
    for k, centre in centres.items():
        own = [distance(row.tolist(), centre) for row, y in zip(features, labels, strict=True) if y == k]
        assert result.intra[k] == pytest.approx(sum(own) / (len(own) - 1), abs=1e-9)
        for other, its_centre in centres.items():
            assert result.between[k, other] == pytest.approx(distance(centre, its_centre), abs=1e-9)
    assert np.isnan(result.intra[3])
    assert np.isnan(result.between[3]).all()
    assert np.isnan(result.between[:, 3]).all()

    inter = result.inter_by_group(GROUPS)
    assert inter["head", "head"] == pytest.approx(distance(centres[0], centres[1]))
    assert inter["tail", "tail"] == pytest.approx(distance(centres[2], centres[4]))
    across = [distance(centres[a], centres[b]) for a in (0, 1) for b in (2, 4)]
    assert inter["head", "tail"] == pytest.approx(sum(across) / 4)
    assert list(inter) == [("head", "head"), ("head", "tail"), ("tail", "tail")]
    intra = result.intra_by_group(GROUPS)
    assert intra["tail"] == pytest.approx((result.intra[2] + result.intra[4]) / 2)


def test_mismatch_equals_loops() -> None:
    (train, train_labels), (test, test_labels) = samples(0), samples(1)
    test_labels[test_labels == 2] = 3  # class 2 is in training only, 3 in the test only
    result = centre_mismatch((train, train_labels), (test, test_labels), 5)
    for k in (0, 1, 4):
        expected = distance(slow_centre(train, train_labels, k), slow_centre(test, test_labels, k))
        assert result[k] == pytest.approx(expected, abs=1e-9)
    assert np.isnan(result[[2, 3]]).all()


def test_the_length_of_all_features_does_not_matter() -> None:
    features, labels = samples(0)
    one, other = class_geometry(features, labels, 5), class_geometry(1000 * features, labels, 5)
    np.testing.assert_allclose(one.between, other.between, atol=1e-6)
    np.testing.assert_allclose(one.intra, other.intra, atol=1e-6)


def test_groups_of_one_class_or_of_none_with_samples_are_left_out() -> None:
    result = class_geometry(*samples(0), 5)
    groups = {"head": np.array([0]), "tail": np.array([3])}
    assert result.inter_by_group(groups) == {}
    assert list(result.intra_by_group(groups)) == ["head"]


def test_one_sample_and_zero_vectors_are_no_error() -> None:
    result = class_geometry(np.array([[3.0, 1.0], [0.0, 0.0]]), np.array([0, 1]), 2)
    assert np.isnan(result.intra).all()  # nothing is known of how far samples lie apart
    assert class_geometry(np.zeros((3, 2)), np.zeros(3, int), 1).intra.tolist() == [1.5]
    assert result.between.tolist() == [[0, 1], [1, 0]]


def test_wrong_input_is_refused() -> None:
    features, labels = samples(0)
    ill = features.copy()
    ill[0, 0] = np.inf
    for x, y, message in (
        (features, labels[1:], "integer labels"),
        (features, labels.astype(float), "integer labels"),
        (features, labels + 1, "label 5 is outside 0 to 4"),
        (ill, labels, "finite numbers"),
        (features[:0], labels[:0], "at least one"),
    ):
        with pytest.raises(InputError, match=message):
            class_geometry(x, y, 5)
    with pytest.raises(InputError, match="5 wide, test features 4"):
        centre_mismatch((features, labels), (features[:, :4], labels), 5)
