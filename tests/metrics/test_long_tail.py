import numpy as np
import pytest
from sklearn.metrics import f1_score

from eotune.core.errors import InputError
from eotune.core.seeds import generator
from eotune.metrics.calibration import expected_calibration_error
from eotune.metrics.classification import classification_metrics
from eotune.metrics.long_tail import Difference, group_f1, long_tail_metrics, paired_differences

GROUPS = {"head": np.array([0, 1]), "middle": np.array([2, 3]), "tail": np.array([4, 5])}


def long_tailed(seed, n=240):
    random = np.random.default_rng(seed)
    true = random.choice(6, n, p=[0.4, 0.3, 0.15, 0.08, 0.05, 0.02])
    true[:6] = np.arange(6)
    logits = random.normal(size=(n, 6)) + 2 * np.eye(6)[true]
    odds = np.exp(logits)
    return true, odds / odds.sum(axis=1, keepdims=True)


def slow_group_f1(true, predicted, members):
    """Mean over the members that appear of 2 TP / (2 TP + FP + FN), counted over all samples."""
    values = []
    for k in members:
        hits = sum(t == k and p == k for t, p in zip(true, predicted, strict=True))
        false = sum((t == k) != (p == k) for t, p in zip(true, predicted, strict=True))
        if 2 * hits + false:
            values.append(2 * hits / (2 * hits + false))
    return sum(values) / len(values)


def test_false_positives_from_other_groups_count() -> None:
    # Two head samples are called class 2 (tail). By hand, over all samples: class 2 has 2 hits, 2 false positives and
    # no miss, so F1 = 4/6. Were samples of the tail picked by true label first, its F1 would be 1.
    true = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    predicted = np.array([0, 0, 2, 2, 1, 1, 2, 2])
    result = group_f1(classification_metrics(true, predicted, 3), {"head": [0, 1], "tail": [2]})
    assert result["tail"] == pytest.approx(4 / 6)
    assert result["head"] == pytest.approx((4 / 6 + 1) / 2)
    of_tail = true == 2
    masked = classification_metrics(true[of_tail], predicted[of_tail], 3)
    assert group_f1(masked, {"tail": [2]})["tail"] == 1


@pytest.mark.parametrize("seed", range(3))
def test_groups_equal_loops(seed) -> None:
    true, probabilities = long_tailed(seed)
    predicted = probabilities.argmax(axis=1)
    values = long_tail_metrics(true, probabilities, 6, GROUPS, resamples=2).values
    for name, members in GROUPS.items():
        assert values[f"macro_f1_{name}"] == pytest.approx(slow_group_f1(true, predicted, members))
    assert values["macro_f1"] == pytest.approx(f1_score(true, predicted, average="macro"))
    assert values["accuracy"] == pytest.approx((true == predicted).mean())
    assert values["ece"] == expected_calibration_error(probabilities, true)


def test_classes_that_do_not_appear_are_left_out_and_so_are_groups_without_test_samples() -> None:
    true, predicted = np.array([0, 0, 2, 2]), np.array([0, 0, 2, 5])
    values = long_tail_metrics(true, predicted, 6, GROUPS, resamples=5).values
    assert values["macro_f1_head"] == 1  # class 1 does not appear
    assert values["macro_f1_middle"] == pytest.approx(2 / 3)
    assert "macro_f1_tail" not in values  # class 5 is predicted, but no test sample measures the group
    assert values["macro_f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert "ece" not in values


@pytest.mark.parametrize("seed", range(2))
def test_resamples_equal_loops(seed) -> None:
    true, probabilities = long_tailed(seed, n=60)
    predicted, n = probabilities.argmax(axis=1), len(true)
    result = long_tail_metrics(true, probabilities, 6, GROUPS, resamples=70, seed=5)
    order = np.argsort(true, kind="stable")
    random = generator(5, "stratified bootstrap", n)
    samples: dict[str, list[float]] = {name: [] for name in result.values if name != "ece"}
    assert result.intervals.keys() == samples.keys()
    for size in (64, 6):
        for uniform in random.random((size, n)):
            drawn = []
            for position, i in enumerate(order):
                members = np.flatnonzero(true == true[i])
                drawn.append(members[int(uniform[position] * len(members))])
            t, p = true[drawn], predicted[drawn]
            samples["accuracy"].append((t == p).mean())
            samples["macro_f1"].append(slow_group_f1(t, p, range(6)))
            for name, members in GROUPS.items():
                samples[f"macro_f1_{name}"].append(slow_group_f1(t, p, members))
    for name, values in samples.items():
        assert result.intervals[name] == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=1e-6)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    # A classifier that is right with probability 0.8, else calls the next class: every class has F1 0.8.
    random = np.random.default_rng(0)
    true, covered = np.repeat(np.arange(3), 40), 0
    for _ in range(200):
        predicted = np.where(random.random(120) < 0.8, true, (true + 1) % 3)
        low, high = long_tail_metrics(true, predicted, 3, {"tail": [2]}, resamples=200).intervals["macro_f1_tail"]
        covered += low <= 0.8 <= high
    assert 0.88 < covered / 200 < 0.99


