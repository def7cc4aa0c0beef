import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from eotune.core.errors import InputError
from eotune.methods import create, method_problems
from eotune.methods.targets import LabelledFeatures

COUNTS = (60, 20, 4)  # imbalance ratios 1, 3, 15: alpha 1, 1, 2/3 with strong 10


@pytest.fixture
def features():
    """Three classes in three blobs; one sample of the rare class lies among the frequent one's."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), COUNTS)
    centres = np.array([[8.0, 0, 0, 0], [0, 8, 0, 0], [0, 0, 8, 0]])
    values = centres[labels] + random.normal(size=(len(labels), 4))
    values[-1] = centres[0]
    return LabelledFeatures(values.astype(np.float32), labels, ("field", "port", "dam"), seed=3)


def targets(features, **settings):
    few = {} if "clustering" in settings else {"clusters": 3}
    return create({"name": "deblora", **few, **settings}).targets(features)


def transcription(values, labels, clusters, strong, share):
    """The specification's equations, sample by sample."""
    counts = [int((labels == c).sum()) for c in range(3)]
    result = np.array(values, np.float64)
    for c, n_c in enumerate(counts):
        alpha = min(1.0, strong / (max(counts) / n_c))
        weights, centres = [], []
        for k in sorted(set(clusters.tolist()) - {-1}):
            inside = clusters == k
            n_kc = int((inside & (labels == c)).sum())
            weights.append(n_kc / n_c if share == "class" else n_kc / inside.sum())
            centres.append(values[inside].astype(np.float64).mean(axis=0))
        goal = sum(w * mu for w, mu in zip(weights, centres, strict=True)) / sum(weights)
        for i in np.flatnonzero(labels == c):
            result[i] = alpha * values[i] + (1 - alpha) * goal
    return result


@pytest.mark.parametrize("share", ["class", "cluster"])
@pytest.mark.parametrize("strong", [10.0, 1.0])
def test_targets_are_those_of_the_equations(features, share, strong):
    clusters = KMeans(3, n_init=10, random_state=0).fit_predict(features.values)
    found = targets(features, weights=share, strong=strong).values
    expected = transcription(features.values, features.labels, clusters, strong, share)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.dtype == np.float32


def test_frequent_classes_keep_their_features(features):
    found = targets(features)
    np.testing.assert_array_equal(found.values[:80], features.values[:80])
    assert found.report["alpha"] == pytest.approx([1, 1, 2 / 3])
    assert found.report["moved"][:2] == [0, 0]
    assert found.report["moved"][2] > 0
    assert np.sum(found.report["composition"], axis=0).tolist() == list(COUNTS)


def test_class_means_in_place_of_clusters(features):
    rare = features.values[80:].astype(np.float64)
    np.testing.assert_allclose(
        targets(features, centre="class_mean").values[80:], 2 / 3 * rare + 1 / 3 * rare.mean(axis=0), atol=1e-5
    )


@pytest.mark.parametrize("clustering", [{"clustering": "dbscan", "eps": 3.0}, {"clustering": "hdbscan"}])
def test_density_finds_the_same_blobs(features, clustering):
    found = targets(features, **clustering)
    assert len(found.report["composition"]) in (2, 3)  # four samples may be too few for one of their own
    assert np.isfinite(found.values).all()


def test_where_all_is_noise_a_class_goes_to_its_own_mean(features):
    found = targets(features, clustering="dbscan", eps=1e-6)
    assert found.report["noise"] == 84
    assert np.array(found.report["composition"]).size == 0
    np.testing.assert_allclose(found.values, targets(features, centre="class_mean").values, atol=1e-5)


def test_standardised_clusters_have_centres_of_the_features_themselves(features):
    stretched = LabelledFeatures(
        features.values * np.float32([1, 1, 1, 100]), features.labels, features.classes, features.seed
    )
    assert not np.allclose(targets(stretched).report["composition"], targets(features).report["composition"])
    expected = targets(features, standardise=True).values * np.float32([1, 1, 1, 100])
    np.testing.assert_allclose(targets(stretched, standardise=True).values, expected, rtol=1e-3, atol=1e-3)


def test_collapsed_classes_are_named():
    labels = np.repeat(np.arange(3), (60, 2, 2))
    values = np.zeros((64, 2), np.float32)
    values[:60] = np.random.default_rng(0).normal(size=(60, 2)) + 5
    values[60:] = [-9, -9]
    found = targets(LabelledFeatures(values, labels, ("field", "dam", "mast"), 0), clusters=2)
    assert [pair[:2] for pair in found.report["collapsed_pairs"]] == [["dam", "mast"]]


@pytest.mark.parametrize(("settings", "number"), [({"clusters": 85}, 85), ({"clusters": 32, "rho": 1}, 32)])
def test_more_clusters_than_the_images_fill_are_refused(features, settings, number):
    with pytest.raises(InputError, match=f"method.clusters {number} .* 84 training images.*lower"):
        targets(features, **settings)


def test_phases():
    first, second = create({"name": "deblora", "first": 0.7}).phases()
    assert (first.share, second.share) == (0.7, pytest.approx(0.3))
    assert first.targets is None
    assert second.targets is not None
    assert second.prepare is None
    (only,) = create({"name": "deblora", "features": "frozen"}).phases()
    assert only.share == 1
    assert only.targets is not None


def test_a_fresh_start_forgets_the_first_phase(encoder):
    method = create({"name": "deblora", "rank": 2, "start": "fresh"})
    method.apply(encoder, seed=0)
    weights = {name: p for name, p in encoder.named_parameters() if "lora_" in name}
    with torch.no_grad():
        for weight in weights.values():
            weight.fill_(0.5)
    method.phases()[1].prepare(encoder)
    for name, weight in weights.items():
        assert bool((weight == 0).all()) == ("lora_B" in name)


@pytest.mark.parametrize("dora", [False, True])
def test_a_fresh_start_has_the_pretrained_features_again(small_composed, pixels, dora):
    method = create({"name": "deblora", "rank": 2, "start": "fresh", "dora": dora, "heads": True})
    before = small_composed.image_features(pixels)
    method.apply(small_composed, seed=0)
    trained = [parameter for parameter in small_composed.parameters() if parameter.requires_grad]
    with torch.no_grad():
        for parameter in trained:
            parameter += 0.1
    assert not torch.allclose(small_composed.image_features(pixels), before, atol=1e-2)
    method.phases()[1].prepare(small_composed)
    torch.testing.assert_close(small_composed.image_features(pixels), before)
    assert all(parameter.requires_grad for parameter in trained)


def test_settings_are_checked():
    assert method_problems({"name": "deblora", "first": 1.0, "rho": 0.5, "centre": "median"})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eps": 3.0}, "eps is dbscan's; clustering is kmeans"),
        ({"clustering": "hdbscan", "eps": 3.0}, "eps is dbscan's; clustering is hdbscan"),
        ({"min_samples": 50}, "min_samples is dbscan's and hdbscan's; clustering is kmeans"),
        ({"clustering": "dbscan", "clusters": 8}, "clusters and rho are kmeans's; clustering is dbscan"),
        ({"clustering": "hdbscan", "rho": 2}, "clusters and rho are kmeans's; clustering is hdbscan"),
        ({"centre": "class_mean", "weights": "cluster"}, "weights are those of clusters; centre is class_mean"),
        ({"features": "frozen", "start": "fresh"}, "first and start are of a run with a first phase"),
        ({"features": "frozen", "first": 0.2}, "first and start are of a run with a first phase"),
    ],
)
def test_settings_of_another_choice_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        create({"name": "deblora", **settings})
