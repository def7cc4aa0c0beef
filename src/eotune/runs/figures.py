"""Figures of metrics.json, and durations, as text."""

from collections.abc import Mapping, Sequence
from typing import Any


def find(rows: Sequence[Mapping[str, Any]], metric: str, *, split: str, model: str) -> Mapping[str, Any] | None:
    """Return the row of a metric, or None."""
    return next((r for r in rows if (r["metric"], r["split"], r["model"]) == (metric, split, model)), None)


def figure(rows: Sequence[Mapping[str, Any]], metric: str, *, split: str, model: str) -> str:
    """Return one figure with its interval, as text; a dash where it is not there."""
    return " ".join(part for part in cell(find(rows, metric, split=split, model=model)) if part)


def cell(row: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return a row's value and its interval, for a table; those of a gain with their signs."""
    if row is None:
        return "–", ""
    sign = "+" if row["model"] == "gain" else ""
    interval = "" if row["low"] is None else f"[{row['low']:{sign}.2f}, {row['high']:{sign}.2f}]"
    return f"{row['value']:{sign}.2f}", interval


def duration(seconds: float) -> str:
    """Return a duration as one reads it.

    Example:
        >>> [duration(s) for s in (0, 8.2, 75, 4020)]
        ['0 s', '8.2 s', '1 min 15 s', '1 h 07 min']
    """
    if seconds < 10:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
