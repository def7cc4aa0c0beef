"""Representative: few of dense clusters, and in each the samples that stand for all (COINCIDE, arXiv 2406.10995)."""

from typing import cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from eotune.selection.clusters import sample_rows
from eotune.selection.quotas import apportion
from eotune.selection.result import Columns
from eotune.selection.strategies.base import Scores
from eotune.selection.strategies.pairwise import GreedyStrategy, PairwiseConfig, part_units
from eotune.selection.vectors import BLOCK, Floats, Integers, Vectors, blocks, members

_SAMPLE = 4096  # rows of a cluster that its density is computed from


class RepresentativeConfig(PairwiseConfig):
    """The source's settings, which go with thousands of clusters.

    Attributes:
        temperature: tau; the larger, the more equal the clusters' shares.
        same: Centres with a larger cosine count as one concept, and not towards each other's transferability.
    """

    temperature: float = Field(default=0.1, gt=0)
    same: float = Field(default=0.9, gt=0, le=1)


class Strategy(GreedyStrategy):
    """Share of cluster i: ``exp(S_i / (tau D_i))``; in it, greedily the least maximum mean discrepancy (MMD).

    S_i is the mean cosine of its centre to the others, D_i the mean kernel ``exp(-|x - y|^2 / 2)`` of its samples. The
    source shares out what is left cluster by cluster, ours all at once. Score: how much more a sample resembles its
    part than those picked.
    """

    Config = RepresentativeConfig
    config: RepresentativeConfig

    def cluster_quotas(self, columns: Columns, total: int) -> Integers:
        """Return the quotas by transferability and density."""
        clusters = np.asarray(columns.clusters)
        count = int(clusters.max(initial=-1)) + 1
        density, centres = np.ones(count), np.zeros((count, cast("Vectors", columns.text_embeddings).shape[1]))
        for cluster, rows in members(clusters, columns.available):
            ordered = rows[np.argsort(columns.ranks[rows])]
            density[cluster] = _kernel(part_units(columns, ordered[sample_rows(len(rows), _SAMPLE, 0)])).mean()
            for part in blocks(len(ordered), BLOCK):
                centres[cluster] += part_units(columns, ordered[part]).sum(axis=0, dtype=np.float64)
        exponent = _transferability(centres, self.config.same) / (self.config.temperature * density)
        available = np.bincount(clusters[columns.available & (clusters >= 0)], minlength=count)
        return apportion(np.exp(exponent - exponent.max(initial=0)), total, available)

    def pick(self, units: Floats, count: int) -> tuple[Integers, Scores]:
        """Pick, again and again, the row after which the picked ones' MMD to the part is least."""
        kernel = _kernel(units)
        wanted = kernel.mean(axis=1, dtype=np.float64)
        to_picked = np.zeros(len(units))
        picked = np.empty(count, np.int64)
        score = wanted.astype(np.float32)
        open_ = np.zeros(len(units))  # infinite where picked
        for number in range(count):
            # MMD^2 with y added to m picked: (2 sum_s k(y, s) + k(y, y)) / (m + 1)^2 - 2 mean_x k(x, y) / (m + 1) and
            # what does not depend on y; k(y, y) = 1 does not either.
            best = int((to_picked - (number + 1) * wanted + open_).argmin())
            picked[number] = best
            score[best] = wanted[best] - to_picked[best] / max(number, 1)
            open_[best] = np.inf
            to_picked += kernel[best]
        others = open_ == 0
        score[others] = (wanted - to_picked / max(count, 1))[others]
        return picked, score


def _kernel(units: Floats) -> Floats:
    """Return ``exp(-|x - y|^2 / 2)`` of unit vectors."""
    products = units @ units.T
    np.fill_diagonal(products, 1)
    kernel: Floats = np.exp(products - 1)
    return kernel


def _transferability(centres: NDArray[np.float64], same: float) -> NDArray[np.float64]:
    """Return every centre's mean cosine to those that are no more alike than ``same``."""
    lengths = np.linalg.norm(centres, axis=1, keepdims=True)
    units = centres / np.where(lengths > 0, lengths, 1)
    cosines = units @ units.T
    counted = (cosines <= same) & (lengths > 0) & (lengths > 0).T
    return np.where(counted, cosines, 0).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
