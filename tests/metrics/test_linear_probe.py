import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from eotune.core.errors import InputError
from eotune.metrics.classification import classification_metrics
from eotune.metrics.linear_probe import Probe, best_probe, fit_probe, probe_path

COUNTS = np.array([120, 60, 25, 10, 4])


def long_tailed(seed, counts=COUNTS, d=6, spread=1.0):
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(len(counts)), counts))
    centres = np.random.default_rng(99).normal(size=(len(counts), d)) * spread
    # Scales from 0.01 to 100, and a mean far from 0: what standardising is for.
    return ((centres[labels] + random.normal(size=(len(labels), d))) * np.logspace(-2, 2, d) + 50), labels


def objective(features, labels, weight, bias, l2, offset=0.0):
    """The definition in float64."""
    logits = features @ weight.T.astype(np.float64) + bias + offset
    logits -= logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
    return losses.mean() + l2 / 2 * (weight.astype(np.float64) ** 2).sum()


def standardised(features):
    return (features - features.mean(axis=0)) / features.std(axis=0)


@pytest.mark.parametrize("seed", range(3))
def test_the_objective_is_that_of_scikit_learn(seed) -> None:
    features, labels = long_tailed(seed)
    inputs = standardised(features)
    for probe in probe_path(features, labels, 5, l2_grid=(1.0, 1e-1, 1e-2, 1e-3, 1e-4)):
        peer = LogisticRegression(C=1 / (len(labels) * probe.l2), tol=1e-8, max_iter=10_000).fit(inputs, labels)
        ours = objective(inputs, labels, probe.weight, probe.bias, probe.l2)
        theirs = objective(inputs, labels, peer.coef_, peer.intercept_, probe.l2)
        assert ours == pytest.approx(theirs, rel=1e-5)
        np.testing.assert_allclose(probe.predict_probabilities(features), peer.predict_proba(inputs), atol=5e-3, rtol=0)


def test_two_classes_and_separable_ones_equal_scikit_learn() -> None:
    features, labels = long_tailed(0, np.array([50, 20]), spread=4)
    inputs = standardised(features)
    (probe,) = probe_path(features, labels, 2, l2_grid=[1e-3])
    # scikit-learn's logistic for two classes has one weight w where softmax has w/2 and -w/2: half the penalty.
    peer = LogisticRegression(C=2 / (len(labels) * 1e-3), tol=1e-8, max_iter=10_000).fit(inputs, labels)
    np.testing.assert_allclose(probe.weight[1] - probe.weight[0], peer.coef_[0], rtol=1e-2)
    assert classification_metrics(labels, probe.predict_logits(features).argmax(axis=1), 2).accuracy == 1


