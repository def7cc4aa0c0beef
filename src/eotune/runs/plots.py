"""plots/*.png, each with the .csv behind it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eotune.core.files import read_json, replaced, write_text
from eotune.runs.directory import read_log
from eotune.runs.embedding_map import MODALITIES, embedding_map, write_map
from eotune.runs.measure import MODELS
from eotune.runs.tables import csv_text

EMBEDDING_MAP = "embedding_map.csv"
RECALLS = ("i2t_R@1", "i2t_R@5", "i2t_R@10", "t2i_R@1", "t2i_R@5", "t2i_R@10", "mR")


def write_plots(run: Path) -> None:
    """Draw the learning curve, the recall bars and the embedding map of a run directory from its files."""
    events = read_log(run / "log.jsonl")
    steps = [(e["step"], e["epoch"], e["loss"]) for e in events if e["event"] == "step"]
    evaluations = [(e["step"], e["epoch"], e["metrics"]["mR"]) for e in events if e["event"] == "evaluation"]
    rows = read_json(run / "metrics.json")
    folder = run / "plots"
    if steps:
        curve = [("loss", *s) for s in steps] + [("validation_mR", *e) for e in evaluations]
        write_text(folder / "learning_curve.csv", csv_text(("kind", "step", "epoch", "value"), curve))
        _draw(folder / "learning_curve.png", lambda figure: _learning_curve(figure, steps, evaluations))
    test = [r for r in rows if r["split"] == "test" and r["model"] in MODELS and r["metric"] in RECALLS]
    fields = ("model", "metric", "value", "low", "high")
    write_text(folder / "recalls.csv", csv_text(fields, [[row[f] for f in fields] for row in test]))
    _draw(folder / "recalls.png", lambda figure: _recall_bars(figure, test))
    planes = embedding_map(run / "embeddings.npz")
    if planes:
        write_map(folder / EMBEDDING_MAP, planes)
        _draw((folder / EMBEDDING_MAP).with_suffix(".png"), lambda figure: _maps(figure, planes))


def _learning_curve(figure: Any, steps: Sequence[Any], evaluations: Sequence[Any]) -> None:
    axes = figure.subplots()
    axes.plot([s[1] for s in steps], [s[2] for s in steps], color="#5b7db1", label="training loss")
    axes.set(xlabel="epoch", ylabel="training loss")
    if evaluations:
        right = axes.twinx()
        right.plot([e[1] for e in evaluations], [e[2] for e in evaluations], "o-", color="#c46a2b")
        best = max(evaluations, key=lambda e: e[2])
        right.annotate(
            f"best {best[2]:.2f}", (best[1], best[2]), textcoords="offset points", xytext=(0, -14), ha="center"
        )
        right.set_ylabel("validation mR (%)", color="#c46a2b")


def _recall_bars(figure: Any, rows: Sequence[dict[str, Any]]) -> None:
    axes = figure.subplots()
    for offset, (model, colour) in enumerate(zip(MODELS, ("#a9b3bf", "#2f6f6a"), strict=True)):
        chosen = [row for row in rows if row["model"] == model]
        where = [RECALLS.index(row["metric"]) + (offset - 0.5) * 0.38 for row in chosen]
        values = [row["value"] for row in chosen]
        spread = [[row["value"] - row["low"] for row in chosen], [row["high"] - row["value"] for row in chosen]]
        axes.bar(where, values, 0.38, yerr=spread, color=colour, label=model, capsize=2)
    axes.set_xticks(range(len(RECALLS)), RECALLS, rotation=30)
    axes.set_ylabel("test recall (%), 95 % interval")
    axes.legend(frameon=False)


def _maps(figure: Any, planes: Mapping[tuple[str, str], np.ndarray]) -> None:
    for axes, model in zip(figure.subplots(1, len(MODELS)), MODELS, strict=True):
        for modality, colour in zip(MODALITIES, ("#2f6f6a", "#c46a2b"), strict=True):
            axes.scatter(*planes[model, modality].T, s=6, color=colour, label=modality)
        axes.set(title=model, xticks=[], yticks=[], aspect="equal")
    axes.legend(frameon=False)


def _draw(path: Path, paint: Any) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    paint(figure)
    with replaced(path) as temporary:
        figure.savefig(temporary, dpi=120)
