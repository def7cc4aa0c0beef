"""How far a figure can be trusted: bootstrap over what was measured, t-intervals over seeds."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from eotune.core.errors import InputError
from eotune.core.seeds import generator

_RESAMPLES_AT_ONCE = 64  # fixed: bounds memory, and no setting may change what is drawn
_KEPT_NUMBERS = 2**25  # of a test set whose draws are kept, a byte each


def bootstrap_ratios(sums: np.ndarray, sizes: np.ndarray, *, resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """Resample groups with replacement and return the ratio of sums in each resample (Efron, 1979).

    A group (an image with its captions) is drawn whole. The draws depend on n and the seed only: two runs over the
    same groups see the same resamples, so that their differences are paired.

    Args:
        sums: ``(n, c)``: what each group adds to each of c numerators.
        sizes: ``(n, c)``: what it adds to the denominators.
        resamples: Number b of resamples.
        seed: Of the draws.

    Returns:
        ``(b, c)``.

    Raises:
        InputError: There is no group, or no resample.

    Example:
        >>> bootstrap_ratios(np.ones((5, 1)), np.full((5, 1), 2), resamples=3).ravel().tolist()
        [0.5, 0.5, 0.5]
    """
    n, columns = sums.shape
    if n == 0 or resamples < 1:
        raise InputError(f"a bootstrap needs groups and resamples; got {n} groups and {resamples} resamples")
    both = np.concatenate([sums, sizes], axis=1).astype(np.float64)
    few = n * resamples <= _KEPT_NUMBERS
    result = np.empty((resamples, columns))
    start = 0
    for weights in _kept_weights(n, resamples, seed) if few else _weights(n, resamples, seed):
        stop = start + len(weights)
        totals = weights.astype(np.float64) @ both
        result[start:stop] = totals[:, :columns] / totals[:, columns:]
        start = stop
    return result


def _weights(n: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each of n groups is drawn, ``(b, n)``, some resamples at a time."""
    random = generator(seed, "bootstrap", n)
    for start in range(0, resamples, _RESAMPLES_AT_ONCE):
        count = min(_RESAMPLES_AT_ONCE, resamples - start)
        drawn = random.integers(n, size=(count, n)) + np.arange(count)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n)


@functools.lru_cache(maxsize=2)
def _kept_weights(n: int, resamples: int, seed: int) -> tuple[np.ndarray, ...]:
    """Return the same, kept: models are mostly compared on one test set, and drawing takes longer than the rest."""
    return tuple(weights.astype(np.min_scalar_type(weights.max())) for weights in _weights(n, resamples, seed))


def percentile_interval(samples: np.ndarray, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval that holds the middle ``confidence`` of ``samples`` ``(b,)``.

    Example:
        >>> percentile_interval(np.arange(101.0), confidence=0.5)
        (25.0, 75.0)
    """
    tail = (1 - confidence) / 2
    low, high = np.quantile(samples, [tail, 1 - tail])
    return float(low), float(high)


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval.

    Attributes:
        mean: The mean.
        low: Lower end.
        high: Upper end.
        n: Number of seeds.
    """

    mean: float
    low: float
    high: float
    n: int


def seed_interval(values: Sequence[float], *, confidence: float = 0.95) -> Estimate:
    """Return the mean over seeds with Student's t-interval.

    Args:
        values: One figure a seed, at least two.
        confidence: Coverage of the interval.

    Raises:
        InputError: There are fewer than two values: one seed tells nothing about the spread.

    Example:
        >>> estimate = seed_interval([1.0, 2.0, 3.0])
        >>> round(estimate.low, 2), estimate.mean, round(estimate.high, 2)
        (-0.48, 2.0, 4.48)
    """
    from scipy.special import stdtrit

    n = len(values)
    if n < 2:
        raise InputError(f"an interval over seeds needs at least two values; got {n}", remedy="run more seeds")
    mean = float(np.mean(values))
    quantile = float(stdtrit(n - 1, (1 + confidence) / 2))
    half = quantile * float(np.std(values, ddof=1)) / float(np.sqrt(n))
    return Estimate(mean, mean - half, mean + half, n)


def paired_difference(first: Sequence[float], second: Sequence[float], *, confidence: float = 0.95) -> Estimate:
    """Return the mean of ``first - second`` over seeds with Student's t-interval.

    Pairs by seed share data order and initialisation, so their common luck cancels: the interval is usually far
    narrower than those of the two means suggest.

    Args:
        first: One figure a seed.
        second: The other method's figures, for the same seeds in the same order.
        confidence: Coverage of the interval.

    Raises:
        InputError: The lengths differ, or there are fewer than two pairs.

    Example:
        >>> paired_difference([3.0, 5.0], [2.0, 4.0])
        Estimate(mean=1.0, low=1.0, high=1.0, n=2)
    """
    if len(first) != len(second):
        raise InputError(f"paired figures must be of the same seeds; got {len(first)} and {len(second)} values")
    return seed_interval([a - b for a, b in zip(first, second, strict=True)], confidence=confidence)
