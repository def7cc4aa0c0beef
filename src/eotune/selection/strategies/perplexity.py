"""Perplexity, or instruction-following difficulty where the column holds that ratio (IFD, arXiv 2308.12032)."""

import numpy as np

from eotune.selection.result import Columns
from eotune.selection.strategies.base import Quota, Scores
from eotune.selection.strategies.columns import ColumnConfig, ColumnStrategy


class PerplexityConfig(ColumnConfig):
    """The source's for IFD; for plain perplexity, the middle without a limit is usual (arXiv 2309.04564).

    Attributes:
        limit: Values from here on come after all others: with an IFD of 1 or more, the instruction did not help the
            model to the answer, which is a sign that they do not belong together.
    """

    quota: Quota = "global"
    limit: float | None = 1.0


class Strategy(ColumnStrategy):
    """Score ``IFD = L(answer | instruction) / L(answer)``, or perplexity."""

    Config = PerplexityConfig
    column = "perplexity"
    config: PerplexityConfig

    def scores(self, columns: Columns, seed: int) -> Scores:
        """Return the values, turned so that the preferred ones are high and those over the limit last."""
        scores = super().scores(columns, seed)
        limit = self.config.limit
        if limit is None:
            return scores
        over = np.asarray(columns.perplexity) >= limit
        # Below every other, in their own order.
        spread = np.float32(np.nanmax(scores, initial=0) - np.nanmin(scores, initial=0) + 1)
        return np.where(over, scores - spread, scores).astype(np.float32)
