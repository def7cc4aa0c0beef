import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eotune.core.errors import InputError
from eotune.selection.quotas import highest, quotas, share, total_kept

RULES = ("proportional", "square_root", "equal")


@st.composite
def clusters(draw):
    sizes = draw(st.lists(st.integers(0, 50), min_size=1, max_size=8))
    return sizes, [draw(st.integers(0, size)) for size in sizes], draw(st.integers(0, 2 * sum(sizes) + 1))


@given(clusters(), st.sampled_from(RULES))
@settings(deadline=None)
def test_they_sum_exactly_and_respect_the_caps(case, rule):
    sizes, available, total = case
    result = quotas(sizes, total, available, rule)
    assert result.sum() == min(total, sum(available))
    assert (result >= 0).all()
    assert (result <= available).all()


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=6).filter(any), st.fractions(0, 1))
@settings(deadline=None)
def test_without_caps_they_are_hamiltons_apportionment(sizes, part):
    total = math.floor(part * sum(sizes))
    ideal = [Fraction(size * total, sum(sizes)) for size in sizes]
    expected = [math.floor(value) for value in ideal]
    order = sorted(range(len(sizes)), key=lambda i: (-(ideal[i] - expected[i]), i))
    for i in order[: total - sum(expected)]:
        expected[i] += 1
    assert quotas(sizes, total).tolist() == expected


@given(clusters(), st.sampled_from(RULES))
@settings(deadline=None)
def test_open_clusters_differ_from_their_share_by_less_than_one(case, rule):
    sizes, available, total = case
    result = quotas(sizes, total, available, rule)
    open_ = [i for i in range(len(sizes)) if result[i] < available[i]]
    weight = {"proportional": float, "square_root": math.sqrt, "equal": lambda size: float(size > 0)}[rule]
    whole = sum(weight(sizes[i]) for i in open_)
    left = sum(int(result[i]) for i in open_)
    for i in open_:
        # Clusters that are full by their own share may keep one place that rounding gives to the others.
        assert abs(result[i] - left * weight(sizes[i]) / whole) < 2


def test_rules():
    assert quotas([100, 4, 1], 13, rule="square_root").tolist() == [10, 2, 1]
    assert quotas([100, 4, 0], 4, rule="equal").tolist() == [2, 2, 0]
    assert quotas([5, 5, 5], 2).tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("sizes", "total", "available"), [([1, -1], 1, None), ([1, 2], 1, [2, 2]), ([1, 2], 1, [1]), ([3], -1, None)]
)
def test_wrong_sizes_are_refused(sizes, total, available):
    with pytest.raises(InputError, match="quotas need"):
        quotas(sizes, total, available)


_WRONG = [0, -0.1, 1.5, "1/0", "a third", float("nan"), "inf", "", None, "1e-999999999", "1e999999999"]


@pytest.mark.parametrize("keep", _WRONG)
def test_wrong_shares_are_refused(keep):
    with pytest.raises(InputError, match="keep must be above 0 and at most 1"):
        share(keep)


def test_totals_are_exact():
    assert total_kept("1/3", 318_000) == 106_000
    assert [total_kept(0.1, n) for n in (9, 10, 30)] == [0, 1, 3]
    assert total_kept(1, 7) == 7


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 1.0, 2.0, math.nan]), st.integers(-1, 3)), min_size=1, max_size=25
    ).flatmap(lambda rows: st.tuples(st.just(rows), st.permutations(range(len(rows))))),
    st.data(),
)
@settings(deadline=None)
def test_highest_equals_sorting_each_group(case, data):
    rows, ranks = case
    scores, groups = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    quota = [data.draw(st.integers(0, int((groups == group).sum()))) for group in range(4)]
    expected = np.zeros(len(rows), bool)
    for group in range(4):
        members = [i for i in range(len(rows)) if groups[i] == group]
        members.sort(key=lambda i: (math.isnan(scores[i]), -scores[i] if scores[i] == scores[i] else 0, ranks[i]))
        expected[members[: quota[group]]] = True
    assert highest(scores, groups, ranks, quota).tolist() == expected.tolist()
