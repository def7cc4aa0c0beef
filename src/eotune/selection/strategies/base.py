"""What a strategy is: from columns and a total to the samples that are kept."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from eotune.core.config import Config
from eotune.core.errors import InputError
from eotune.selection.quotas import Rule, highest, quotas
from eotune.selection.result import Columns, Reason, SelectionResult
from eotune.selection.vectors import Integers

Scores = NDArray[np.float32]
Quota = Literal["proportional", "square_root", "equal", "global"]


class StrategyConfig(Config):
    """What every strategy's configuration has.

    Attributes:
        name: The strategy: the name of its file.
    """

    name: str


class Strategy(ABC):
    """A way to choose. Subclasses are called ``Strategy``, one to a file, and name their settings in ``Config``.

    Attributes:
        config: The validated settings.
    """

    Config: ClassVar[type[StrategyConfig]]
    config: StrategyConfig

    def __init__(self, config: StrategyConfig) -> None:
        self.config = config

    @property
    @abstractmethod
    def needs(self) -> frozenset[str]:
        """The columns it reads, besides ``ranks`` and ``available``."""

    def choose(self, columns: Columns, total: int, seed: int) -> SelectionResult:
        """Choose ``min(total, available samples)`` samples; fewer only where some have no score.

        The answer depends on the samples and their ids, not on their order.

        Raises:
            InputError: A column it needs is missing or of another length, or an embedding holds NaN.
        """
        n = len(columns.ranks)
        for name in sorted(self.needs):
            column = getattr(columns, name)
            if column is None:
                raise InputError(f"strategy {self.config.name!r} needs the column {name!r}")
            if name != "targets" and column.shape[0] != n:
                raise InputError(f"the column {name!r} has {column.shape[0]} rows for {n} samples")
        return self._choose(columns, total, seed)

    @abstractmethod
    def _choose(self, columns: Columns, total: int, seed: int) -> SelectionResult:
        """Choose; the columns are there."""


class QuotaConfig(StrategyConfig):
    """The configuration of strategies that share the total out among clusters.

    Attributes:
        quota: A cluster's share: proportional to its size, to the size's square root, equal, or whatever the scores of
            all samples together give it ("global").
        images_in_turn: Samples are taken in rounds, each one of every image at most, so that nearly as many images are
            shown as the quotas allow. Samples without an image stand for one each.
    """

    quota: Quota = "proportional"
    images_in_turn: bool = False

    @field_validator("quota", mode="before")
    @classmethod
    def _hyphens(cls, value: object) -> object:
        return value.replace("-", "_") if isinstance(value, str) else value


class ScoredStrategy(Strategy):
    """A strategy that keeps the highest scores of every cluster, or of all samples."""

    config: QuotaConfig

    @property
    def needs(self) -> frozenset[str]:
        """The clusters, unless the quota is global, and the images where they take turns."""
        clusters = frozenset() if self.config.quota == "global" else frozenset({"clusters"})
        return clusters | {"images"} if self.config.images_in_turn else clusters

    @abstractmethod
    def scores(self, columns: Columns, seed: int) -> Scores:
        """Return ``(n,)`` scores, higher is better; NaN where there is none."""

    def _choose(self, columns: Columns, total: int, seed: int) -> SelectionResult:
        score = self.scores(columns, seed)
        open_ = columns.available & ~np.isnan(score)
        if self.config.quota == "global" or columns.clusters is None:
            groups: NDArray[np.integer] = np.where(open_, 0, -1)
            quota = np.array([min(total, int(open_.sum()))])
        else:
            groups = np.where(open_, columns.clusters, -1)
            quota = cluster_quotas(columns.clusters, groups >= 0, total, self.config.quota)
        if self.config.images_in_turn:
            kept = _in_turn(score, groups, np.asarray(columns.images), columns.ranks, quota)
        else:
            kept = highest(score, groups, columns.ranks, quota)
        return explained(columns, kept, score)


def _in_turn(
    score: Scores, groups: NDArray[np.integer], images: NDArray[np.integer], ranks: Integers, quota: Integers
) -> NDArray[np.bool_]:
    """Return which samples are kept: the highest of groups that are not full, one an image in each of many rounds."""
    rows = np.flatnonzero(groups >= 0)
    waiting = rows[np.lexsort((ranks[rows], -score[rows]))].tolist()
    group_of, image_of, left = groups.tolist(), images.tolist(), quota.tolist()
    kept = np.zeros(len(score), bool)
    while waiting:
        shown, later = set[int](), []
        for row in waiting:
            group, image = group_of[row], image_of[row]
            if not left[group]:
                continue
            if image in shown:
                later.append(row)
                continue
            if image >= 0:
                shown.add(image)
            left[group] -= 1
            kept[row] = True
        waiting = later
    return kept


def cluster_quotas(clusters: NDArray[Any], available: NDArray[np.bool_], total: int, rule: Rule) -> Integers:
    """Return every cluster's quota.

    Args:
        clusters: ``(n,)`` -1 is none.
        available: ``(n,)`` which samples may be kept.
        total: How many to keep.
        rule: How the total is shared out.
    """
    count = int(clusters.max(initial=-1)) + 1
    sizes = np.bincount(clusters[clusters >= 0], minlength=count)
    return quotas(sizes, total, np.bincount(clusters[available & (clusters >= 0)], minlength=count), rule)


def explained(columns: Columns, kept: NDArray[np.bool_], score: NDArray[np.floating]) -> SelectionResult:
    """Return the result with the reasons that follow from what was available, scored and kept."""
    reason = np.full(len(kept), Reason.LOW, np.uint8)
    reason[np.isnan(score)] = Reason.UNSCORED
    reason[~columns.available] = Reason.CUT
    reason[kept] = Reason.KEPT
    return SelectionResult(kept, reason, score.astype(np.float32, copy=False))
