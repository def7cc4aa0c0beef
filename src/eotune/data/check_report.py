"""What a check of data sets found: problems, warnings, counts; as text and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """Something that is not wrong in a file, but that figures measured on it will feel.

    Attributes:
        kind: ``duplicate_images``, ``near_duplicate_images``, ``repeated_captions``, ``ambiguous_captions``,
            ``near_duplicate_captions`` inside one part; ``shared_images``, ``near_shared_images``,
            ``shared_captions``, ``shared_long_captions``, ``near_shared_captions``, ``overlapping_footprints`` of two.
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
        """Return the report as plain text: a table of counts, then every problem, then every warning."""
        header = ("data", "split", "images", "captions", "distinct", "per image", "classes", "imbalance")
        lines = _table([header, *(_row(part) for part in self.counts)]) if self.counts else []
        lines += ["", f"{len(self.problems)} problem{'s' * (len(self.problems) != 1)}"]
        lines += [f"  - {problem}" for problem in self.problems]
        lines += ["", f"{len(self.warnings)} warning{'s' * (len(self.warnings) != 1)}"]
        for finding in self.warnings:
            lines.append(f"  - {finding.message}")
            lines += [f"      {example}" for example in finding.examples]
        return "\n".join(lines) + "\n"


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


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align: names to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if position < 2 else cell.rjust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
