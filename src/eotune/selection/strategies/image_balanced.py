"""Image-balanced random: one sample of every image before a second of any."""

from typing import ClassVar

import numpy as np

from eotune.selection.result import Columns
from eotune.selection.strategies import random
from eotune.selection.strategies.base import QuotaConfig, Scores
from eotune.selection.vectors import Integers


class Strategy(random.Strategy):
    """Score: place from the last in the order of a sample's turn among those of its image, and at random within a turn.

    Samples without an image are all in the first turn.
    """

    Config: ClassVar[type[QuotaConfig]] = random.RandomConfig

    @property
    def needs(self) -> frozenset[str]:
        """The images, and the clusters unless the quota is global."""
        return super().needs | {"images"}

    def scores(self, columns: Columns, seed: int) -> Scores:
        """Return n for the first choice, down to 1; NaN where a sample is not available."""
        score = np.full(len(columns.ranks), np.nan, np.float32)
        rows = np.flatnonzero(columns.available)
        drawn = super().scores(columns, seed)[rows]
        turn = _turns(np.asarray(columns.images)[rows], drawn)
        score[rows[np.lexsort((drawn, turn))]] = np.arange(len(rows), 0, -1, dtype=np.float32)
        return score


def _turns(images: Integers, drawn: Scores) -> Integers:
    """Return how many samples of its image come before each; 0 for all that have none (-1)."""
    order = np.lexsort((drawn, images))
    new = np.diff(images[order], prepend=-2) != 0
    starts = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
    turn = np.empty(len(order), np.int64)
    turn[order] = np.arange(len(order)) - starts
    turn[images < 0] = 0
    return turn
