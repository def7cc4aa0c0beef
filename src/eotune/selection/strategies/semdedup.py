"""Semantic deduplication: drop what resembles another sample of its cluster most (SemDeDup, arXiv 2303.09540)."""

from typing import Literal

import numpy as np

from eotune.selection.result import Columns
from eotune.selection.strategies.base import Quota, QuotaConfig, ScoredStrategy, Scores
from eotune.selection.strategies.pairwise import PairwiseConfig, cluster_parts, part_units
from eotune.selection.vectors import Floats


class SemDeDupConfig(PairwiseConfig, QuotaConfig):
    """The source's: one threshold for all clusters, here the one that leaves the total.

    Attributes:
        keep: Of two similar samples, the one that is farther from the centre of its part ("hard") or nearer ("easy").
    """

    quota: Quota = "global"
    keep: Literal["hard", "easy"] = "hard"


class Strategy(ScoredStrategy):
    """Score: less the largest cosine to a sample that goes before it in this order; 1, the most, for the first."""

    Config = SemDeDupConfig
    config: SemDeDupConfig

    @property
    def needs(self) -> frozenset[str]:
        """Embeddings and clusters, and the images where they take turns."""
        return super().needs | {"text_embeddings", "clusters"}

    def scores(self, columns: Columns, seed: int) -> Scores:  # noqa: ARG002 - nothing is drawn
        """Return the scores of the available samples."""
        score = np.full(len(columns.ranks), np.nan, np.float32)
        for _, of_cluster in cluster_parts(columns, self.config.part):
            for part in of_cluster:
                score[part] = self._part_scores(part_units(columns, part))
        return score

    def _part_scores(self, units: Floats) -> Scores:
        nearness = np.round(
            units @ units.mean(axis=0), 5
        )  # of two samples, say, both are as near: the first id goes first
        order = np.argsort(nearness if self.config.keep == "hard" else -nearness, kind="stable")
        cosines = units[order] @ units[order].T
        cosines[np.triu_indices(len(units))] = -1  # only what goes before
        score = np.empty(len(units), np.float32)
        score[order] = -cosines.max(axis=1)
        return score
