"""Strategies whose score is a column that a model filled."""

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from eotune.selection.result import Columns
from eotune.selection.strategies.base import QuotaConfig, ScoredStrategy, Scores


class ColumnConfig(QuotaConfig):
    """The configuration of strategies that go by one column.

    Attributes:
        prefer: Which values stay: the highest, the lowest, or those in the middle of the ranking
            of their cluster, of all samples where the quota is global.
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
        groups = None if self.config.quota == "global" else columns.clusters
        return _towards_the_middle(values, np.zeros(len(values), np.int64) if groups is None else groups, columns)


def _towards_the_middle(values: Scores, groups: NDArray[np.integer], columns: Columns) -> Scores:
    """Return 0 for the median of a group's available values, down to -0.5 for its extremes; equal values go by id."""
    open_ = np.flatnonzero(columns.available & ~np.isnan(values))
    order = open_[np.lexsort((columns.ranks[open_], values[open_], groups[open_]))]
    _, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(starts, sizes)
    scores = np.full(len(values), np.nan, np.float32)
    scores[order] = -np.abs((place + 0.5) / np.repeat(sizes, sizes) - 0.5)
    return scores
