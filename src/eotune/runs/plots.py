"""plots/*.png, each with the .csv behind it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eotune.core.files import read_json, write_text
from eotune.runs.directory import read_log
from eotune.runs.embedding_map import MODALITIES, Planes, embedding_map, write_map
from eotune.runs.learning import learning_curves, write_learning_curve
from eotune.runs.measure import MODELS
from eotune.runs.png import BASE, MAIN, MARK, draw
from eotune.runs.tables import csv_text

EMBEDDING_MAP = "embedding_map.csv"
RECALLS = ("i2t_R@1", "i2t_R@5", "i2t_R@10", "t2i_R@1", "t2i_R@5", "t2i_R@10", "mR")


def write_plots(run: Path) -> None:
    """Draw the learning curve, the recall bars and the embedding map of a run directory from its files."""
    rows = read_json(run / "metrics.json")
    folder = run / "plots"
    write_learning_curve(folder, learning_curves(read_log(run / "log.jsonl"), "mR"), "mR")
    test = [r for r in rows if r["split"] == "test" and r["model"] in MODELS and r["metric"] in RECALLS]
    fields = ("model", "metric", "value", "low", "high")
    write_text(folder / "recalls.csv", csv_text(fields, [[row[f] for f in fields] for row in test]))
    draw(folder / "recalls.png", lambda figure: _recall_bars(figure, test))
    planes = embedding_map(run / "embeddings.npz")
    if planes:
        write_map(folder / EMBEDDING_MAP, planes)
        draw((folder / EMBEDDING_MAP).with_suffix(".png"), lambda figure: _maps(figure, planes))


def _recall_bars(figure: Any, rows: Sequence[dict[str, Any]]) -> None:
    axes = figure.subplots()
    for offset, (model, colour) in enumerate(zip(MODELS, (BASE, MAIN), strict=True)):
        chosen = [row for row in rows if row["model"] == model]
        where = [RECALLS.index(row["metric"]) + (offset - 0.5) * 0.38 for row in chosen]
        values = [row["value"] for row in chosen]
        spread = [[row["value"] - row["low"] for row in chosen], [row["high"] - row["value"] for row in chosen]]
        axes.bar(where, values, 0.38, yerr=spread, color=colour, label=model, capsize=2)
    axes.set_xticks(range(len(RECALLS)), RECALLS, rotation=30)
    axes.set_ylabel("test recall (%), 95 % interval")
    axes.legend(frameon=False)


def _maps(figure: Any, planes: Planes) -> None:
    for axes, model in zip(figure.subplots(1, len(MODELS)), MODELS, strict=True):
        for modality, colour in zip(MODALITIES, (MAIN, MARK), strict=True):
            axes.scatter(*planes[model, modality].T, s=6, color=colour, label=modality)
        axes.set(title=model, xticks=[], yticks=[], aspect="equal")
    axes.legend(frameon=False)
