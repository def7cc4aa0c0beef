"""Long-tailed sets made from balanced ones, and the head, middle and tail of their classes."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import model_validator

from eotune.core.config import Config
from eotune.core.errors import InputError, shown
from eotune.core.lookup import unknown_name
from eotune.core.seeds import generator

GROUPS = ("head", "middle", "tail")

_DEFAULTS: dict[str, dict[str, Any]] = {
    "rank": {"shares": (1 / 3, 1 / 3, 1 / 3)},
    "counts": {"head": 100, "tail": 20},
    "names": {"middle": ()},
}


class GroupRule(Config):
    """How classes are divided into head, middle and tail.

    Attributes:
        by: ``rank``: the largest classes are the head, the smallest the tail; of equal counts the earlier class is the
            larger. ``counts``: classes with more than ``head`` images are the head, with fewer than ``tail`` the tail
            (arXiv 1904.05160, sec. 5: more than 100, fewer than 20). ``names``: as listed; a data set may have only
            some of them, but none that no group lists. Case does not matter, nor whether a space, a hyphen or an
            underscore joins words.
        shares: With ``rank``, the share of the classes that each group has; ends are rounded, halves up.
        head: With ``counts`` a number of images, 100 where not given; with ``names`` the classes.
        middle: With ``names``, the classes.
        tail: As for ``head``; 20 images where not given.

    Example:
        >>> GroupRule(by="counts", head=50).tail
        20
        >>> GroupRule(by="names", head=("ship",), tail=("helicopter",)).middle
        ()
    """

    by: Literal["rank", "counts", "names"] = "rank"
    shares: tuple[float, float, float] | None = None
    head: int | tuple[str, ...] | None = None
    middle: tuple[str, ...] | None = None
    tail: int | tuple[str, ...] | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_defaults(cls, values: Any) -> Any:
        by = values.get("by", "rank") if isinstance(values, Mapping) else None
        return {**_DEFAULTS.get(by, {}), **values} if isinstance(by, str) else values

    @model_validator(mode="after")
    def _consistent(self) -> "GroupRule":
        wanted = {"rank": {"shares"}, "counts": {"head", "tail"}, "names": {"head", "middle", "tail"}}[self.by]
        given = {name for name in ("shares", *GROUPS) if getattr(self, name) is not None}
        if given != wanted:
            wrong = ", ".join(sorted(given ^ wanted))
            raise ValueError(f"by: {self.by} wants {', '.join(sorted(wanted))}; too many or missing: {wrong}")
        if self.shares is not None and (min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-6):
            raise ValueError(f"shares wants three shares of 1, got {self.shares}")
        numbers = [one for one in (self.head, self.tail) if isinstance(one, int)]
        if len(numbers) != (2 if self.by == "counts" else 0):
            raise ValueError("head and tail want numbers of images by counts, and lists of classes by names")
        if self.by == "counts" and not numbers[0] >= numbers[1] >= 0:
            raise ValueError(f"head wants at least tail, and tail at least 0, got {numbers[0]} and {numbers[1]}")
        names = [_key(name) for group in self.named() for name in group]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"each class belongs to one group; listed twice: {', '.join(twice)}")
        return self

    def named(self) -> tuple[tuple[str, ...], ...]:
        """Return the listed classes of head, middle and tail; empty but with ``names``."""
        return tuple(one if isinstance(one, tuple) else () for one in (self.head, self.middle, self.tail))


def _key(name: str) -> str:
    """Return what a class's name is compared by."""
    return "-".join(name.replace("_", " ").replace("-", " ").casefold().split())


# The classes of DOTA-v1.0, as debLoRA groups them (arXiv 2410.04546).
DOTA_GROUPS = GroupRule(
    by="names",
    head=("ship", "small-vehicle", "large-vehicle", "plane"),
    middle=("harbor", "storage-tank", "tennis-court", "bridge", "swimming-pool"),
    tail=(
        "helicopter", "basketball-court", "baseball-diamond", "roundabout", "soccer-ball-field", "ground-track-field",
    ),
)  # fmt: skip


def exponential_counts(largest: int, n_classes: int, imbalance_ratio: float) -> np.ndarray:
    r"""Return counts that fall exponentially: :math:`n_i = n_0\,r^{-i/(c-1)}`, rounded, at least 1.

    Args:
        largest: Count of the first class, :math:`n_0`.
        n_classes: Their number c.
        imbalance_ratio: Largest over smallest count, r >= 1.

    Returns:
        int64 ``(c,)``, descending.

    Raises:
        InputError: A number is out of range.

    Source:
        Cui et al., arXiv 1901.05555, sec. 5.1.

    Example:
        >>> exponential_counts(100, 5, 50).tolist()
        [100, 38, 14, 5, 2]
    """
    if largest < 1 or n_classes < 1 or not 1 <= imbalance_ratio < float("inf"):
        raise InputError(
            f"long tail of {n_classes} classes, largest {largest}, imbalance ratio {imbalance_ratio}",
            remedy="it wants a class, an image and a ratio of at least 1",
        )
    fall = np.arange(n_classes) / max(1, n_classes - 1)
    return np.maximum(1, np.rint(largest * float(imbalance_ratio) ** -fall)).astype(np.int64)