def test_the_balanced_probe_minimises_the_logit_adjusted_loss() -> None:
    features, labels = long_tailed(1)
    l2, inputs = 1e-2, torch.from_numpy(standardised(features))
    log_prior = torch.from_numpy(np.log(COUNTS / COUNTS.sum()))
    weight = torch.zeros(5, 6, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=2000, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(inputs @ weight.T + bias + log_prior, torch.from_numpy(labels))
        value = value + l2 / 2 * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    probe = fit_probe(features, labels, 5, validation=(features, labels), l2_grid=[l2], adjust=COUNTS)
    ours = objective(inputs.numpy(), labels, probe.weight, probe.bias, l2, log_prior.numpy())
    assert ours == pytest.approx(loss().item(), rel=1e-6)
    expected = torch.softmax((inputs @ weight.T + bias).detach(), dim=1).numpy()
    np.testing.assert_allclose(probe.predict_probabilities(features), expected, atol=2e-3)


def test_the_balanced_probe_finds_more_of_the_tail() -> None:
    (features, labels), test = long_tailed(2, spread=0.7), long_tailed(3, np.full(5, 200), spread=0.7)
    recalls = []
    for adjust in (None, COUNTS):
        probe = fit_probe(features, labels, 5, validation=test, adjust=adjust)
        recalls.append(classification_metrics(test[1], probe.predict_logits(test[0]).argmax(axis=1), 5).recall)
    plain, balanced = recalls
    assert balanced[3:].mean() > plain[3:].mean() + 0.1
    assert balanced[0] < plain[0]


def test_the_strength_is_that_of_the_best_validation_macro_f1_and_ties_go_to_the_stronger() -> None:
    features, labels = long_tailed(4)
    validation = long_tailed(5, np.full(5, 30))
    path = probe_path(features, labels, 5, l2_grid=(1e-3, 10.0, 1e-1))
    assert [probe.l2 for probe in path] == [10.0, 1e-1, 1e-3]
    scores = [
        classification_metrics(validation[1], probe.predict_logits(validation[0]).argmax(axis=1), 5).macro_f1
        for probe in path
    ]
    assert best_probe(path, validation) is path[int(np.argmax(scores))]
    easy = (np.array([[-1.0], [1.0]]), np.array([0, 1]))
    assert fit_probe(*easy, 2, validation=easy, l2_grid=(1e-4, 1e-2)).l2 == 1e-2


def test_a_warm_start_ends_where_a_cold_one_does_and_twice_gives_the_same() -> None:
    features, labels = long_tailed(6)
    path, again = probe_path(features, labels, 5), probe_path(features, labels, 5)
    for probe, same in zip(path, again, strict=True):
        assert np.array_equal(probe.weight, same.weight)
        assert np.array_equal(probe.bias, same.bias)
    (cold,) = probe_path(features, labels, 5, l2_grid=[1e-3])
    warm = next(probe for probe in path if probe.l2 == 1e-3)
    np.testing.assert_allclose(cold.predict_probabilities(features), warm.predict_probabilities(features), atol=5e-3)


def test_a_class_without_training_samples_is_never_predicted_and_named() -> None:
    features, labels = long_tailed(7)
    probe = fit_probe(features, 2 * labels, 10, validation=(features, 2 * labels))
    assert probe.absent == (1, 3, 5, 7, 9)
    probabilities = probe.predict_probabilities(features)
    assert (probabilities[:, 1::2] == 0).all()
    without = fit_probe(features, labels, 5, validation=(features, labels), l2_grid=[probe.l2])
    np.testing.assert_allclose(probabilities[:, ::2], without.predict_probabilities(features), atol=2e-3)
    counts = np.bincount(2 * labels, minlength=10)
    assert probe.balanced(counts).absent == probe.absent


def test_constant_and_repeated_features_do_no_harm() -> None:
    features, labels = long_tailed(8)
    widened = np.concatenate([features, np.full((len(features), 1), 1e4), features[:, :1]], axis=1)
    probe = fit_probe(widened, labels, 5, validation=(widened, labels))
    assert probe.std[6] == 1
    assert np.isfinite(probe.predict_logits(widened)).all()


def test_tensors_and_arrays_give_the_same() -> None:
    features, labels = long_tailed(9)
    array = features.astype(np.float32)
    one = fit_probe(array, labels, 5, validation=(array, labels))
    tensors = torch.from_numpy(array), torch.from_numpy(labels)
    two = fit_probe(*tensors, 5, validation=tensors)
    assert np.array_equal(one.weight, two.weight)
    assert one.weight.dtype == one.predict_logits(array).dtype == np.float32


def test_degenerate_input_is_refused() -> None:
    features, labels = long_tailed(0)
    ill = features.copy()
    ill[3, 1] = np.nan
    cases = [
        (ill, labels, {}, "1 of 219 rows of training features"),
        (features, np.zeros(219, int), {}, "all have class 0"),
        (features, labels + 1, {}, "label 5 is outside 0 to 4"),
        (features, labels[:-1], {}, "one integer label for each of 219"),
        (features, labels.astype(float), {}, "float64"),
        (features[:0], labels[:0], {}, "at least one row"),
        (features, labels, {"l2_grid": (0.0,)}, r"positive numbers; got \[0.0\]"),
        (features, labels, {"l2_grid": ()}, "positive numbers"),
    ]
    for x, y, options, message in cases:
        with pytest.raises(InputError, match=message):
            probe_path(x, y, 5, **options)
    probe = Probe(np.zeros((2, 3), np.float32), np.zeros(2, np.float32), np.zeros(3), np.ones(3), 1.0)
    with pytest.raises(InputError, match="3 features a sample; got 6"):
        probe.predict_logits(features)
    for counts in ([1, 0], [1], [1, np.nan]):
        with pytest.raises(InputError, match="each of the 2 classes"):
            probe.balanced(counts)
