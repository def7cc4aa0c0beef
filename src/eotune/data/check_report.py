"""What a check of data sets found: problems, warnings, counts; as text and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

_END = 20  # classes shown at each end of a long table


@dataclass(frozen=True)
class Finding:
    """Something that is not wrong in a file, but that figures measured on it will feel.

    Attributes:
        kind: ``duplicate_images``, ``near_duplicate_images``, ``repeated_captions``, ``ambiguous_captions``,
            ``near_duplicate_captions`` inside one part; ``shared_images``, ``near_shared_images``,
            ``shared_captions``, ``shared_long_captions``, ``near_shared_captions``, ``overlapping_footprints`` of two;
            ``conflicting_labels`` of one or two.
        parts: The one or two parts (set and split) that it concerns.
        count: Images affected, of the last part; texts for near-duplicate captions.
        total: Of how many.
        message: In words.
        examples: A few.
    """

    kind: str
    parts: tuple[str, ...]
    count: int
    total: int
    message: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class PartCounts:
    """The size of one split of one set.

    Attributes:
        data: The set's name.
        split: Its split; None where the file gives none.
        images: Readable or not.
        captions: Repeats counted.
        distinct_captions: Different ones, case and punctuation aside.
        fewest_captions: Of any image.
        most_captions: Likewise.
        classes: Number of labels; 0 where there are none.
        imbalance_ratio: Images of the largest class to those of the smallest; None without labels.
        georeferenced: Images with a footprint.
        class_counts: Images of each class, readable or not.
    """

    data: str
    split: str | None
    images: int
    captions: int
    distinct_captions: int
    fewest_captions: int
    most_captions: int
    classes: int
    imbalance_ratio: float | None
    georeferenced: int
    class_counts: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Set and split."""
        return f"{self.data} {self.split}" if self.split else self.data


@dataclass(frozen=True)
class CheckReport:
    """All that was found.

    Attributes:
        problems: One line for each thing that is wrong: it stops a run.
        warnings: What is not wrong but should be known.
        counts: The size of every split of every set.
    """

    problems: tuple[str, ...]
    warnings: tuple[Finding, ...]
    counts: tuple[PartCounts, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "problems": list(self.problems),
            "warnings": [asdict(finding) for finding in self.warnings],
            "counts": [asdict(part) for part in self.counts],
        }

    def render(self) -> str:
        """Return the report as plain text: tables of counts and of classes, then every problem, then every warning."""
        lines = _counts_table(self.counts) + _class_table([part for part in self.counts if part.class_counts])
        lines += ["", f"{len(self.problems)} problem{'s' * (len(self.problems) != 1)}"]
        lines += [f"  - {problem}" for problem in self.problems]
        lines += ["", f"{len(self.warnings)} warning{'s' * (len(self.warnings) != 1)}"]
        for finding in self.warnings:
            lines.append(f"  - {finding.message}")
            lines += [f"      {example}" for example in finding.examples]
        return "\n".join(lines) + "\n"


def _counts_table(parts: Sequence[PartCounts]) -> list[str]:
    """Return a line a part; columns of captions only where there are some."""
    if not parts:
        return []
    header = ("data", "split", "images", "captions", "distinct", "per image", "classes", "imbalance")
    rows = [header, *map(_row, parts)]
    if not any(part.captions for part in parts):
        rows = [row[:3] + row[6:] for row in rows]
    return _table(rows)


def _class_table(parts: Sequence[PartCounts]) -> list[str]:
    """Return a line a class, the largest of the first part first; of many, those at both ends."""
    if not parts:
        return []
    names = {name for part in parts for name in part.class_counts}
    order = sorted(names, key=lambda name: ([-part.class_counts.get(name, 0) for part in parts], name))
    rows = [(name, *(f"{part.class_counts.get(name, 0):,}" for part in parts)) for name in order]
    if len(rows) > 2 * _END:
        left_out = len(rows) - 2 * _END
        rows[_END:-_END] = [(f"... {left_out:,} more, see --json", *("" for _ in parts))]
    return ["", *_table([("class", *(part.name for part in parts)), *rows], left=1)]


def _row(part: PartCounts) -> tuple[str, ...]:
    few, many = part.fewest_captions, part.most_captions
    return (
        part.data,
        part.split or "-",
        f"{part.images:,}",
        f"{part.captions:,}",
        f"{part.distinct_captions:,}",
        str(few) if few == many else f"{few} to {many}",
        str(part.classes or "-"),
        "-" if part.imbalance_ratio is None else f"{part.imbalance_ratio:.1f}",
    )


def _table(rows: Sequence[Sequence[str]], *, left: int = 2) -> list[str]:
    """Align: names, the first columns, to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if position < left else cell.rjust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
