"""How many samples are kept, how many of each cluster, and which."""

import math
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eotune.core.errors import InputError, shown

Rule = Literal["proportional", "square_root", "equal"]
Integers = NDArray[np.int64]

_LEAST = -30  # power of ten: shares below keep nothing of any set, and their fractions would take hours to write out


def share(keep: float | str | Fraction) -> Fraction:
    """Return the share to keep as an exact fraction: 0.29 means 29/100, not the nearest binary number.

    Raises:
        InputError: It is no number above 0 and up to 1.

    Example:
        >>> share("1/3"), share(0.29)
        (Fraction(1, 3), Fraction(29, 100))
    """
    text = str(keep)
    try:
        value = Fraction(text) if "/" in text or _LEAST < Decimal(text).adjusted() <= 0 else Fraction(0)
    except (ValueError, ZeroDivisionError, InvalidOperation):
        value = Fraction(0)
    if not 0 < value <= 1:
        raise InputError(f"keep must be above 0 and at most 1; got {shown(keep)}", remedy="write it like 0.25 or 1/3")
    return value


def total_kept(keep: float | str | Fraction, n: int) -> int:
    """Return ``floor(keep * n)``, computed exactly.

    Example:
        >>> total_kept("1/3", 6800), total_kept(0.29, 100)
        (2266, 29)
    """
    return math.floor(share(keep) * n)


def quotas(sizes: ArrayLike, total: int, available: ArrayLike | None = None, rule: Rule = "proportional") -> Integers:
    """Return how many samples to keep of each cluster: whole numbers whose sum is ``min(total, sum(available))``.

    A cluster's weight is its size, the root of its size, or 1 where it has any sample. Quotas are rounded by largest
    remainders. Where a cluster has fewer left than its quota, all of these are kept and the rest of the total is shared
    out among the others by the same weights. Among equal remainders the cluster with the lower number goes first.

    Args:
        sizes: ``(k,)`` samples in each cluster.
        total: How many to keep.
        available: ``(k,)`` how many of them may be kept; all, if not given.
        rule: The weights.

    Raises:
        InputError: Something is negative, of the wrong shape, or more is available than there is.

    Example:
        >>> quotas([6, 3, 1], 5).tolist(), quotas([6, 3, 1], 5, available=[1, 3, 1]).tolist()
        ([3, 2, 0], [1, 3, 1])
    """
    sizes = np.asarray(sizes, np.int64)
    caps = sizes if available is None else np.asarray(available, np.int64)
    if sizes.ndim != 1 or sizes.shape != caps.shape or (caps < 0).any() or (caps > sizes).any() or total < 0:
        raise InputError(
            f"quotas need sizes and available of one shape (k,), 0 <= available <= sizes, total >= 0; got "
            f"{shown(sizes.tolist())}, {shown(caps.tolist())}, {total}"
        )
    weights = {"proportional": sizes, "square_root": np.sqrt(sizes), "equal": np.minimum(sizes, 1)}[rule]
    return apportion(weights, total, caps)


def apportion(weights: ArrayLike, total: int, available: ArrayLike) -> Integers:
    """Return quotas as `quotas` does, for any weights.

    Args:
        weights: ``(k,)`` not negative. Integers are taken exactly; of other numbers, to the 40th binary digit.
        total: How many to keep.
        available: ``(k,)`` how many there are.

    Example:
        >>> apportion([0.5, 0.25, 0.25], 6, available=[9, 9, 1]).tolist()
        [3, 2, 1]
    """
    exact, caps = _whole_numbers(np.asarray(weights)), np.asarray(available, np.int64)
    result = np.zeros_like(caps)
    left = min(total, int(caps.sum()))
    open_ = np.flatnonzero(caps)
    while left:
        parts, whole = exact[open_] * left, exact[open_].sum()
        full = parts >= caps[open_] * whole
        if not full.any():
            result[open_] = _largest_remainders(parts, whole, left)
            break
        result[open_[full]] = caps[open_[full]]
        left -= int(caps[open_[full]].sum())
        open_ = open_[~full]
    return result


def highest(scores: ArrayLike, groups: ArrayLike, ranks: ArrayLike, quota: ArrayLike) -> NDArray[np.bool_]:
    """Return which samples have the highest scores of their group, as many as each group's quota says.

    Args:
        scores: ``(n,)``; one that is NaN comes after all others.
        groups: ``(n,)`` numbers of the groups; samples below 0 are never kept.
        ranks: ``(n,)`` order of the ids (`eotune.selection.order.id_ranks`): of equal scores the lower goes first.
        quota: ``(k,)`` one for each group, at most its size.

    Example:
        >>> highest([1.0, 3.0, 3.0, 9.0], [0, 0, 0, 1], ranks=[3, 2, 1, 0], quota=[1, 1]).tolist()
        [False, False, True, True]
    """
    scores, groups, quota = np.asarray(scores), np.asarray(groups), np.asarray(quota)
    order = np.lexsort((np.asarray(ranks), -scores, groups))  # NaN sorts last
    ordered = groups[order]
    starts = np.searchsorted(ordered, np.arange(len(quota)))
    kept = np.zeros(len(scores), bool)
    inside = np.flatnonzero(ordered >= 0)
    place = inside - starts[ordered[inside]]
    kept[order[inside[place < quota[ordered[inside]]]]] = True
    return kept


def _whole_numbers(weights: NDArray[Any]) -> NDArray[np.object_]:
    """Return weights as Python's integers, with which shares are exact; the least is 1, so that no cluster is shut."""
    if not np.issubdtype(weights.dtype, np.integer):
        weights = np.rint(weights / max(weights.max(initial=0), 1e-300) * 2.0**40).astype(np.int64)
    return np.maximum(weights, 1).astype(object)


def _largest_remainders(parts: NDArray[np.object_], whole: int, total: int) -> Integers:
    """Round ``parts / whole`` to whole numbers that sum to ``total``."""
    floors = (parts // whole).astype(np.int64)
    order = np.argsort(-(parts % whole), kind="stable")
    floors[order[: total - int(floors.sum())]] += 1
    return floors
