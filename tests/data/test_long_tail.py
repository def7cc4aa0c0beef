from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eotune.core.config import parse
from eotune.core.errors import InputError
from eotune.data.long_tail import DOTA_GROUPS, GroupRule, class_groups, exponential_counts, long_tail_subset


@given(st.integers(1, 300), st.integers(1, 12), st.integers(1, 200))
def test_counts_are_the_nearest_to_the_exact_profile(largest, n_classes, ratio):
    counts = exponential_counts(largest, n_classes, ratio)
    steps = max(1, n_classes - 1)
    for i, count in enumerate(counts.tolist()):
        exact = Fraction(largest) ** steps / Fraction(ratio) ** i  # the count's (c-1)-th power: no roots, no floats
        assert exact <= Fraction(2 * count + 1, 2) ** steps
        assert count == 1 or exact >= Fraction(2 * count - 1, 2) ** steps
    assert counts.dtype == np.int64
    if largest % ratio == 0 and n_classes > 1:
        assert counts[0] == ratio * counts[-1]


def test_the_counts_of_the_usual_benchmark():
    """CIFAR-100-LT: 500 images, 100 classes, ratio 100 gives 10,847 images."""
    counts = exponential_counts(500, 100, 100)
    assert (counts[0], counts[-1]) == (500, 5)
    assert abs(int(counts.sum()) - 10_847) <= 100  # the published code cuts where we round


@pytest.mark.parametrize(
    ("largest", "n_classes", "ratio"), [(0, 3, 2), (5, 0, 2), (5, 3, 0.5), (5, 3, float("nan")), (5, 3, float("inf"))]
)
def test_impossible_profiles_are_refused(largest, n_classes, ratio):
    with pytest.raises(InputError, match="long tail of"):
        exponential_counts(largest, n_classes, ratio)


@pytest.fixture
def labels():
    return np.random.default_rng(0).permutation(np.repeat(np.arange(6), 120))


def test_a_subset_has_the_profile_in_the_order_given(labels):
    order = [3, 0, 5, 1, 4, 2]
    positions = long_tail_subset(labels, 6, imbalance_ratio=50, seed=0, largest=100, order=order)
    assert np.bincount(labels[positions])[order].tolist() == exponential_counts(100, 6, 50).tolist()
    assert (np.diff(positions) > 0).all()
    assert np.bincount(labels[positions])[3] == 50 * np.bincount(labels[positions])[2]


def test_the_seed_draws_order_and_samples(labels):
    first, same, other = (long_tail_subset(labels, 6, imbalance_ratio=10, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert len(other) == len(first) == exponential_counts(120, 6, 10).sum()
    orders = {
        tuple(np.argsort(-np.bincount(labels[long_tail_subset(labels, 6, imbalance_ratio=10, seed=seed)])).tolist())
        for seed in range(10)
    }
    assert len(orders) > 5


def test_a_steeper_tail_is_a_subset_of_a_flatter_one(labels):
    flat, steep = (set(long_tail_subset(labels, 6, imbalance_ratio=r, seed=4).tolist()) for r in (5, 60))
    assert steep < flat


def test_the_largest_count_is_by_default_the_most_that_fits():
    available, order = np.array([40, 9, 100, 3]), [2, 0, 1, 3]
    labels = np.repeat(np.arange(4), available)
    fitting = max(n for n in range(1, 101) if (exponential_counts(n, 4, 20) <= available[order]).all())
    positions = long_tail_subset(labels, 4, imbalance_ratio=20, seed=0, order=order)
    assert np.bincount(labels[positions])[2] == fitting
    with pytest.raises(
        InputError, match=rf"class ship has 9 samples where 14 are wanted; .* largest may have {fitting}"
    ):
        long_tail_subset(
            labels, 4, imbalance_ratio=20, seed=0, largest=100, order=order, classes=("plane", "ship", "car", "road")
        )


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([0, 0, 2], {}, "class 1 has no sample"),
        ([0, 1, 2], {"classes": ("a", "b")}, "not of 3 classes"),
        ([0, 1, 3], {}, "not of 3 classes"),
        ([0, 1, -1], {}, "not of 3 classes"),
        ([], {}, "not of 3 classes"),
        ([0, 1, 2], {"order": [0, 1]}, r"order \[0, 1\]; give each of 3 classes one place"),
    ],
)
def test_labels_and_orders_that_do_not_fit_are_refused(labels, options, message):
    with pytest.raises(InputError, match=message):
        long_tail_subset(np.array(labels, int), 3, imbalance_ratio=2, seed=0, **options)


