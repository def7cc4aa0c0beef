"""Stratified random: as many samples of every cluster as its quota, drawn at random."""

from eotune.selection.strategies import random
from eotune.selection.strategies.base import Quota, QuotaConfig


class StratifiedConfig(QuotaConfig):
    """Clusters in proportion to their size."""

    quota: Quota = "proportional"


class Strategy(random.Strategy):
    """Scores as of ``random``, quotas by cluster."""

    Config = StratifiedConfig
