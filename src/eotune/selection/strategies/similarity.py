"""Image-text similarity: keep the pairs that agree most (CLIP score, arXiv 2104.08718)."""

from eotune.selection.strategies.base import Quota
from eotune.selection.strategies.columns import ColumnConfig, ColumnStrategy


class SimilarityConfig(ColumnConfig):
    """The usual filter: the highest of all samples, whatever their cluster."""

    quota: Quota = "global"


class Strategy(ColumnStrategy):
    """Score ``cos(image, text)`` of a dual encoder."""

    Config = SimilarityConfig
    column = "similarity"