def by_loop(counts, shares):
    """Rank each class by counting those before it."""
    c = len(counts)
    ends = [int(c * share + 0.5) for share in (shares[0], shares[0] + shares[1])]
    groups = {"head": [], "middle": [], "tail": []}
    for one in range(c):
        rank = sum(counts[k] > counts[one] or (counts[k] == counts[one] and k < one) for k in range(c))
        groups["head" if rank < ends[0] else "middle" if rank < ends[1] else "tail"].append(one)
    return groups


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=20), st.sampled_from([(0.25, 0.5, 0.25), (0.5, 0, 0.5), (0, 0, 1)])
)
def test_groups_by_rank_are_those_of_counting(counts, shares):
    groups = class_groups(np.array(counts), GroupRule(shares=shares))
    assert {name: group.tolist() for name, group in groups.items()} == by_loop(counts, shares)


@pytest.mark.parametrize(
    ("n", "sizes"), [(2, (1, 0, 1)), (3, (1, 1, 1)), (10, (3, 4, 3)), (15, (5, 5, 5)), (30, (10, 10, 10))]
)
def test_thirds_are_the_default(n, sizes):
    groups = class_groups(np.full(n, 7))
    assert tuple(map(len, groups.values())) == sizes
    np.testing.assert_array_equal(np.concatenate(list(groups.values())), np.arange(n))  # ties by class order


def test_groups_by_counts_leave_the_limits_to_the_middle():
    groups = class_groups(np.array([101, 100, 20, 19, 0]), GroupRule(by="counts"))
    assert [group.tolist() for group in groups.values()] == [[0], [1, 2], [3, 4]]


def test_groups_by_names_are_found_however_the_words_are_joined():
    classes = ("Storage Tank", "ship", "soccer_ball_field")
    groups = class_groups(np.zeros(3), DOTA_GROUPS, classes=classes)
    assert [group.tolist() for group in groups.values()] == [[1], [0], [2]]
    with pytest.raises(InputError, match="'ships'; did you mean 'ship'"):
        class_groups(np.zeros(1), DOTA_GROUPS, classes=("ships",))
    with pytest.raises(InputError, match="not a name for each of 2 classes"):
        class_groups(np.zeros(2), DOTA_GROUPS)


def test_dota_has_fifteen_classes():
    assert [len(group) for group in DOTA_GROUPS.named()] == [4, 5, 6]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"by": "count"}, "'by': input should be 'rank', 'counts' or 'names'"),
        ({"haed": 3}, "did you mean 'head'"),
        ({"head": 3}, "by: rank wants shares; too many or missing: head"),
        ({"by": "names", "head": ["a"]}, "too many or missing: tail"),
        ({"by": "names", "head": ["a b"], "tail": ["A-b"]}, "listed twice: a-b"),
        ({"by": "names", "head": 3, "tail": 4}, "lists of classes by names"),
        ({"by": "counts", "head": ["a"], "tail": 4}, "numbers of images by counts"),
        ({"by": "counts", "head": 10}, "head wants at least tail"),
        ({"shares": [0.5, 0.5, 0.5]}, "three shares of 1"),
    ],
)
def test_rules_that_make_no_sense_are_refused(values, message):
    with pytest.raises(InputError) as caught:
        parse(GroupRule, values)
    assert message in str(caught.value)


@pytest.mark.parametrize("rule", [GroupRule(), GroupRule(by="counts", tail=3), DOTA_GROUPS])
def test_a_rule_survives_its_own_recipe(rule):
    assert parse(GroupRule, rule.model_dump(mode="json")) == rule
