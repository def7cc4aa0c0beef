"""Captioned images: one data set from any of the caption files in use, checked as a whole before anything runs."""

import posixpath
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eotune.core.errors import InputError, shown
from eotune.data.caption_formats import Format, Parsed, Record, parse_captions, split_name
from eotune.data.image_paths import ImageFolder, image_root, misplaced

_SHOWN = 10  # problems listed one by one in an error


@dataclass(frozen=True)
class CaptionSample:
    """One image with its captions.

    Attributes:
        id: Unique in its set: what the file calls it, else the image's path.
        image: Path as written in the file, relative to the set's root.
        captions: At least one; repeats are kept, as the published sets have them.
        split: ``train``, ``val``, ``test`` or a name of the user's; None where the file gives none.
        label: Its class, if the file gives one.
        origin: What it was cut from, for images of which some name their ``source``.
    """

    id: str
    image: str
    captions: tuple[str, ...]
    split: str | None = None
    label: str | None = None
    origin: str | None = None


@dataclass(frozen=True)
class CaptionSet:
    """Captioned images from one file.

    Attributes:
        source: The caption file.
        root: The folder that the images' paths are relative to.
        samples: In the order of the file.
        format: The layout that the file is in.
    """

    source: Path
    root: Path
    samples: tuple[CaptionSample, ...]
    format: Format

    def __len__(self) -> int:
        return len(self.samples)

    def path(self, sample: int | CaptionSample) -> Path:
        """Return where the image of a sample (or of the sample at that position) lies."""
        return self.root / (self.samples[sample] if isinstance(sample, int) else sample).image

    def paths(self) -> list[Path]:
        """Return where each image lies, in order."""
        return [self.path(sample) for sample in self.samples]

    def splits(self) -> dict[str | None, int]:
        """Return the number of images of each split, in the order in which the splits first appear."""
        return dict(Counter(sample.split for sample in self.samples))

    def select(self, split: str) -> "CaptionSet":
        """Return the samples of one split, in order; aliases such as ``validation`` are understood.

        Raises:
            InputError: The set has no such split; the message names those it has.
        """
        wanted = split_name(split)
        chosen = tuple(sample for sample in self.samples if sample.split == wanted)
        if not chosen:
            raise _no_split(self.source, split, self.splits())
        return replace(self, samples=chosen)

    def subset(self, indices: Iterable[int]) -> "CaptionSet":
        """Return the samples at these positions, in the order given."""
        return replace(self, samples=tuple(self.samples[index] for index in indices))


def read_captions(
    path: Path, *, images: Path | None = None, split: str | None = None, check_files: bool = True
) -> CaptionSet:
    """Read a caption file: Karpathy JSON, a HarMA/PIR list or JSONL, told apart by content.

    Args:
        path: The caption file.
        images: The folder that image paths are relative to. By default the folder of the file, or its ``images``
            folder where the images are found there instead.
        split: Keep this split only; aliases such as ``validation`` are understood. A file that gives no splits, as in
            the HarMA layout, is that split as a whole.
        check_files: Also look that each image is there, and that no link leads out of ``images``.

    Raises:
        InputError: Anything is wrong; one message lists the first ten problems and their number.

    Example:
        >>> import json, tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> row = {"image": "a.png", "captions": ["a pond .", "a small pond ."], "split": "validation"}
        >>> _ = (folder / "captions.jsonl").write_text(json.dumps(row))
        >>> captions = read_captions(folder / "captions.jsonl", check_files=False)
        >>> len(captions), captions.samples[0].split
        (1, 'val')
    """
    captions, problems = scan_captions(path, images=images, split=split, check_files=check_files)
    if problems:
        raise listed_error(str(path), problems, remedy="correct the file, or run `eotune check` for all of it")
    return captions


def scan_captions(
    path: Path, *, images: Path | None = None, split: str | None = None, check_files: bool = True
) -> tuple[CaptionSet, list[str]]:
    """Read what can be read of a caption file, and one line for each thing that is wrong with it.

    Samples with a problem are left out of the set. Arguments as for :func:`read_captions`.

    Raises:
        InputError: The file as a whole cannot be used (missing, empty, no known layout, no such split).
    """
    path = Path(path)
    parsed = parse_captions(path)
    root, records, problems = checked_records(path, parsed, images=images, split=split, check_files=check_files)
    return CaptionSet(path, root, tuple(_sample(record) for record in records), parsed.format), problems


