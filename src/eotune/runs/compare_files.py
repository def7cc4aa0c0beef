"""A comparison as Markdown, CSV, JSON or one self-contained page."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from eotune.core.errors import InputError
from eotune.core.files import write_text
from eotune.core.lookup import nearest
from eotune.runs.charts import Bar, Point, cost_chart, interval_bars
from eotune.runs.compare import Comparison, Group
from eotune.runs.embedding_map import read_map
from eotune.runs.figures import duration
from eotune.runs.page import Cell, Page
from eotune.runs.plots import EMBEDDING_MAP
from eotune.runs.retrieval_space import GEOMETRY, LEGEND, MAP_NOTE, map_chart
from eotune.runs.tables import csv_text, markdown_table

_LONGEST = 22  # characters beside a bar; longer labels are numbered instead
_COLUMNS = (
    "label", "seeds", "value", "low", "high", "interval", "difference", "images_low", "images_high", "seeds_low",
    "seeds_high", "retention", "retention_low", "retention_high", "trainable", "share", "training_seconds",
    "step_seconds", "peak_memory_mb", "runs",
)  # fmt: skip


def check_target(path: Path) -> None:
    """Refuse a file that is there already, or whose suffix names no format.

    Raises:
        InputError: It is one of these.
    """
    if path.suffix.lower() not in _WRITERS:
        near = nearest(path.suffix.lower(), _WRITERS)
        hint = f"did you mean {near}? " if near else ""
        raise InputError(f"{path}: unknown format {path.suffix!r}", remedy=f"{hint}Known: {', '.join(_WRITERS)}")
    if path.exists():
        raise InputError(f"{path}: is there already", remedy="choose another --out, or remove it")


def write_comparison_file(comparison: Comparison, path: Path) -> None:
    """Write a comparison in the format that the file's suffix names; see :func:`check_target`."""
    check_target(path)
    write_text(path, _WRITERS[path.suffix.lower()](comparison))


def to_markdown(comparison: Comparison) -> str:
    """Return the table, its caption and the cautions."""
    notes = [_caption(comparison), *(f"Note: {one}" for one in comparison.cautions)]
    return "\n".join([markdown_table(*_table(comparison)), "", *notes]) + "\n"


def to_csv(comparison: Comparison) -> str:
    """Return one line a group, figures unrounded, empty where there is none."""
    return csv_text(_COLUMNS, map(_csv_row, comparison.groups))


