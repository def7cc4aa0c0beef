"""Strategies that compare all pairs within a cluster, or within parts of a large one."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import cast

import numpy as np
from pydantic import Field

from eotune.selection.parts import parts
from eotune.selection.quotas import Rule, quotas
from eotune.selection.result import Columns, SelectionResult
from eotune.selection.strategies.base import Scores, Strategy, StrategyConfig, cluster_quotas, explained
from eotune.selection.vectors import Floats, Integers, Vectors, members, read_units


class PairwiseConfig(StrategyConfig):
    """The configuration of strategies that compare pairs.

    Attributes:
        part: Larger clusters are cut into parts of neighbours of at most this size, each with its share of the quota.
            Memory of a part: 4 bytes for each of its pairs, twice.
    """

    part: int = Field(default=4096, ge=1, le=32_768)


class QuotaPairwiseConfig(PairwiseConfig):
    """Likewise, with a quota for every cluster.

    Attributes:
        quota: A cluster's share: proportional to its size, to the size's square root, or equal.
    """

    quota: Rule = "proportional"


def cluster_parts(columns: Columns, size: int) -> Iterator[tuple[int, list[Integers]]]:
    """Yield every cluster and its available rows, in parts of at most ``size``, each in the order of ids."""
    if columns.text_embeddings is None or columns.clusters is None:
        return  # `Strategy.choose` refuses that
    for cluster, rows in members(columns.clusters, columns.available):
        yield cluster, list(parts(columns.text_embeddings, rows[np.argsort(columns.ranks[rows])], size))


def part_units(columns: Columns, part: Integers) -> Floats:
    """Return the unit vectors of a part."""
    return read_units(cast("Vectors", columns.text_embeddings), part)


class GreedyStrategy(Strategy):
    """A strategy that picks the samples of each part one after the other."""

    config: PairwiseConfig

    @property
    def needs(self) -> frozenset[str]:
        """Embeddings and clusters."""
        return frozenset({"text_embeddings", "clusters"})

    @abstractmethod
    def cluster_quotas(self, columns: Columns, total: int) -> Integers:
        """Return ``(k,)`` how many samples to keep of each cluster."""

    @abstractmethod
    def pick(self, units: Floats, count: int) -> tuple[Integers, Scores]:
        """Pick ``count`` of the rows of a part.

        Args:
            units: ``(p, d)`` in the order of ids: of equal candidates the first is taken.
            count: At most p.

        Returns:
            The rows picked, and ``(p,)`` scores of all.
        """

    def _choose(self, columns: Columns, total: int, seed: int) -> SelectionResult:  # noqa: ARG002 - nothing is drawn
        kept = np.zeros(len(columns.ranks), bool)
        score = np.full(len(columns.ranks), np.nan, np.float32)
        quota = self.cluster_quotas(columns, total)
        for cluster, of_cluster in cluster_parts(columns, self.config.part):
            counts = quotas([len(part) for part in of_cluster], int(quota[cluster]))
            for part, count in zip(of_cluster, counts, strict=True):
                picked, score[part] = self.pick(part_units(columns, part), int(count))
                kept[part[picked]] = True
        return explained(columns, kept, score)


class QuotaGreedyStrategy(GreedyStrategy):
    """A greedy strategy with the usual quotas."""

    config: QuotaPairwiseConfig

    def cluster_quotas(self, columns: Columns, total: int) -> Integers:
        """Return the quotas by cluster size."""
        clusters = np.asarray(columns.clusters)
        return cluster_quotas(clusters, columns.available, total, self.config.quota)
