"""The first cut: what carries no signal goes before the costly scores are computed."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from eotune.core.config import Config
from eotune.selection.duplicates import exact_duplicates, near_duplicates
from eotune.selection.result import Reason
from eotune.selection.vectors import Integers, Vectors


class FirstCut(Config):
    """How hard the first cut cuts.

    Attributes:
        near_duplicate: Least cosine of two samples of a cluster of which one goes; None keeps both.
        smallest_cluster: A cluster with fewer samples left, once duplicates are gone, goes as a whole; 1 keeps all.
    """

    near_duplicate: float | None = Field(default=0.95, gt=0, le=1)
    smallest_cluster: int = Field(default=2, ge=1)


@dataclass(frozen=True)
class Cut:
    """What the first cut says of n samples.

    Attributes:
        reason: ``(n,)`` numbers of `Reason`; `Reason.KEPT` where the sample goes on.
        stand_in: ``(n,)`` the row that a duplicate is one of; -1 elsewhere.
    """

    reason: NDArray[np.uint8]
    stand_in: Integers

    @property
    def available(self) -> NDArray[np.bool_]:
        """``(n,)`` which samples go on."""
        return self.reason == Reason.KEPT

    def counts(self) -> dict[str, int]:
        """How many samples have each reason, those that none has left out."""
        return {reason.label: count for reason in Reason if (count := int((self.reason == reason).sum()))}


def first_cut(
    clusters: NDArray[np.integer],
    ranks: Integers,
    config: FirstCut,
    *,
    keys: Iterable[Hashable] | None = None,
    vectors: Vectors | None = None,
) -> Cut:
    """Drop unreadable samples, exact and near duplicates, and clusters of which next to nothing is left.

    Args:
        clusters: ``(n,)`` -1 where a sample could not be read.
        ranks: ``(n,)`` order of the ids; the first of a set of duplicates stays.
        config: How hard to cut.
        keys: n of them: samples with the same key are the same; None is the same as nothing.
        vectors: ``(n, d)`` whose cosine says what is nearly the same. Embeddings of the text alone take the same
            question about two images for a duplicate: put both into them where that matters. Without any, nothing is.

    Raises:
        InputError: An embedding holds NaN.

    Example:
        >>> cut = first_cut(np.array([0, 0, 0, 1, -1]), np.arange(5), FirstCut(), keys=["a", "b", "a", "c", "d"])
        >>> cut.counts()
        {'kept': 2, 'unreadable': 1, 'exact-duplicate': 1, 'small-cluster': 1}
    """
    reason = np.full(len(clusters), Reason.KEPT, np.uint8)
    reason[clusters < 0] = Reason.UNREADABLE
    stand_in = np.full(len(clusters), -1, np.int64)
    if keys is not None:
        readable = (None if cluster < 0 else key for key, cluster in zip(keys, clusters, strict=True))
        stand_in = exact_duplicates(readable, ranks)
        reason[stand_in >= 0] = Reason.EXACT_DUPLICATE
    if vectors is not None and config.near_duplicate is not None:
        near = near_duplicates(vectors, clusters, ranks, threshold=config.near_duplicate, which=reason == Reason.KEPT)
        reason[near >= 0] = Reason.NEAR_DUPLICATE
        stand_in = np.where(near >= 0, near, stand_in)
    left = reason == Reason.KEPT
    sizes = np.bincount(clusters[left], minlength=int(clusters.max(initial=-1)) + 1)
    reason[left & (sizes[clusters] < config.smallest_cluster)] = Reason.SMALL_CLUSTER
    return Cut(reason, stand_in)