def to_json(comparison: Comparison) -> str:
    """Return everything."""
    return json.dumps(comparison.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_html(comparison: Comparison) -> str:
    """Return the page: the best, a chart, the table, where the runs are."""
    metric, groups = comparison.metric, comparison.groups
    page = Page(f"{len(groups)} recipes, {metric}", _caption(comparison), eyebrow="eotune · compare")
    first = groups[0]
    cards = [(f"First: {first.label}", f"{first.score.value:.2f}", first.score.interval)]
    cards += [
        (group.label, f"{group.score.value:.2f}", f"{group.difference.value:+.2f} against the first")
        for group in sorted(groups, key=lambda one: one.score.value, reverse=True)[:4]
        if group.difference is not None
    ]
    page.cards(cards)
    for caution in comparison.cautions:
        page.text(caution, warning=True)
    page.section("Figures", "The difference is from the first line; where an interval holds 0, none is established.")
    names = short_names([group.label for group in groups])
    bars = [Bar(g.score.value, g.score.low, g.score.high, g is not first) for g in groups]
    if all(bar.value >= 0 and (bar.low is None or bar.low >= 0) for bar in bars):
        drawing = interval_bars(
            [(name, [bar]) for name, bar in zip(names, bars, strict=True)], title=f"{metric} of each recipe"
        )
        points = [
            Point(name, g.trainable, g.score.value, g.score.low, g.score.high)
            for name, g in zip(names, groups, strict=True)
        ]
        untrained = next((g for g in groups if not g.trainable), None)
        baseline = (untrained.score.value, untrained.label) if untrained else None
        charts = [(f"Test {metric}", drawing), *cost_chart(points, metric=f"test {metric}", baseline=baseline)]
        page.charts(charts)
    header, rows = _table(comparison)
    if names != [group.label for group in groups]:
        rows = [[(name, str(row[0])), *row[1:]] for name, row in zip(names, rows, strict=True)]
    page.table(header, rows)
    _space(page, groups, names)
    page.section("Runs")
    page.table(["recipe", "seed", "directory"], [
        [group.label, str(seed), run] for group in groups for seed, run in zip(group.seeds, group.runs, strict=True)
    ], wrap=True)  # fmt: skip
    return page.render()


def _space(page: Page, groups: Sequence[Group], names: Sequence[str]) -> None:
    """Show how the recipes arrange images and captions."""
    named = [(name, group) for name, group in zip(names, groups, strict=True) if group.geometry]
    if not named:
        return
    page.section("Embedding space", "On the test split, unit vectors, mean of the seeds.")
    measured = [(one, what) for one, what in GEOMETRY.items() if all(one in group.geometry for _, group in named)]
    body: list[list[Cell]] = [
        [(one.replace("_", " "), what), *(f"{group.geometry[one]:.3f}" for _, group in named)] for one, what in measured
    ]
    page.table(["", *(name for name, _ in named)], body)
    maps = [(name, group, read_map(Path(group.runs[0]) / "plots" / EMBEDDING_MAP)) for name, group in named]
    charts = [
        (f"{name}, seed {group.seeds[0]}", map_chart(planes, "adapted", name)) for name, group, planes in maps if planes
    ]
    if charts:
        page.charts(charts, legend=LEGEND)
        page.text(MAP_NOTE)


def short_names(labels: Sequence[str]) -> list[str]:
    """Return labels that fit beside a bar: themselves, or numbers where one is too long.

    Example:
        >>> short_names(["harma", "lora"]), short_names(["lora", "harma, bottleneck=64, learning_rate=0.001"])
        (['harma', 'lora'], ['1', '2'])
    """
    if all(len(label) <= _LONGEST for label in labels):
        return list(labels)
    return [str(number) for number in range(1, len(labels) + 1)]


def _caption(comparison: Comparison) -> str:
    return (
        f"{comparison.metric} on the {comparison.images:,} test images of {comparison.dataset}. Intervals are 95 %: "
        "Student's t over seeds, or for a single run the bootstrap over test images. Differences are from the first "
        "line, paired by seed and by test image."
    )


def _table(comparison: Comparison) -> tuple[list[str], list[list[Cell]]]:
    has_retention = any(group.retention for group in comparison.groups)
    header = [
        "", f"{comparison.metric}", "seeds", "difference", "over images", "over seeds",
        *(["retention mR"] if has_retention else []), "parameters trained", "share", "training", "a step",
        "peak memory",
    ]  # fmt: skip
    return header, [_row(group, has_retention=has_retention) for group in comparison.groups]


def _row(group: Group, *, has_retention: bool) -> list[Cell]:
    difference = group.difference
    step, kept = group.step_seconds, group.retention
    retention: Cell = (f"{kept.value:.2f}", kept.interval) if kept else "–"
    return [
        group.label,
        (f"{group.score.value:.2f}", group.score.interval),
        ", ".join(map(str, group.seeds)),
        f"{difference.value:+.2f}" if difference else "–",
        _interval(difference.over_images if difference else None),
        _interval(difference.over_seeds if difference else None),
        *([retention] if has_retention else []),
        f"{group.trainable:,}",
        f"{100 * group.share:.2f} %",
        duration(group.training_seconds) if group.trainable else "–",
        f"{1000 * step:,.0f} ms" if step else "–",
        f"{group.peak_memory_mb:,.0f} MiB",
    ]


def _interval(ends: tuple[float, float] | None) -> str:
    return f"[{ends[0]:+.2f}, {ends[1]:+.2f}]" if ends else "–"


def _csv_row(group: Group) -> Sequence[object]:
    score, difference = group.score, group.difference
    images = (difference and difference.over_images) or (None, None)
    seeds = (difference and difference.over_seeds) or (None, None)
    kept = group.retention
    retention = (kept.value, kept.low, kept.high) if kept else (None, None, None)
    return [
        group.label, " ".join(map(str, group.seeds)), score.value, score.low, score.high, score.over,
        difference.value if difference else None, *images, *seeds, *retention, group.trainable, group.share,
        group.training_seconds, group.step_seconds, group.peak_memory_mb, " ".join(group.runs),
    ]  # fmt: skip


_WRITERS: dict[str, Callable[[Comparison], str]] = {
    ".html": to_html,
    ".md": to_markdown,
    ".csv": to_csv,
    ".json": to_json,
}
