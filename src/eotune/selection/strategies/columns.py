"""Strategies whose score is a column that a model filled."""

from typing import ClassVar, Literal

import numpy as np

from eotune.selection.result import Columns
from eotune.selection.strategies.base import QuotaConfig, ScoredStrategy, Scores


class ColumnConfig(QuotaConfig):
    """The configuration of strategies that go by one column.

    Attributes:
        prefer: Which values stay: the highest, the lowest, or those in the middle of the ranking.
    """

    prefer: Literal["highest", "middle", "lowest"] = "highest"


class ColumnStrategy(ScoredStrategy):
    """A strategy that goes by one column, named in ``column``."""

    column: ClassVar[str]
    config: ColumnConfig

    @property
    def needs(self) -> frozenset[str]:
        """The column, and the clusters unless the quota is global."""
        return super().needs | {self.column}

    def scores(self, columns: Columns, seed: int) -> Scores:  # noqa: ARG002 - nothing is drawn
        """Return the column's values, turned so that the preferred ones are high."""
        values = np.asarray(getattr(columns, self.column), np.float32)
        if self.config.prefer == "highest":
            return values
        if self.config.prefer == "lowest":
            return -values
        return _towards_the_middle(values, columns)


def _towards_the_middle(values: Scores, columns: Columns) -> Scores:
    """Return 0 for the median of the available values, down to -0.5 for the extremes; equal values go by id."""
    open_ = np.flatnonzero(columns.available & ~np.isnan(values))
    order = open_[np.lexsort((columns.ranks[open_], values[open_]))]
    scores = np.full(len(values), np.nan, np.float32)
    scores[order] = -np.abs((np.arange(len(order)) + 0.5) / max(1, len(order)) - 0.5)
    return scores
