"""k-center: greedily the sample farthest from all that are picked, so that every sample has one nearby.

The farthest-first traversal of Gonzalez (1985), within twice of the best possible radius; as core-set selection in
arXiv 1708.00489.
"""

import numpy as np

from eotune.selection.strategies.base import Scores
from eotune.selection.strategies.pairwise import QuotaGreedyStrategy, QuotaPairwiseConfig
from eotune.selection.vectors import Floats, Integers


class KCenterConfig(QuotaPairwiseConfig):
    """The start is the sample nearest to the mean of its part."""


class Strategy(QuotaGreedyStrategy):
    """Score: squared distance to the nearest sample picked before, of unit vectors; 4, the most, for the first."""

    Config = KCenterConfig
    config: KCenterConfig

    def pick(self, units: Floats, count: int) -> tuple[Integers, Scores]:
        """Pick the farthest, again and again."""
        picked = np.empty(count, np.int64)
        score = np.full(len(units), 4, np.float32)
        if not count:
            return picked, score
        # All distances at once: a pick is then a pass over one row of them instead of over the vectors.
        distances = np.maximum(2 - 2 * (units @ units.T), 0)
        left = score.copy()
        best = int((units @ units.mean(axis=0)).argmax())
        for number in range(count):
            picked[number], score[best] = best, left[best]
            np.minimum(left, distances[best], out=left)
            left[best] = -1  # below every other, so never again
            best = int(left.argmax())
        others = np.setdiff1d(np.arange(len(units)), picked)
        score[others] = left[others]
        return picked, score
