import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from eotune.core.errors import InputError
from eotune.metrics.classification import classification_metrics, confusion_matrix


@pytest.mark.parametrize("seed", range(5))
def test_everything_equals_scikit_learn(seed) -> None:
    random = np.random.default_rng(seed)
    true, predicted = random.integers(0, 6, 80), random.integers(0, 6, 80)
    result = classification_metrics(true, predicted, 6)
    expected = sklearn_metrics.precision_recall_fscore_support(true, predicted, labels=range(6), zero_division=0)
    for ours, theirs in zip((result.precision, result.recall, result.f1, result.support), expected, strict=True):
        np.testing.assert_allclose(ours, theirs)
    np.testing.assert_array_equal(result.confusion, sklearn_metrics.confusion_matrix(true, predicted, labels=range(6)))
    assert result.accuracy == pytest.approx(sklearn_metrics.accuracy_score(true, predicted))
    assert result.macro_f1 == pytest.approx(sklearn_metrics.f1_score(true, predicted, average="macro"))


def test_classes_that_do_not_appear_are_left_out_of_the_macro_mean() -> None:
    result = classification_metrics(np.array([0, 0, 1]), np.array([0, 0, 1]), 10)
    assert result.macro_f1 == 1
    assert result.f1.tolist() == [1, 1] + [0] * 8


def test_a_class_never_predicted_has_precision_and_f1_0() -> None:
    result = classification_metrics(np.array([0, 1]), np.array([0, 0]), 2)
    assert result.precision.tolist() == [0.5, 0]
    assert result.recall.tolist() == [1, 0]
    assert result.f1.tolist() == pytest.approx([2 / 3, 0])


def test_wrong_input_is_refused() -> None:
    with pytest.raises(InputError, match="predicted class 3 is outside 0 to 2"):
        confusion_matrix(np.array([0]), np.array([3]), 3)
    with pytest.raises(InputError, match="true class -1 is outside"):
        confusion_matrix(np.array([-1]), np.array([0]), 3)
    with pytest.raises(InputError, match="must be integers; got float64"):
        confusion_matrix(np.array([0.5]), np.array([0]), 3)
    for true, predicted in (([0, 1], [0]), ([], [])):
        with pytest.raises(InputError, match="one true and one predicted"):
            confusion_matrix(np.array(true, int), np.array(predicted, int), 3)
