"""Seeded splits: at random, by group, by class, by both, and by blocks of ground."""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from eotune.core.errors import InputError
from eotune.core.seeds import derive_seed, generator

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

_METRES_PER_DEGREE = 6_371_008.8 * math.pi / 180  # along a meridian of the mean sphere

Split = tuple[list[int], ...]


def random_split(
    items: int | Sequence[Hashable],
    fractions: Sequence[float],
    seed: int,
    *,
    groups: Sequence[Hashable] | None = None,
) -> Split:
    """Divide items at random.

    Where items are ids, each one's draw depends on its id and the seed alone: adding or reordering items moves only
    those that the changed sizes push over a boundary.

    Args:
        items: Their ids, or their number.
        fractions: Share of each part; they sum to 1.
        seed: Chooses the split.
        groups: One key an item; items of one group (the tiles of one scene) stay together, and shares are then met
            as nearly as whole groups allow.

    Returns:
        For each fraction the positions of its items, ascending.

    Raises:
        InputError: The fractions are no shares of a whole, or ids repeat.

    Example:
        >>> [len(part) for part in random_split(10, (0.8, 0.2), seed=0)]
        [8, 2]
        >>> random_split(10, (0.8, 0.2), seed=0) == random_split(10, (0.8, 0.2), seed=0)
        True
    """
    ids = _ids(items)
    shares = _shares(fractions)
    keys: Sequence[Hashable] = ids if groups is None else _checked(groups, len(ids), "groups")
    members: dict[Hashable, list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        members[key].append(position)
    order = sorted(members, key=lambda key: (_draw(seed, key), str(key)))
    return _fill_parts([members[key] for key in order], shares)


def stratified_split(
    items: int | Sequence[Hashable], labels: Sequence[Hashable], fractions: Sequence[float], seed: int
) -> Split:
    """Divide items at random, each class in the same shares; arguments as for :func:`random_split`.

    Rounding is balanced over the classes, so that the parts' sizes are right as a whole too.

    Args:
        items: Their ids, or their number.
        labels: The class of each.
        fractions: Share of each part; they sum to 1.
        seed: Chooses the split.

    Raises:
        InputError: The fractions are no shares of a whole, ids repeat, or labels are of another number.

    Example:
        >>> train, test = stratified_split(8, ["a"] * 4 + ["b"] * 4, (0.5, 0.5), seed=0)
        >>> sum(position < 4 for position in train), len(train)
        (2, 4)
    """
    ids = _ids(items)
    shares = _shares(fractions)
    classes: dict[Hashable, list[int]] = defaultdict(list)
    for position, label in enumerate(_checked(labels, len(ids), "labels")):
        classes[label].append(position)
    parts: Split = tuple([] for _ in shares)
    owed = np.zeros(len(shares))
    for label in sorted(classes, key=str):
        members = sorted(classes[label], key=lambda position: (_draw(seed, ids[position]), str(ids[position])))
        owed += len(members) * shares
        counts = _whole(owed, len(members))
        owed -= counts
        start = 0
        for part, count in zip(parts, counts, strict=True):
            part.extend(members[start : start + count])
            start += count
    return tuple(sorted(part) for part in parts)


def hold_out_groups(labels: np.ndarray, groups: Sequence[Hashable], wanted: np.ndarray, seed: int) -> np.ndarray:
    """Choose whole groups that together hold about a wanted number of items of each class.

    Groups are looked at in a drawn order, and one is taken where that brings the numbers nearer to the wanted ones: the
    sum over classes of the difference, as a share of what is wanted, falls. Then each class that still has no item gets
    the group that keeps this sum lowest. Never is a class taken as a whole.

    Args:
        labels: Class of each item, int ``(n,)``.
        groups: One key an item.
        wanted: Items of each class, ``(c,)``, at least 1 for each class.
        seed: Draws the order.

    Returns:
        Whether each item is chosen, bool ``(n,)``. A class whose items cannot be divided, since they are of one group
        or lie only where another class would be taken as a whole, has none.

    Example:
        >>> labels, groups = np.array([0, 0, 1, 0, 1, 0, 0, 1]), ["a", "a", "a", "b", "b", "c", "c", "c"]
        >>> hold_out_groups(labels, groups, np.array([1, 1]), seed=2).tolist()
        [False, False, False, True, True, False, False, False]
    """
    keys = sorted(set(groups), key=str)
    number = {key: position for position, key in enumerate(keys)}
    group_of = np.array([number[key] for key in groups], np.int64)
    counts = np.zeros((len(keys), len(wanted)), np.int64)  # of each group's items by class
    np.add.at(counts, (group_of, labels), 1)
    total, held, taken = counts.sum(axis=0), np.zeros(len(wanted), np.int64), np.zeros(len(keys), bool)
    order = generator(seed, "held out groups").permutation(len(keys))

    def gap(numbers: np.ndarray) -> float:
        return float((np.abs(numbers - wanted) / wanted).sum())

    def fits(added: int) -> bool:
        return bool((held + counts[added] < total)[total > 0].all())

    for one in order.tolist():
        if fits(one) and gap(held + counts[one]) < gap(held):
            taken[one], held = True, held + counts[one]
    for label in np.argsort(total, kind="stable").tolist():
        open_ones = [one for one in order.tolist() if counts[one, label] and not held[label] and fits(one)]
        if open_ones:
            best = min(open_ones, key=lambda one: gap(held + counts[one]))
            taken[best], held = True, held + counts[best]
    return taken[group_of]


def spatial_block_split(
    footprints: "Sequence[BaseGeometry | None]",
    fractions: Sequence[float],
    seed: int,
    *,
    block_size_m: float | None = None,
    block_size_deg: float | None = None,
    straddling: Literal["join", "drop"] = "join",
) -> Split:
    """Divide georeferenced images by blocks of ground, so that neighbours are not trained and tested on.

    The ground is cut into blocks of the given size (rows of latitude, each with a whole number of blocks around the
    Earth, so that blocks keep their width towards the poles and none is cut at the antimeridian). An image belongs to
    the block of its centre. No two parts ever share ground: see ``straddling``.

    Args:
        footprints: Polygons in longitude and latitude, as :func:`eotune.data.footprints.footprint` gives them.
        fractions: Share of each part; they sum to 1.
        seed: Chooses the split.
        block_size_m: Side of a block in metres.
        block_size_deg: Side of a block in degrees of latitude; give one of the two.
        straddling: What becomes of images of different blocks that overlap. ``join`` puts their blocks into one part;
            ``drop`` (for windows that overlap all through an area) leaves those of the earlier part out of the split.

    Returns:
        For each fraction the positions of its images, ascending.

    Raises:
        InputError: An image has no footprint, no size or two are given, the fractions are no shares of a whole, or
            there are too few blocks that do not overlap.

    Example:
        >>> from shapely import box
        >>> train, test = spatial_block_split(
        ...     [box(x, 0, x + 1, 1) for x in range(0, 40, 2)], (0.75, 0.25), seed=0, block_size_deg=5)
        >>> len(train) + len(test)
        20
    """
    if (block_size_m is None) == (block_size_deg is None):
        raise InputError("spatial split: no block size, or two", remedy="give block_size_m or block_size_deg")
    degrees = float(block_size_deg or 0) if block_size_m is None else block_size_m / _METRES_PER_DEGREE
    if not 0 < degrees <= 180:
        size = block_size_deg if block_size_m is None else block_size_m
        raise InputError(f"spatial split: block size {size}", remedy="it must be above 0 and at most half the Earth")
    missing = [position for position, polygon in enumerate(footprints) if polygon is None or polygon.is_empty]
    if missing:
        raise InputError(
            f"spatial split: {len(missing)} of {len(footprints)} images have no footprint (the first: {missing[0]})",
            remedy="split those at random, or give them a coordinate reference system",
        )
    polygons: list[Any] = list(footprints)
    blocks = [_block(polygon, degrees) for polygon in polygons]
    if straddling == "join":
        parts = random_split(len(polygons), fractions, seed, groups=_joined(polygons, blocks))
    else:
        parts = _without_shared_ground(polygons, random_split(len(polygons), fractions, seed, groups=blocks))
    empty = [share for share, part in zip(fractions, parts, strict=True) if share > 0 and not part]
    if empty:
        raise InputError(
            f"spatial split: nothing is left for the part of {empty[0]:g}",
            remedy="choose smaller blocks, or straddling='drop' where images overlap all through the area",
        )
    return parts


def overlapping_pairs(polygons: "Sequence[BaseGeometry]") -> Iterator[tuple[int, int]]:
    """Yield the positions (i < j) of footprints that share ground; tiles of a grid share an edge, but no ground.

    Example:
        >>> from shapely import box
        >>> list(overlapping_pairs([box(0, 0, 2, 2), box(1, 1, 3, 3), box(2, 0, 4, 1)]))
        [(0, 1)]
    """
    from shapely import STRtree, area, intersection

    geometry = np.asarray(polygons, dtype=object)
    first, second = STRtree(geometry).query(geometry, predicate="intersects")
    once = first < second
    first, second = first[once], second[once]
    # A sliver of rounding errors between neighbours in a projected grid is no shared ground either.
    smaller = np.minimum(area(geometry[first]), area(geometry[second]))
    shared = area(intersection(geometry[first], geometry[second])) > 1e-6 * smaller
    order = np.lexsort((second[shared], first[shared]))
    return zip(first[shared][order].tolist(), second[shared][order].tolist(), strict=True)


def _without_shared_ground(polygons: list[Any], parts: Split) -> Split:
    """Drop from the earlier of two parts what overlaps the later: test images count more than training images."""
    part_of = {position: number for number, part in enumerate(parts) for position in part}
    dropped = {
        one if part_of[one] < part_of[other] else other
        for one, other in overlapping_pairs(polygons)
        if part_of[one] != part_of[other]
    }
    return tuple([position for position in part if position not in dropped] for part in parts)


def _block(polygon: Any, degrees: float) -> str:
    """Name the block that holds the polygon's centre."""
    # The centroid of a polygon cut at the antimeridian would lie on the other side of the Earth: take its largest part.
    largest = max(getattr(polygon, "geoms", [polygon]), key=lambda part: part.area)
    longitude, latitude = largest.centroid.x, largest.centroid.y
    row = math.floor((latitude + 90) / degrees)
    middle = math.radians(min(90.0, max(-90.0, (row + 0.5) * degrees - 90)))
    columns = max(1, round(360 * math.cos(middle) / degrees))
    return f"{row}:{math.floor((longitude + 180) / 360 * columns) % columns}"


def _joined(polygons: list[Any], blocks: list[str]) -> list[str]:
    """Give one group to all blocks that overlapping images connect."""
    parent = {block: block for block in blocks}

    def root(block: str) -> str:
        while parent[block] != block:
            parent[block] = parent[parent[block]]
            block = parent[block]
        return block

    for one, other in overlapping_pairs(polygons):
        low, high = sorted((root(blocks[one]), root(blocks[other])))
        parent[high] = low
    return [root(block) for block in blocks]


def _fill_parts(units: list[list[int]], shares: np.ndarray) -> Split:
    """Hand out units in order: single items by exact count, groups to the part that lacks most."""
    total = sum(map(len, units))
    wanted = _whole(shares * total, total)
    parts: Split = tuple([] for _ in shares)
    if all(len(unit) == 1 for unit in units):
        start = 0
        for part, count in zip(parts, wanted, strict=True):
            part.extend(unit[0] for unit in units[start : start + count])
            start += count
    else:
        for unit in units:
            lack = [count - len(part) for count, part in zip(wanted, parts, strict=True)]
            parts[int(np.argmax(lack))].extend(unit)
    return tuple(sorted(part) for part in parts)


def _whole(targets: np.ndarray, total: int) -> list[int]:
    """Round to integers that sum to ``total``, the largest remainders up."""
    floors = np.maximum(np.floor(targets + 1e-9), 0).astype(int)
    order = np.argsort(-(targets - floors), kind="stable")
    counts = floors.copy()
    for step in range(abs(total - int(floors.sum()))):
        counts[order[step % len(order)]] += 1 if total > floors.sum() else -1
    return [int(count) for count in counts]


def _ids(items: int | Sequence[Hashable]) -> Sequence[Hashable]:
    if isinstance(items, int):
        return range(items)
    if len(set(items)) != len(items):
        raise InputError(f"split: {len(items) - len(set(items))} of {len(items)} ids repeat", remedy="make them unique")
    return items


def _shares(fractions: Sequence[float]) -> np.ndarray:
    shares = np.array(fractions, np.float64)
    if shares.size == 0 or not (shares >= 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise InputError(f"split: fractions {tuple(fractions)} are not shares of 1", remedy="e.g. (0.8, 0.1, 0.1)")
    return shares


def _checked(values: Sequence[Hashable], n: int, what: str) -> Sequence[Hashable]:
    if len(values) != n:
        raise InputError(f"split: {len(values)} {what} for {n} items", remedy="give one for each")
    return values


def _draw(seed: int, key: Hashable) -> int:
    return derive_seed(seed, "split", key if isinstance(key, int) else str(key))