def long_tail_subset(
    labels: np.ndarray,
    n_classes: int,
    *,
    imbalance_ratio: float,
    seed: int,
    largest: int | None = None,
    order: Sequence[int] | None = None,
    classes: Sequence[str] | None = None,
) -> np.ndarray:
    """Choose samples so that the counts of the classes are :func:`exponential_counts`.

    The ratio is met exactly where it divides the largest count and that is at least the ratio; else as nearly as whole
    samples allow. A class's samples are taken from one seeded shuffle: with a smaller count, a subset of them.

    Args:
        labels: Class of each sample, int ``(n,)``.
        n_classes: The number of classes c.
        imbalance_ratio: Largest over smallest count.
        seed: Draws the order of the classes and the samples.
        largest: Count of the largest class; by default the most that every class can meet.
        order: The classes, largest first, for instance as they rank by nature; None draws it.
        classes: Their names, for messages.

    Returns:
        Positions, int64, ascending.

    Raises:
        InputError: A class has too few samples; the message names it and the largest count that would fit.

    Example:
        >>> labels = np.repeat(np.arange(3), 100)
        >>> positions = long_tail_subset(labels, 3, imbalance_ratio=25, seed=0)
        >>> sorted(np.bincount(labels[positions]).tolist())
        [4, 20, 100]
    """
    labels = np.asarray(labels)
    names = [str(one) for one in (range(n_classes) if classes is None else classes)]
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= n_classes or len(names) != n_classes:
        raise InputError(f"long tail: labels are not of {n_classes} classes", remedy="number them from 0")
    available = np.bincount(labels, minlength=n_classes)
    if order is None:
        order = [int(one) for one in generator(seed, "long tail", "order").permutation(n_classes)]
    if sorted(order) != list(range(n_classes)):
        raise InputError(f"long tail: order {shown(list(order))}", remedy=f"give each of {n_classes} classes one place")
    if not available.all():
        raise InputError(f"long tail: class {names[int(available.argmin())]} has no sample", remedy="leave it out")
    fitting = _largest_that_fits(available[list(order)], imbalance_ratio)
    counts = exponential_counts(fitting if largest is None else largest, n_classes, imbalance_ratio)
    chosen = []
    for label, count in zip(order, counts.tolist(), strict=True):
        if count > available[label]:
            raise InputError(
                f"long tail: class {names[label]} has {available[label]} samples where {count} are wanted",
                remedy=f"with this order of classes the largest may have {fitting}",
            )
        members = np.flatnonzero(labels == label)
        chosen.append(generator(seed, "long tail", "samples", label).permutation(members)[:count])
    return np.sort(np.concatenate(chosen))


def _largest_that_fits(available: np.ndarray, imbalance_ratio: float) -> int:
    """Return the largest first count whose profile every class can meet."""
    low, high = 1, int(available[0])
    while low < high:  # every count grows with the first one
        middle = (low + high + 1) // 2
        fits = bool((exponential_counts(middle, len(available), imbalance_ratio) <= available).all())
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


def class_groups(
    counts: np.ndarray, rule: GroupRule | None = None, *, classes: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Divide classes into head, middle and tail.

    Args:
        counts: Training images of each class, ``(c,)``.
        rule: How; by default thirds by rank.
        classes: Their names, where the rule is by names.

    Returns:
        ``head``, ``middle`` and ``tail``: the classes of each, int64, ascending; a group may be empty.

    Raises:
        InputError: No group lists a class.

    Example:
        >>> groups = class_groups(np.array([3, 50, 9, 120, 4, 20]))
        >>> {name: group.tolist() for name, group in groups.items()}
        {'head': [1, 3], 'middle': [2, 5], 'tail': [0, 4]}
    """
    counts = np.asarray(counts)
    rule = rule or GroupRule()
    if rule.by == "names":
        if classes is None or len(classes) != len(counts):
            raise InputError(f"groups by names, but not a name for each of {len(counts)} classes", remedy="pass them")
        group = _listed_groups(rule, classes)
    elif isinstance(rule.head, int) and isinstance(rule.tail, int):
        group = np.where(counts > rule.head, 0, np.where(counts < rule.tail, 2, 1))
    else:
        ends = np.floor(np.cumsum(rule.shares or ())[:2] * len(counts) + 0.5 + 1e-9)
        ranks = np.argsort(np.argsort(-counts, kind="stable"))
        group = np.searchsorted(ends, ranks, side="right")
    return {name: np.flatnonzero(group == position).astype(np.int64) for position, name in enumerate(GROUPS)}


def _listed_groups(rule: GroupRule, classes: Sequence[str]) -> np.ndarray:
    listed = {_key(name): position for position, names in enumerate(rule.named()) for name in names}
    for name in classes:
        if _key(name) not in listed:
            raise unknown_name("class, in no group", name, [one for names in rule.named() for one in names])
    return np.array([listed[_key(name)] for name in classes], np.int64)
