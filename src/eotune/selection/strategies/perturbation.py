"""Perturbation: keep what word deletion moves farthest, cluster by cluster (arXiv 2409.13345)."""

from eotune.selection.strategies.columns import ColumnConfig, ColumnStrategy


class PerturbationConfig(ColumnConfig):
    """The source's: the largest distances, clusters in proportion to their size."""


class Strategy(ColumnStrategy):
    """Score ``|f(image, text) - f(image, text without n words)|``; `eotune.selection.perturb` deletes the words."""

    Config = PerturbationConfig
    column = "perturbation"
