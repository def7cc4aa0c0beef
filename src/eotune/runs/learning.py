"""What training told of itself, phase by phase: loss and validation figure over the epochs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eotune.core.files import write_text
from eotune.runs.charts import line_chart
from eotune.runs.page import Page
from eotune.runs.png import MARK, draw
from eotune.runs.tables import csv_text


@dataclass(frozen=True)
class Curve:
    """One phase's training; steps rise.

    Attributes:
        phase: Its name.
        losses: Step to (epoch, training loss).
        scores: Step to (epoch, validation figure).
    """

    phase: str
    losses: dict[int, tuple[float, float]] = field(default_factory=dict)
    scores: dict[int, tuple[float, float]] = field(default_factory=dict)


def learning_curves(events: Sequence[Mapping[str, Any]], metric: str) -> list[Curve]:
    """Return the phases that trained, from the events of log.jsonl.

    What an interrupted run logged beyond its last checkpoint, and was done again, counts once.

    Example:
        >>> log = [{"event": "phase", "name": "lora"}, {"event": "step", "step": 1, "epoch": 0.5, "loss": 2.0}]
        >>> [(curve.phase, curve.losses) for curve in learning_curves(log, "mR")]
        [('lora', {1: (0.5, 2.0)})]
    """
    curves: dict[str, Curve] = {}
    name = ""
    for event in events:
        if event["event"] == "phase":
            name = event["name"]
        elif event["event"] in ("step", "evaluation"):
            curve = curves.setdefault(name, Curve(name))
            kept, value = (
                (curve.losses, event["loss"])
                if event["event"] == "step"
                else (curve.scores, event["metrics"].get(metric))
            )
            if value is not None:
                kept[event["step"]] = event["epoch"], value
    return [
        Curve(one.phase, dict(sorted(one.losses.items())), dict(sorted(one.scores.items()))) for one in curves.values()
    ]


def write_learning_curve(folder: Path, curves: Sequence[Curve], metric: str) -> None:
    """Write learning_curve.png with the .csv behind it, where something trained.

    Args:
        folder: Of the plots.
        curves: Of :func:`learning_curves`.
        metric: The validation figure's name.
    """
    if not curves:
        return
    kinds = (("loss", "losses"), (f"validation_{metric}", "scores"))
    lines = [
        (kind, curve.phase, step, *point)
        for kind, which in kinds
        for curve in curves
        for step, point in getattr(curve, which).items()
    ]
    write_text(folder / "learning_curve.csv", csv_text(("kind", "phase", "step", "epoch", "value"), lines))
    draw(
        folder / "learning_curve.png",
        lambda figure: _paint(figure, curves, f"validation {metric.replace('_', ' ').replace(' f1', ' F1')} (%)"),
        size=(7.0 * len(curves), 3.6),
    )


def learning_section(
    page: Page, curves: Sequence[Curve], metric: str, *, baseline: tuple[float, str] | None = None, note: str = ""
) -> None:
    """Add the section "Learning" to a report, where something trained.

    Args:
        page: The report.
        curves: Of :func:`learning_curves`.
        metric: What the validation figure is called.
        baseline: The pretrained model's level on validation, and what it is called.
        note: What else there is to say.
    """
    if not curves:
        return
    page.section("Learning", f"The weights of the best validation epoch are the ones kept and tested. {note}".strip())
    for curve in curves:
        charts = []
        of_phase = f", phase {curve.phase}" if len(curves) > 1 else ""
        if curve.losses:
            drawing = line_chart(list(curve.losses.values()), title="training loss by epoch", x_label="epoch")
            charts.append((f"Training loss{of_phase}", drawing))
        if curve.scores:
            scores = list(curve.scores.values())
            drawing = line_chart(
                scores,
                title=f"validation {metric} by epoch",
                x_label="epoch",
                mark=max(scores, key=lambda score: score[1]),
                baseline=baseline,
                dots=True,
            )
            charts.append((f"Validation {metric}, %{of_phase}", drawing))
        page.charts(charts)


def _paint(figure: Any, curves: Sequence[Curve], label: str) -> None:
    for axes, curve in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves, strict=True):
        if len(curves) > 1:
            axes.set_title(f"phase {curve.phase}")
        axes.plot(*_columns(curve.losses), color="#5b7db1", label="training loss")
        axes.set(xlabel="epoch", ylabel="training loss")
        if curve.scores:
            right = axes.twinx()
            right.plot(*_columns(curve.scores), "o-", color=MARK)
            best = max(curve.scores.values(), key=lambda score: score[1])
            right.annotate(f"best {best[1]:.2f}", best, textcoords="offset points", xytext=(0, -14), ha="center")
            right.set_ylabel(label, color=MARK)


def _columns(points: Mapping[int, tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points.values()], [y for _, y in points.values()]
