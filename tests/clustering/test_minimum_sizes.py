import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.sparse import eye_array, hstack, kron

from eotune.clustering.minimum_sizes import assign, assign_with_minimum_sizes
from eotune.clustering.price_steps import balance
from eotune.clustering.shortest_paths import imbalance
from eotune.core.errors import InputError


def cost_by_linear_program(costs, sizes):
    """The transport problem with least sizes, as it stands in a textbook; its vertices are whole numbers."""
    k, n = costs.shape
    once = hstack([eye_array(n)] * k)
    often = -kron(eye_array(k), np.ones((1, n)))
    solved = linprog(costs.ravel(), A_ub=often, b_ub=-sizes, A_eq=once, b_eq=np.ones(n), bounds=(0, None))
    return solved.fun


def problem(seed):
    random = np.random.default_rng(seed)
    k, n = int(random.integers(2, 9)), int(random.integers(9, 100))
    points = random.standard_normal((n, 3)) + 3 * random.integers(0, 2, (n, 1))
    costs = ((points - random.standard_normal((k, 1, 3))) ** 2).sum(axis=2)
    if seed % 4 == 0:
        costs = costs.round(1)  # many ties
    total = n if seed % 5 == 0 else int(random.integers(0, n + 1))
    return costs, random.multinomial(total, np.ones(k) / k), random


def total(costs, labels):
    return costs[labels, np.arange(len(labels))].sum()


@pytest.mark.parametrize("block", range(4))
def test_two_hundred_problems_cost_what_a_linear_program_says(block):
    for seed in range(50 * block, 50 * block + 50):
        costs, sizes, _ = problem(seed)
        labels, prices = assign_with_minimum_sizes(costs, sizes)
        counts = np.bincount(labels, minlength=len(sizes))
        assert (counts >= sizes).all()
        assert total(costs, labels) == pytest.approx(cost_by_linear_program(costs, sizes), rel=1e-6)
        # The certificate: no point has a cheaper cluster at these prices, and only full clusters have one.
        reduced = costs - prices[:, None]
        np.testing.assert_allclose(reduced[labels, np.arange(len(labels))], reduced.min(axis=0), atol=1e-9)
        assert (prices >= 0).all()
        assert not prices[counts > sizes].any()


@pytest.mark.parametrize("seed", range(60))
def test_small_windows_and_any_guess_of_the_prices_change_nothing(seed):
    costs, sizes, random = problem(seed)
    guess = random.exponential(2, len(sizes)) * random.integers(0, 2, len(sizes))
    labels, _ = assign(costs, sizes, guess, sample=int(random.integers(2, 30)))
    assert (np.bincount(labels, minlength=len(sizes)) >= sizes).all()
    expected, _ = assign_with_minimum_sizes(costs, sizes)
    assert total(costs, labels) == pytest.approx(total(costs, expected), rel=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_thousands_of_points_enter_by_windows_and_the_prices_prove_the_optimum(dtype):
    random = np.random.default_rng(0)
    points = random.standard_normal((40_000, 4)) * [3, 1, 1, 1]
    costs = ((points - random.standard_normal((6, 1, 4))) ** 2).sum(axis=2).astype(dtype)
    sizes = np.full(6, 6000)
    labels, prices = assign(costs, sizes)
    assert (np.bincount(labels, minlength=6) >= sizes).all()
    dual = (costs - prices[:, None]).min(axis=0).sum(dtype=np.float64) + sizes @ prices
    assert total(costs.astype(np.float64), labels) == pytest.approx(dual, rel=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_groups_far_apart_and_sizes_nearly_equal(seed):
    """Between the groups lie no points, so a price has to cross what no density near it tells of."""
    random = np.random.default_rng(seed)
    k, n = 12, 20_000
    shares = np.arange(1, 31) ** -2.0
    groups = random.choice(30, n, p=shares / shares.sum())
    points = random.standard_normal((n, 16)) + 5 * random.standard_normal((30, 16))[groups]
    costs = ((points - points[random.choice(n, k, replace=False), None]) ** 2).sum(axis=2)
    costs, sizes = costs.astype(np.float32 if seed % 2 else np.float64), np.full(k, n // k)
    labels, prices = assign(costs, sizes, sample=(4096, 16384, n)[seed % 3])
    assert (np.bincount(labels, minlength=k) >= sizes).all()
    dual = (costs - prices[:, None]).min(axis=0).sum(dtype=np.float64) + sizes @ prices
    assert total(costs.astype(np.float64), labels) == pytest.approx(dual, rel=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_newton_steps_leave_a_few_points_misplaced(seed):
    random = np.random.default_rng(seed)
    k, n = 8, 5000
    points = random.standard_normal((n, 6)) + 4 * random.standard_normal((20, 6))[random.integers(0, 20, n)]
    costs = ((points - points[:k, None]) ** 2).sum(axis=2)
    sizes, apart = np.full(k, n // (k + seed)), np.full(k, np.inf)
    prices = balance(costs, np.zeros(k, np.int64), sizes, np.zeros(k), -apart, apart)
    counts = np.bincount((costs - prices[:, None]).argmin(axis=0), minlength=k)
    assert np.abs(imbalance(counts, sizes, prices)).sum() <= 4 * k
    assert prices.min() >= 0


def test_equal_points_are_spread_over_equal_centres():
    labels, _ = assign_with_minimum_sizes(np.ones((4, 20)), np.full(4, 5))
    assert np.bincount(labels).tolist() == [5, 5, 5, 5]


@pytest.mark.parametrize("size", [1e-36, 1e-20, 1, 1e18, 1e30])
@pytest.mark.parametrize("k", [1, 5])
def test_costs_of_any_size_and_a_guess_far_off(k, size):
    costs = (np.random.default_rng(0).random((k, 2000)) * size).astype(np.float32)
    for guess in (None, np.arange(1.0, k + 1), size * np.arange(1.0, k + 1)):
        labels, prices = assign_with_minimum_sizes(costs, np.full(k, 2000 // k), guess)
        assert np.bincount(labels).tolist() == [2000 // k] * k
        assert np.isfinite(prices).all()


def test_more_than_256_clusters():
    costs = np.abs(np.arange(300.0)[:, None] - np.arange(0, 300, 0.5))
    labels, _ = assign_with_minimum_sizes(costs, np.full(300, 2))
    assert (np.bincount(labels) == 2).all()


@pytest.mark.parametrize(
    ("costs", "sizes", "message"),
    [
        (np.zeros((2, 3)), [2, 2], "need 4 points; there are 3"),
        (np.zeros((2, 3)), [-1, 2], "at least -1"),
        (np.full((2, 3), np.nan), [1, 1], "NaN"),
        (np.zeros((2, 3)), [1, 1, 1], r"got \(2, 3\) and \(3,\)"),
        (np.zeros(3), [1], "must be"),
        (np.zeros((2, 3)), [0.5, 1.0], "whole numbers"),
    ],
)
def test_wrong_input_is_refused(costs, sizes, message):
    with pytest.raises(InputError, match=message):
        assign_with_minimum_sizes(costs, np.array(sizes))
