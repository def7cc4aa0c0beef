"""A metric over the seeds of one recipe, with the interval that so many runs can have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from eotune.metrics.intervals import seed_interval

Source = Literal["seeds", "images"]


@dataclass(frozen=True)
class Average:
    """A mean over runs.

    Attributes:
        value: The mean.
        low: Lower end of the 95 % interval; None where there is none.
        high: Upper end.
        n: Number of runs.
        over: What the interval is about: ``seeds`` (Student's t) or, for a single run, ``images`` (bootstrap).
    """

    value: float
    low: float | None
    high: float | None
    n: int
    over: Source | None

    @property
    def interval(self) -> str:
        """The interval as text; empty where there is none."""
        return "" if self.low is None or self.high is None else f"[{self.low:.2f}, {self.high:.2f}]"


def average(rows: Sequence[Mapping[str, Any]]) -> Average:
    """Average rows of metrics.json of one metric, one row a run, at least one.

    Example:
        >>> average([{"value": 2.0, "low": 1.0, "high": 3.0}])
        Average(value=2.0, low=1.0, high=3.0, n=1, over='images')
        >>> average([{"value": 1.0}, {"value": 2.0}, {"value": 3.0}]).interval
        '[-0.48, 4.48]'
    """
    if len(rows) > 1:
        estimate = seed_interval([float(row["value"]) for row in rows])
        return Average(estimate.mean, estimate.low, estimate.high, estimate.n, "seeds")
    row = rows[0]
    low, high = row.get("low"), row.get("high")
    return Average(float(row["value"]), low, high, 1, None if low is None else "images")
