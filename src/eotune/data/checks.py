"""Everything that is wrong with captioned or labelled data, or worth knowing before trusting figures measured on it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from eotune.core.errors import InputError
from eotune.data.bands import BandConfig
from eotune.data.captions import CaptionSet, scan_captions
from eotune.data.check_report import CheckReport, Finding, PartCounts
from eotune.data.duplicates import equal_groups, near_caption_pairs, near_image_pairs
from eotune.data.inventory import Inventory, take_inventory
from eotune.data.labelled import is_table, scan_labelled
from eotune.data.leaks import LONG_CAPTION, LeakReport, is_long, leaks, shared_images, shared_origins

__all__ = ["CheckReport", "LeakReport", "check_captions", "check_files", "leaks"]

_EXAMPLES = 3
_ORDER = {"train": 0, None: 1, "val": 3, "test": 4}  # other names between


def check_files(paths: Sequence[Path], *, images: Path | None = None, bands: BandConfig | None = None) -> CheckReport:
    """Check caption files and labelled images: each on its own, and all against one another.

    A file that cannot be used is a problem in the report; the others are checked all the same.

    Args:
        paths: Caption files of any known layout; class folders, or files of labels without captions.
        images: Folder of the images, if it is not found from each file.
        bands: How rasters become RGB.
    """
    sets: dict[str, CaptionSet] = {}
    problems: list[str] = []
    for path, name in zip(paths, _names(paths), strict=True):
        try:
            sets[name], found = _scan(Path(path), images)
            problems += [f"{path}: {problem}" for problem in found]
        except InputError as error:
            problems.append(str(error))
    report = check_captions(sets, bands=bands)
    return replace(report, problems=(*problems, *report.problems))


def check_captions(sets: Mapping[str, CaptionSet], *, bands: BandConfig | None = None) -> CheckReport:
    """Check data sets: each split on its own, and all against one another.

    Across sets, splits that are only measured on (val, test) are not compared with one another: nothing leaks there.

    Args:
        sets: The data sets by name.
        bands: How rasters become RGB.

    Example:
        >>> import json, tempfile
        >>> from PIL import Image
        >>> from eotune.data.captions import read_captions
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("a.png", "b.png"):
        ...     Image.linear_gradient("L").save(folder / name)
        >>> rows = [{"image": "a.png", "captions": ["a"], "split": "train"},
        ...         {"image": "b.png", "captions": ["b"], "split": "test"}]
        >>> _ = (folder / "c.json").write_text(json.dumps(rows))
        >>> report = check_captions({"demo": read_captions(folder / "c.json")})
        >>> report.warnings[0].message
        'demo train and demo test: 1 of 1 images of the latter stand in the former, pixel for pixel'
    """
    inventories = {name: take_inventory(captions, bands=bands, with_footprints=True) for name, captions in sets.items()}
    parts = [part for name, inventory in inventories.items() for part in _parts(name, inventory)]
    texts = sorted({text for part in parts for text in part.texts})
    near: dict[str, set[str]] = defaultdict(set)
    for i, j in near_caption_pairs(texts):
        near[texts[i]].add(texts[j])
        near[texts[j]].add(texts[i])
    warnings = [finding for part in parts for finding in _inside(part, near)]
    warnings += [finding for a, b in _comparable(parts) for finding in _between(a, b, near)]
    return CheckReport(
        problems=tuple(problem for inventory in inventories.values() for problem in inventory.problems),
        warnings=tuple(warnings),
        counts=tuple(_counts(part) for part in parts),
    )


def _scan(path: Path, images: Path | None) -> tuple[CaptionSet, list[str]]:
    """Read captions, or labels where the file has no caption at all."""
    if path.is_dir() or is_table(path):
        return scan_labelled(path, images=images)
    captions, problems = scan_captions(path, images=images)
    if not len(captions):
        labelled, others = scan_labelled(path, images=images)
        if len(labelled):
            return labelled, others
    return captions, problems


@dataclass(frozen=True)
class _Part:
    """One split of one set."""

    data: str
    split: str | None
    inventory: Inventory

    @property
    def name(self) -> str:
        return f"{self.data} {self.split}" if self.split else self.data

    def __len__(self) -> int:
        return len(self.inventory.texts)

    @cached_property
    def texts(self) -> dict[str, list[int]]:
        """Each different caption with the images that have it."""
        found: dict[str, list[int]] = defaultdict(list)
        for position, captions in enumerate(self.inventory.texts):
            for text in dict.fromkeys(captions):
                found[text].append(position)
        return dict(found)

    def image(self, position: int) -> str:
        return self.inventory.captions.samples[position].image

    def label(self, position: int) -> str | None:
        return self.inventory.captions.samples[position].label

    def images_with(self, texts: Iterable[str]) -> int:
        return len({position for text in texts for position in self.texts[text]})


def _parts(name: str, inventory: Inventory) -> Iterator[_Part]:
    positions: dict[str | None, list[int]] = defaultdict(list)
    for position, sample in enumerate(inventory.captions.samples):
        positions[sample.split].append(position)
    for split in sorted(positions, key=lambda split: (_ORDER.get(split, 2), str(split))):
        yield _Part(name, split, inventory.subset(positions[split]))


def _comparable(parts: Sequence[_Part]) -> Iterator[tuple[_Part, _Part]]:
    """Yield the pairs worth comparing, what is trained on first."""
    for pair in combinations(parts, 2):
        one, other = sorted(pair, key=lambda part: _ORDER.get(part.split, 2))
        measured = [part.split in ("val", "test") for part in (one, other)]
        if one.data == other.data or not all(measured):
            yield one, other


def _inside(part: _Part, near: Mapping[str, set[str]]) -> Iterator[Finding]:
    """Find what stands twice in one split."""
    known = [(position, item) for position, item in enumerate(part.inventory.fingerprints) if item is not None]
    groups = equal_groups(item.pixels for _, item in known)
    if groups:
        names = [" = ".join(part.image(known[i][0]) for i in group) for group in groups]
        count = sum(len(group) - 1 for group in groups)
        yield _finding("duplicate_images", (part,), count, "repeat another, pixel for pixel", names)
    equal = [(known[group[0]][0], known[i][0]) for group in groups for i in group[1:]]
    yield from _conflicts(part, part, equal)
    pairs = near_image_pairs([item for _, item in known])
    if pairs:
        names = [f"{part.image(known[i][0])} = {part.image(known[j][0])}" for i, j in pairs]
        count = len({j for _, j in pairs})
        yield _finding("near_duplicate_images", (part,), count, "look the same as another", names)
    repeated = [i for i, captions in enumerate(part.inventory.texts) if len(captions) > 1 and len(set(captions)) == 1]
    if repeated:
        names = [f"{part.image(i)}: {part.inventory.texts[i][0]}" for i in repeated]
        yield _finding("repeated_captions", (part,), len(repeated), "have one caption, repeated", names)
    ambiguous = sorted((text for text, images in part.texts.items() if len(images) > 1), key=_commonest(part))
    if ambiguous:
        which = set(ambiguous)
        asked = sum(text in which for captions in part.inventory.texts for text in captions)
        total = sum(map(len, part.inventory.texts))
        message = f"share a caption with another image; {asked:,} of {total:,} captions do not say which image is meant"
        names = [f"{len(part.texts[text])} images: {text}" for text in ambiguous]
        yield _finding("ambiguous_captions", (part,), part.images_with(ambiguous), message, names)
    close = [text for text in part.texts if any(_elsewhere(part, text, other) for other in near.get(text, ()))]
    if close:
        names = [f"{text} = {min(o for o in near[text] if _elsewhere(part, text, o))}" for text in close[:_EXAMPLES]]
        message = f"have a caption that another image has in nearly the same words ({len(close):,} captions)"
        yield _finding("near_duplicate_captions", (part,), part.images_with(close), message, names)


def _between(a: _Part, b: _Part, near: Mapping[str, set[str]]) -> Iterator[Finding]:
    """Find what of split ``b`` stands also in split ``a``."""
    equal, alike = shared_images(a.inventory, b.inventory)
    cut = shared_origins(a.inventory.captions, b.inventory.captions)
    for kind, pairs, message in (
        ("shared_images", equal, "stand in the former, pixel for pixel"),
        ("near_shared_images", alike, "look the same as one of the former"),
        ("shared_origins", cut, "are cut from the same source as one of the former"),
    ):
        if pairs:
            names = [f"{a.image(i)} = {b.image(j)}" for i, j in pairs]
            yield _finding(kind, (a, b), len({j for _, j in pairs}), message, names)
    yield from _conflicts(a, b, equal)
    shared = sorted(a.texts.keys() & b.texts.keys())
    long = [text for text in shared if is_long(text)]
    close = sorted(text for text in b.texts if text not in a.texts and any(o in a.texts for o in near.get(text, ())))
    for kind, texts, what in (
        ("shared_captions", shared, "a caption that stands in the former"),
        ("shared_long_captions", long, f"a caption of {LONG_CAPTION} words or more that stands in the former"),
        ("near_shared_captions", close, "a caption that stands in the former in nearly the same words"),
    ):
        if texts:
            message = f"have {what} ({len(texts):,} captions)"
            yield _finding(kind, (a, b), b.images_with(texts), message, texts)
    overlaps = _overlaps(a, b)
    if overlaps:
        names = [f"{a.image(i)} and {b.image(j)}" for i, j in overlaps]
        count = len({j for _, j in overlaps})
        yield _finding("overlapping_footprints", (a, b), count, "show ground that the former shows", names)


def _conflicts(a: _Part, b: _Part, equal: Sequence[tuple[int, int]]) -> Iterator[Finding]:
    """Find pairs of equal images, one of each part, that have different classes."""
    pairs = [(i, j) for i, j in equal if None not in (a.label(i), b.label(j)) and a.label(i) != b.label(j)]
    if pairs:
        names = [f"{a.image(i)} ({a.label(i)}) = {b.image(j)} ({b.label(j)})" for i, j in pairs]
        parts = (a,) if a is b else (a, b)
        message = "have another class than an equal image" + ("" if a is b else " of the former")
        yield _finding("conflicting_labels", parts, len({j for _, j in pairs}), message, names)


def _overlaps(a: _Part, b: _Part) -> list[tuple[int, int]]:
    """Return (i, j) where image i of ``a`` and image j of ``b`` share ground; a common border is none."""
    from shapely import STRtree, area, intersection

    ours, theirs = ([(i, f) for i, f in enumerate(p.inventory.footprints) if f is not None] for p in (a, b))
    if not ours or not theirs:
        return []
    first, second = (np.array([outline for _, outline in outlines], dtype=object) for outlines in (ours, theirs))
    j, i = STRtree(first).query(second, predicate="intersects")
    least = 1e-6 * np.minimum(area(first[i]), area(second[j]))
    shared = area(intersection(first[i], second[j])) > least
    return sorted((ours[one][0], theirs[other][0]) for one, other in zip(i[shared], j[shared], strict=True))


def _finding(kind: str, parts: Sequence[_Part], count: int, message: str, examples: Sequence[str]) -> Finding:
    names = tuple(part.name for part in parts)
    total = len(parts[-1])
    of = "images of the latter" if len(parts) > 1 else "images"
    text = f"{' and '.join(names)}: {count:,} of {total:,} {of} {message}"
    return Finding(kind, names, count, total, text, tuple(examples[:_EXAMPLES]))


def _counts(part: _Part) -> PartCounts:
    per_image = [len(captions) for captions in part.inventory.texts]
    labels = Counter(sample.label for sample in part.inventory.captions.samples if sample.label is not None)
    return PartCounts(
        data=part.data,
        split=part.split,
        images=len(part),
        captions=sum(per_image),
        distinct_captions=len(part.texts),
        fewest_captions=min(per_image),
        most_captions=max(per_image),
        classes=len(labels),
        imbalance_ratio=max(labels.values()) / min(labels.values()) if labels else None,
        georeferenced=sum(outline is not None for outline in part.inventory.footprints),
        class_counts=dict(sorted(labels.items())),
    )


def _commonest(part: _Part) -> Any:
    return lambda text: (-len(part.texts[text]), text)


def _elsewhere(part: _Part, text: str, other: str) -> bool:
    """Return whether an image of the part has ``other`` while a different one has ``text``."""
    return other in part.texts and len({*part.texts[text], *part.texts[other]}) > 1


def _names(paths: Sequence[Path]) -> list[str]:
    """Return a name for each file: its stem, with its folder where stems repeat, with a number where those do."""
    stems = Counter(Path(path).stem for path in paths)
    names = [
        Path(path).stem if stems[Path(path).stem] == 1 else f"{Path(path).resolve().parent.name}/{Path(path).stem}"
        for path in paths
    ]
    seen: Counter[str] = Counter()
    result = []
    for name in names:
        seen[name] += 1
        result.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return result