def test_paired_differences_are_those_of_the_same_draws_and_narrower() -> None:
    true, probabilities = long_tailed(0, n=400)
    first = probabilities.argmax(axis=1)
    second = first.copy()
    second[::9] = true[::9]
    differences = paired_differences(true, second, first, 6, GROUPS, seed=1)
    one, other = (long_tail_metrics(true, p, 6, GROUPS, seed=1) for p in (second, first))
    for name, difference in differences.items():
        assert difference.value == pytest.approx(one.values[name] - other.values[name])
        assert difference.low <= difference.value <= difference.high
    width = differences["macro_f1"].high - differences["macro_f1"].low
    low, high = one.intervals["macro_f1"]
    assert width < 0.7 * (high - low)
    assert paired_differences(true, first, first, 6, GROUPS)["macro_f1_tail"] == Difference(0.0, 0.0, 0.0)


def test_the_seed_decides_the_draws() -> None:
    true, probabilities = long_tailed(0)
    one, same, other = (long_tail_metrics(true, probabilities, 6, GROUPS, seed=s).intervals for s in (0, 0, 1))
    assert one == same
    assert one != other


def test_the_table_has_a_row_a_class() -> None:
    true, probabilities = long_tailed(0)
    result = long_tail_metrics(true, probabilities, 6, {"tail": [4, 5]})
    rows = result.class_table([f"class {k}" for k in range(6)], {"tail": [4, 5]})
    assert [row["group"] for row in rows] == ["", "", "", "", "tail", "tail"]
    for k, row in enumerate(rows):
        assert row["class"] == f"class {k}"
        assert row["f1"] == result.classification.f1[k]
        assert row["f1_low"] <= row["f1"] <= row["f1_high"]


def test_wrong_input_is_refused() -> None:
    true, probabilities = long_tailed(0)
    predicted = probabilities.argmax(axis=1)
    cases = [
        (true, predicted, {"tail": [6]}, {}, "holds class 6; there are 6"),
        (true, predicted, {"a": [1], "b": [1]}, {}, "class 1 is in group 'a' and in 'b'"),
        (true, predicted, {"a": []}, {}, "group 'a' must hold"),
        (true, predicted, GROUPS, {"resamples": 0}, "got 0"),
        (true, np.log(probabilities), GROUPS, {}, "pass softmax outputs"),
        (true, probabilities[:, :5] / probabilities[:, :5].sum(axis=1, keepdims=True), GROUPS, {}, "5 probabilities"),
        (true[1:], predicted, GROUPS, {}, "one true and one predicted"),
        (true + 1, predicted, GROUPS, {}, "true class 6 is outside"),
    ]
    for t, p, groups, options, message in cases:
        with pytest.raises(InputError, match=message):
            long_tail_metrics(t, p, 6, groups, **options)
    with pytest.raises(InputError, match="vector of integers"):
        paired_differences(true.astype(float), predicted, predicted, 6, GROUPS)