def checked_records(
    path: Path, parsed: Parsed, *, images: Path | None, split: str | None, check_files: bool
) -> tuple[Path, list[Record], list[str]]:
    """Return the images' folder, the usable records of a split, and one line for each thing that is wrong.

    Arguments and errors as for :func:`scan_captions`.
    """
    root = image_root(path.parent, [record.image for record in parsed.records], images)
    problems = list(parsed.problems)
    inside, escaping = _partition_by_path(parsed.records, root)
    problems += escaping
    unique, duplicates = _partition_duplicates(inside)
    problems += duplicates
    chosen = _of_split(path, unique, split) if unique else []
    if check_files:
        chosen, missing = _partition_by_file(chosen, root)
        problems += missing
    return root, chosen, problems


def listed_error(source: str, problems: Sequence[str], *, remedy: str) -> InputError:
    """Join problems into one error: the first ten, then how many more.

    Example:
        >>> print(listed_error("a.json", ["row 1: no key 'image'"], remedy="add it"))
        a.json: row 1: no key 'image'; add it
    """
    if len(problems) == 1:
        return InputError(f"{source}: {problems[0]}", remedy=remedy)
    lines = [f"  - {problem}" for problem in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        lines.append(f"  - ... and {len(problems) - _SHOWN} more")
    return InputError(f"{source}: {len(problems)} problems\n" + "\n".join(lines) + "\n" + remedy)


def _sample(record: Record) -> CaptionSample:
    return CaptionSample(record.id or record.image, record.image, record.captions, record.split, record.label)


def _partition_by_path(records: Sequence[Record], root: Path) -> tuple[list[Record], list[str]]:
    """Separate records whose path, as written, stays under the root from those that leave it."""
    kept, problems = [], []
    for record in records:
        problem = misplaced(record.image, root)
        if problem is None:
            kept.append(record)
        else:
            problems.append(f"{record.where}: {problem}")
    return kept, problems


def _partition_duplicates(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Keep the first of every id and of every image; say where the others stand."""
    kept, problems = [], []
    by_id: dict[str, Record] = {}
    by_image: dict[str, Record] = {}
    for record in records:
        name = record.id or record.image
        image = posixpath.normpath(record.image)
        other, what = by_image.get(image), f"image {shown(record.image)}"
        if other is None:
            other, what = by_id.get(name), f"id {shown(name)}"
        if other is None:
            by_id[name] = by_image[image] = record
            kept.append(record)
        elif other.split != record.split:
            problems.append(
                f"{record.where}: {what} is in split {shown(record.split)} and, at {other.where}, "
                f"in {shown(other.split)}; keep it in one"
            )
        elif other.label != record.label:
            problems.append(
                f"{record.where}: {what} is labelled {shown(record.label)} and, at {other.where}, "
                f"{shown(other.label)}; keep one"
            )
        else:
            once = "put its captions in one place" if record.captions else "keep one"
            problems.append(f"{record.where}: {what} stands already at {other.where}; {once}")
    return kept, problems


def _of_split(path: Path, records: list[Record], split: str | None) -> list[Record]:
    if split is None:
        return records
    wanted = split_name(split)
    found = Counter(record.split for record in records)
    if set(found) == {None}:
        return [replace(record, split=wanted) for record in records]
    if wanted not in found:
        raise _no_split(path, split, found)
    return [record for record in records if record.split == wanted]


def _no_split(path: Path, split: str, found: Mapping[str | None, int]) -> InputError:
    listing = ", ".join(f"{name or '(none)'} ({count} images)" for name, count in found.items())
    return InputError(f"{path}: no split {shown(split)}", remedy=f"it has {listing}")


def _partition_by_file(records: list[Record], root: Path) -> tuple[list[Record], list[str]]:
    """Separate records whose image lies under the root from those without one, or with a link that leads away."""
    folder = ImageFolder(root)
    kept, problems = [], []
    for record in records:
        problem = folder.missing(record.image)
        if problem is None:
            kept.append(record)
        else:
            problems.append(f"{record.where}: {problem}")
    return kept, problems
