"""What a sweep leaves behind beside its trials: table.csv, table.md, table.json, plots/ and report.html."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eotune.core.files import replaced, write_text
from eotune.runs.averages import Average
from eotune.runs.charts import Bar, interval_bars
from eotune.runs.compare_files import short_names
from eotune.runs.grid import text_of
from eotune.runs.page import Cell, Page
from eotune.runs.sweep_result import TRIALS, PointResult, SweepResult
from eotune.runs.tables import csv_text, markdown_table

_MOST_BARS = 40
_COLOURS = ("#2f6f6a", "#c46a2b", "#5b7db1", "#8c5a9e", "#7a8a2e", "#b0486a", "#4a4f57", "#a9b3bf")


def write_sweep_files(result: SweepResult, out: Path) -> None:
    """Write the tables, the plot and the report of a sweep.

    Nothing in the tables depends on the clock: an interrupted sweep ends at the same bytes as an undisturbed one.
    """
    write_text(out / "table.csv", to_csv(result))
    write_text(out / "table.md", to_markdown(result))
    text = json.dumps(result.to_dict(), indent=2, ensure_ascii=False, allow_nan=False, default=str)
    write_text(out / "table.json", text + "\n")
    _write_plot(result, out / "plots")
    write_text(out / "report.html", _page(result).render())


def to_markdown(result: SweepResult) -> str:
    """Return the table with a line a grid point, and the warnings."""
    notes = [_caption(result), *(f"Warning: {warning}" for warning in result.warnings)]
    notes += [f"Failed: {trial.name}: {' '.join(str(trial.reason).split())}" for trial in result.failed]
    return "\n".join([markdown_table(*_table(result)), "", *notes]) + "\n"


def to_csv(result: SweepResult) -> str:
    """Return one line a grid point, figures unrounded, empty where there is none."""
    splits = [f"{split}_{part}" for split in ("validation", "test") for part in ("mean", "low", "high", "n")]
    header = [*result.axes, *splits, "interval", "failed", "best"]
    rows = [
        [
            *map(text_of, point.settings.values()),
            *_figures(point.validation),
            *_figures(point.test),
            point.validation.over if point.validation else None,
            point.failed,
            int(point.number == result.best),
        ]
        for point in result.points
    ]
    return csv_text(header, rows)


def _figures(average: Average | None) -> Sequence[object]:
    return (average.value, average.low, average.high, average.n) if average else (None,) * 4


def _caption(result: SweepResult) -> str:
    return (
        f"{result.metric}, mean over seeds. Intervals are 95 %: Student's t over seeds, or for a single seed the "
        "bootstrap over images. The best point is that with the highest mean on validation."
    )


def _table(result: SweepResult) -> tuple[list[str], list[list[Cell]]]:
    header = [*(result.axes or [""]), f"validation {result.metric}", f"test {result.metric}", "seeds", ""]
    rows: list[list[Cell]] = []
    for point in result.points:
        remarks = ["best"] * (point.number == result.best) + [f"{point.failed} failed"] * bool(point.failed)
        rows.append(
            [
                *([text_of(value) for value in point.settings.values()] or [point.label]),
                *(_cell(average) for average in (point.validation, point.test)),
                ", ".join(str(trial.seed) for trial in point.trials),
                ", ".join(remarks),
            ]
        )
    return header, rows


def _cell(average: Average | None) -> Cell:
    return (f"{average.value:.2f}", average.interval) if average else "–"


# --- the plot ---------------------------------------------------------------------------------------------------------


def _write_plot(result: SweepResult, folder: Path) -> None:
    """Draw validation means with intervals over the axis with the most numbers, a line for each of the other values."""
    from matplotlib.figure import Figure

    points = [point for point in result.points if point.validation is not None]
    rows = [[point.label, *_figures(point.validation)] for point in points]
    write_text(folder / "validation.csv", csv_text(["point", "mean", "low", "high", "n"], rows))
    if not points:
        return
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axis = _numeric_axis(result)
    if axis is None:
        _errorbar(axes, list(range(len(points))), points, _COLOURS[0], "")
        axes.set_xticks(range(len(points)), [p.label for p in points], rotation=30, ha="right")
    else:
        lines: dict[str, list[PointResult]] = {}
        for point in points:
            rest = ", ".join(f"{name}={text_of(v)}" for name, v in point.settings.items() if name != axis)
            lines.setdefault(rest, []).append(point)
        for number, (label, line) in enumerate(lines.items()):
            line.sort(key=lambda point: float(point.settings[axis]))
            positions = [float(point.settings[axis]) for point in line]
            _errorbar(axes, positions, line, _COLOURS[number % len(_COLOURS)], label)
        values = [float(value) for value in result.axes[axis]]
        if min(values) > 0 and max(values) / min(values) >= 8:
            axes.set_xscale("log")
        axes.set_xlabel(axis)
        if len(lines) > 1:
            axes.legend(frameon=False, fontsize="small")
    axes.set_ylabel(f"validation {result.metric}, 95 % interval")
    with replaced(folder / "validation.png") as temporary:
        figure.savefig(temporary, dpi=120)


def _errorbar(axes: Any, positions: Sequence[float], points: Sequence[PointResult], colour: str, label: str) -> None:
    found = [point.validation for point in points if point.validation is not None]
    below = [one.value - (one.value if one.low is None else one.low) for one in found]
    above = [(one.value if one.high is None else one.high) - one.value for one in found]
    axes.errorbar(
        positions, [one.value for one in found], yerr=[below, above], fmt="o-" if label or len(found) > 1 else "o",
        color=colour, label=label, capsize=3, markersize=4,
    )  # fmt: skip


def _numeric_axis(result: SweepResult) -> str | None:
    def is_number(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool)

    numeric = [name for name, values in result.axes.items() if len(values) > 1 and all(map(is_number, values))]
    return max(numeric, key=lambda name: len(result.axes[name]), default=None)


# --- the page ---------------------------------------------------------------------------------------------------------


def _page(result: SweepResult) -> Page:
    trials = [trial for point in result.points for trial in point.trials]
    page = Page(
        f"{result.name}: a sweep",
        f"{len(result.points)} settings, {len(trials)} runs. Settings were chosen on validation; the test split was "
        "read afterwards.",
        eyebrow="eotune · sweep",
    )
    page.cards(_cards(result, len(trials)))
    for warning in result.warnings:
        page.text(warning[:1].upper() + warning[1:] + ".", warning=True)
    for trial in result.failed:
        page.text(f"{trial.name} failed: {trial.reason}", warning=True)
    page.section("Figures", _caption(result))
    measured = [point for point in result.points if point.validation is not None]
    names = dict(zip((p.number for p in result.points), short_names([p.label for p in result.points]), strict=True))
    if measured:
        shown = sorted(measured, key=_mean, reverse=True)[:_MOST_BARS]
        bars = [(names[p.number], [_bar(p.validation, main=p.number == result.best)]) for p in shown if p.validation]
        drawing = interval_bars(bars, title=f"validation {result.metric} of each setting, the highest first")
        page.charts([(f"Validation {result.metric}, the highest first", drawing)])
    header, rows = _table(result)
    numbered = any(names[point.number] != point.label for point in result.points)
    page.table(
        [*(["number"] if numbered else []), *header],
        [[*([names[point.number]] if numbered else []), *row] for point, row in zip(result.points, rows, strict=True)],
        strong=result.best,
    )
    page.section("Runs", "Each trial is a run of its own; those that read the test split have a report.")
    for trial in trials:
        if trial.test is not None:
            page.link(f"{TRIALS}/{trial.name}/report.html", trial.name)
    listed = [[trial.name, *(_value(row) for row in (trial.validation, trial.test))] for trial in trials]
    page.table(["run", f"validation {result.metric}", f"test {result.metric}"], listed)
    return page


def _cards(result: SweepResult, trials: int) -> list[tuple[str, str, str]]:
    cards = []
    if result.best is not None:
        best = result.points[result.best]
        for what, average in ((f"Validation {result.metric}", best.validation), (f"Test {result.metric}", best.test)):
            if average is not None:
                cards.append((f"{what} of the best", f"{average.value:.2f}", average.interval))
        cards.append(("Best on validation", best.label, ""))
    failed = len(result.failed)
    cards.append(("Runs", f"{trials - failed} of {trials}", f"{failed} failed" if failed else "all finished"))
    return cards


def _mean(point: PointResult) -> float:
    return point.validation.value if point.validation else 0.0


def _bar(average: Average, *, main: bool) -> Bar:
    low = None if average.low is None else max(0.0, average.low)  # a t-interval may reach below 0, a recall cannot
    return Bar(average.value, low, average.high, main)


def _value(row: Any) -> str:
    return f"{row['value']:.2f}" if row else "–"
