"""Does a score rank the same samples first when it is drawn again? Spearman's correlation over seeds and n."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eotune.core.errors import InputError


@dataclass(frozen=True)
class Stability:
    """How alike some rankings are.

    Attributes:
        names: Of the s scores.
        spearman: ``(s, s)`` rank correlations; NaN where a score is constant.
        overlap: ``(s, s)`` share of the highest samples of one that are among the highest of the other.
        n: Samples that have every score.
    """

    names: tuple[str, ...]
    spearman: NDArray[np.float64]
    overlap: NDArray[np.float64]
    n: int


def stability(scores: Mapping[str, ArrayLike], *, keep: float) -> Stability:
    """Compare the rankings by several scores of the same samples, such as of other seeds or other n.

    Args:
        scores: ``(n,)`` each; samples for which one is NaN are left out.
        keep: The share whose overlap is counted, above 0 and at most 1.

    Raises:
        InputError: There are no scores, they differ in length, or fewer than two samples have all of them.

    Example:
        >>> result = stability({"seed 0": [1.0, 2.0, 3.0], "seed 1": [1.0, 3.0, 2.0]}, keep=1 / 3)
        >>> result.spearman[0, 1].round(3), result.overlap[0, 1]
        (np.float64(0.5), np.float64(0.0))
    """
    from scipy.stats import rankdata  # a second of every command's start

    columns = [np.asarray(column, np.float64) for column in scores.values()]
    lengths = {column.shape for column in columns}
    if len(lengths) != 1 or len(next(iter(lengths))) != 1:
        raise InputError(f"scores must be one or more arrays of one length; got shapes {sorted(lengths)}")
    table = np.stack(columns)
    table = table[:, ~np.isnan(table).any(axis=0)]
    n = table.shape[1]
    if n < 2:
        raise InputError(f"{n} samples have all {len(table)} scores; a ranking needs 2")
    ranks = np.stack([rankdata(column) for column in table]) - (n + 1) / 2
    lengths_ = np.linalg.norm(ranks, axis=1)
    lengths_[lengths_ == 0] = np.nan
    spearman = (ranks @ ranks.T) / np.outer(lengths_, lengths_)
    count = max(1, int(keep * n))
    top = np.zeros(table.shape, np.float64)
    np.put_along_axis(top, np.argsort(-table, axis=1, kind="stable")[:, :count], 1.0, axis=1)
    return Stability(tuple(scores), spearman, top @ top.T / count, n)
