import numpy as np
import pytest
from scipy import stats

from eotune.core.errors import InputError
from eotune.core.seeds import generator
from eotune.metrics.intervals import bootstrap_ratios, paired_difference, percentile_interval, seed_interval


def test_resamples_equal_loops() -> None:
    random = np.random.default_rng(0)
    sums, sizes = random.random((9, 2)), random.integers(1, 5, (9, 2))
    result = bootstrap_ratios(sums, sizes, resamples=150, seed=3)
    again = generator(3, "bootstrap", 9)
    for start in range(0, 150, 64):
        for row, drawn in enumerate(again.integers(9, size=(min(64, 150 - start), 9))):
            for column in range(2):
                top = sum(sums[i, column] for i in drawn)
                bottom = sum(sizes[i, column] for i in drawn)
                assert result[start + row, column] == pytest.approx(top / bottom)


def test_the_spread_is_that_of_a_proportion() -> None:
    hits = (np.arange(400) % 4 == 0).astype(float)[:, None]
    samples = bootstrap_ratios(hits, np.ones((400, 1)), resamples=4000)
    assert samples.mean() == pytest.approx(0.25, abs=0.005)
    assert samples.std() == pytest.approx(np.sqrt(0.25 * 0.75 / 400), rel=0.05)


def test_groups_are_drawn_whole() -> None:
    # Five captions that succeed or fail together are one observation, not five.
    hits = (np.arange(200) % 2).astype(float)[:, None]
    together = bootstrap_ratios(5 * hits, np.full((200, 1), 5), resamples=2000).std()
    apart = bootstrap_ratios(np.repeat(hits, 5, axis=0), np.ones((1000, 1)), resamples=2000).std()
    assert together == pytest.approx(np.sqrt(5) * apart, rel=0.1)


def test_the_same_seed_draws_the_same_and_more_resamples_begin_alike() -> None:
    sums, sizes = np.random.default_rng(0).random((20, 1)), np.ones((20, 1))
    first = bootstrap_ratios(sums, sizes, resamples=64, seed=1)
    assert np.array_equal(first, bootstrap_ratios(sums, sizes, resamples=128, seed=1)[:64])
    assert not np.array_equal(first, bootstrap_ratios(sums, sizes, resamples=64, seed=2))


def test_nothing_to_resample_is_refused() -> None:
    with pytest.raises(InputError, match="0 groups"):
        bootstrap_ratios(np.zeros((0, 1)), np.zeros((0, 1)))
    with pytest.raises(InputError, match="0 resamples"):
        bootstrap_ratios(np.ones((3, 1)), np.ones((3, 1)), resamples=0)


def test_percentiles_hold_the_middle() -> None:
    samples = np.random.default_rng(0).normal(size=100_000)
    low, high = percentile_interval(samples)
    assert low == pytest.approx(-1.96, abs=0.03)
    assert high == pytest.approx(1.96, abs=0.03)


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("n", [2, 3, 10])
def test_seed_interval_equals_scipy(n, confidence) -> None:
    values = np.random.default_rng(n).normal(30, 2, n)
    estimate = seed_interval(values.tolist(), confidence=confidence)
    low, high = stats.t.interval(confidence, n - 1, loc=values.mean(), scale=stats.sem(values))
    assert (estimate.low, estimate.high) == pytest.approx((low, high))
    assert estimate.mean == pytest.approx(values.mean())
    assert estimate.n == n


def test_paired_differences_cancel_what_seeds_share() -> None:
    luck = np.random.default_rng(0).normal(0, 5, 5)
    noise = np.random.default_rng(1).normal(0, 0.1, 5)
    estimate = paired_difference((31 + luck).tolist(), (30 + luck + noise).tolist())
    assert 0.5 < estimate.low < estimate.mean < estimate.high < 1.5
    low, high = stats.t.interval(0.95, 4, loc=(1 - noise).mean(), scale=stats.sem(noise))
    assert (estimate.low, estimate.high) == pytest.approx((low, high))


def test_too_few_or_unpaired_values_are_refused() -> None:
    with pytest.raises(InputError, match="at least two values; got 1; run more seeds"):
        seed_interval([1.0])
    with pytest.raises(InputError, match="got 2 and 3 values"):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])
