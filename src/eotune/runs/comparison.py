"""report.html that sets several methods side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eotune.core.files import write_text
from eotune.runs.charts import Bar, Point, cost_chart, interval_bars
from eotune.runs.figures import duration
from eotune.runs.page import Cell, Page, Picture
from eotune.runs.plots import RECALLS

_SMALL = 0.25  # share of the parameters below which a method counts as small

# A query and what each model found: (query, [(model, its images)]).
Sheet = tuple[str, Sequence[tuple[str, Sequence[Picture]]]]


def write_comparison(
    out: Path,
    rows: Sequence[Mapping[str, Any]],
    sheets: Sequence[Sheet] = (),
    *,
    title: str,
    lead: str,
    note: str = "",
    further: Sequence[tuple[str, str]] = (),
) -> None:
    """Write ``out``/report.html.

    Args:
        out: The directory that holds it.
        rows: One a method, the baseline first: ``method``, ``run`` (sub-directory with a report of its own), ``value``,
            ``low``, ``high`` (test mR), ``recalls`` (metric to ``(value, low, high)``), ``trainable``, ``total``,
            ``seconds``, and ``peak_memory_mb`` where it was measured for each method alone.
        sheets: Queries with what several models found.
        title: Headline.
        lead: One sentence below it.
        note: What to keep in mind, in a box.
        further: Other pages: (path from ``out``, what they show).
    """
    page = Page(title, lead, eyebrow="eotune · comparison")
    baseline, best = rows[0], max(rows, key=lambda row: float(row["value"]))
    cards = [
        (f"Best test mR: {best['method']}", f"{best['value']:.2f} %", f"95 % interval {_interval(best)}"),
        (f"Before: {baseline['method']}", f"{baseline['value']:.2f} %", _interval(baseline)),
    ]
    small = [row for row in rows if 0 < row["trainable"] < _SMALL * row["total"]]
    if small:
        row = max(small, key=lambda row: float(row["value"]))
        share = f"trains {100 * row['trainable'] / row['total']:.2f} % of the parameters"
        cards.append((f"Best small: {row['method']}", f"{row['value']:.2f} %", share))
    cards.append(("Training", duration(sum(row["seconds"] for row in rows)), f"{len(rows)} methods, one after another"))
    page.cards(cards)
    if note:
        page.text(note, warning=True)
    _methods(page, rows)
    _recalls(page, rows)
    if sheets:
        page.section("Queries", "Words typed in, and the test images that score highest. Green: their captions say so.")
        for words, columns in sheets:
            page.sheet(words, columns)
    page.section("The runs", "Each is a directory of its own, with recipe, adapter, model card and report.")
    for row in rows:
        page.link(f"{row['run']}/report.html", f"{row['method']}: {row['run']}/report.html")
    if further:
        page.section("Further")
        for path, words in further:
            page.link(path, words)
    write_text(out / "report.html", page.render())


def _methods(page: Page, rows: Sequence[Mapping[str, Any]]) -> None:
    page.section(
        "Methods", "mR is the mean of six recalls, in per cent; intervals are 95 %, by bootstrap over test images."
    )
    bars = [(str(r["method"]), [Bar(r["value"], r["low"], r["high"], r is not rows[0])]) for r in rows]
    charts = [("Test mR, %", interval_bars(bars, title="test mR of each method"))]
    points = [Point(str(r["method"]), r["trainable"], r["value"], r["low"], r["high"]) for r in rows]
    baseline = (float(rows[0]["value"]), str(rows[0]["method"])) if not rows[0]["trainable"] else None
    charts += cost_chart(points, metric="test mR, %", baseline=baseline)
    page.charts(charts)
    measured = all(r.get("peak_memory_mb") is not None for r in rows)
    body: list[list[Cell]] = [
        [
            str(r["method"]),
            (f"{r['value']:.2f}", _interval(r)),
            f"{r['trainable']:,}",
            f"{100 * r['trainable'] / r['total']:.2f} %",
            duration(r["seconds"]) if r["trainable"] else "–",
            *([f"{r['peak_memory_mb']:,.0f} MiB"] if measured else []),
        ]
        for r in rows
    ]
    memory = ["peak memory"] if measured else []
    page.table(["", "test mR, %", "parameters trained", "share", "training", *memory], body)


def _recalls(page: Page, rows: Sequence[Mapping[str, Any]]) -> None:
    page.section("Recall", "Per cent of the test queries whose match is among the first k results.")
    header = [name.replace("i2t_", "image→text ").replace("t2i_", "text→image ") for name in RECALLS[:-1]]
    page.table(["", *header], [[str(r["method"]), *_cells(r["recalls"])] for r in rows])


def _cells(recalls: Mapping[str, Sequence[float]]) -> list[Cell]:
    return [
        (f"{value:.1f}", f"[{low:.1f}, {high:.1f}]") for value, low, high in (recalls[name] for name in RECALLS[:-1])
    ]


def _interval(row: Mapping[str, Any]) -> str:
    return f"[{row['low']:.2f}, {row['high']:.2f}]"
