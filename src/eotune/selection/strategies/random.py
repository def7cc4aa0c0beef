"""Random: what every other strategy has to beat."""

from typing import ClassVar

import numpy as np

from eotune.core.seeds import generator
from eotune.selection.result import Columns
from eotune.selection.strategies.base import Quota, QuotaConfig, ScoredStrategy, Scores


class RandomConfig(QuotaConfig):
    """Every subset is equally likely."""

    quota: Quota = "global"


class Strategy(ScoredStrategy):
    """Score: a uniform number, drawn for a sample's place in the order of ids."""

    Config: ClassVar[type[QuotaConfig]] = RandomConfig

    def scores(self, columns: Columns, seed: int) -> Scores:
        """Return a random order."""
        drawn: Scores = generator("random", seed).permutation(len(columns.ranks)).astype(np.float32)
        return drawn[columns.ranks]
