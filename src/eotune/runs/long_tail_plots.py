"""plots/*.png of a long-tail run, each with the .csv behind it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eotune.core.files import write_text
from eotune.runs.class_map import KEYS, PARTS, class_map
from eotune.runs.embedding_map import Planes, write_map
from eotune.runs.learning import learning_curves, write_learning_curve
from eotune.runs.long_tail_files import CLASSIFIER_NAMES, GROUP_METRICS, ClassFigures, LongTailFiles
from eotune.runs.long_tail_geometry import CLASS_PAIR
from eotune.runs.long_tail_rows import MODELS
from eotune.runs.plots import EMBEDDING_MAP
from eotune.runs.png import BASE, MAIN, MARK, draw
from eotune.runs.tables import csv_text

_SMALL = 40  # classes up to which the confusion matrix has their names


def write_plots(run: Path) -> None:
    """Draw learning curve, F1 by group and by class size, confusion matrix and map of a run, from its files."""
    files, folder = LongTailFiles.read(run), run / "plots"
    write_learning_curve(folder, learning_curves(files.run.log, "macro_f1"), "macro_f1")
    bars = _bars(files)
    fields = ("classifier", "model", "classes", "value", "low", "high")
    write_text(folder / "group_f1.csv", csv_text(fields, [[bar[field] for field in fields] for bar in bars]))
    size = (1.0 + 3.2 * len(files.classifiers), 3.6)
    draw(folder / "group_f1.png", lambda figure: _group_bars(figure, files, bars), size=size)
    columns = [f"{model}{end}" for model in MODELS for end in ("", "_low", "_high")]
    lines = [
        (one.name, one.group, one.train_images, one.test_images, *(x for model in MODELS for x in one.f1[model]))
        for one in files.classes
    ]
    header = ("class", "group", "train_images", "test_images", *columns)
    write_text(folder / "f1_by_size.csv", csv_text(header, lines))
    draw(folder / "f1_by_size.png", lambda figure: _by_size(figure, [one for one in files.classes if one.test_images]))
    names = [one.name for one in files.classes]
    counts = files.confusion["adapted"]
    table = [(name, *row) for name, row in zip(names, counts.tolist(), strict=True)]
    write_text(folder / "confusion.csv", csv_text(("true", *names), table))
    draw(folder / "confusion.png", lambda figure: _confusion(figure, names, counts), size=(8, 7.4))
    planes = class_map(run / CLASS_PAIR)
    if planes:
        write_map(folder / EMBEDDING_MAP, planes, KEYS)
        draw(
            (folder / EMBEDDING_MAP).with_suffix(".png"),
            lambda figure: _maps(figure, planes, files.geometry["pair"]),
            size=(7, 4.2),
        )


def _bars(files: LongTailFiles) -> list[dict[str, Any]]:
    found = (
        (classifier, model, classes, files.run.row(f"{classifier}_{metric}", model=model))
        for classifier in files.classifiers
        for model in MODELS
        for metric, classes in GROUP_METRICS.items()
    )
    return [
        {"classifier": classifier, "model": model, "classes": classes, **row}
        for classifier, model, classes, row in found
        if row
    ]


def _group_bars(figure: Any, files: LongTailFiles, bars: Sequence[dict[str, Any]]) -> None:
    groups = list(GROUP_METRICS.values())
    every = figure.subplots(1, len(files.classifiers), sharey=True, squeeze=False)[0]
    for axes, classifier in zip(every, files.classifiers, strict=True):
        for offset, (model, colour) in enumerate(zip(MODELS, (BASE, MAIN), strict=True)):
            chosen = [bar for bar in bars if (bar["classifier"], bar["model"]) == (classifier, model)]
            where = [groups.index(bar["classes"]) + (offset - 0.5) * 0.38 for bar in chosen]
            spread = [[abs(bar["value"] - bar[end]) for bar in chosen] for end in ("low", "high")]
            axes.bar(where, [bar["value"] for bar in chosen], 0.38, yerr=spread, color=colour, label=model, capsize=2)
        axes.set_xticks(range(len(groups)), groups)
        axes.set_xlim(-0.5, len(groups) - 0.5)
        axes.set_title(CLASSIFIER_NAMES[classifier])
    every[0].set_ylabel("test macro F1 (%), 95 % interval")
    figure.legend(*every[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)


def _by_size(figure: Any, classes: Sequence[ClassFigures]) -> None:
    axes = figure.subplots()
    sizes = [one.train_images for one in classes]
    before, after = ([one.f1[model][0] for one in classes] for model in MODELS)
    axes.vlines(sizes, before, after, color=BASE, linewidth=1)
    for model, colour, values in zip(MODELS, (BASE, MAIN), (before, after), strict=True):
        axes.plot(sizes, values, "o", color=colour, label=model)
    axes.set(xscale="log", xlabel="training images of the class", ylabel="test F1 (%), linear probe", ylim=(-2, 102))
    axes.legend(frameon=False)


def _confusion(figure: Any, names: Sequence[str], counts: np.ndarray) -> None:
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure.colorbar(axes.imshow(shares, cmap="Blues", vmin=0, vmax=1), label="share of the true class")
    axes.set(xlabel="predicted, linear probe, adapted", ylabel="true", xticks=[], yticks=[])
    if len(names) <= _SMALL:
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
        axes.set_yticks(range(len(names)), names, fontsize=7)


def _maps(figure: Any, planes: Planes, pair: dict[str, Any]) -> None:
    for axes, model in zip(figure.subplots(1, len(MODELS)), MODELS, strict=True):
        for split, group in PARTS:
            colour, fill = MAIN if group == "head" else MARK, split == "train"
            style = {"color": colour} if fill else {"facecolors": "none", "edgecolors": colour}
            axes.scatter(*planes[model, split, group].T, s=12, label=f"{pair[group]}, {split}", **style)
        axes.set(title=model, xticks=[], yticks=[], aspect="equal")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=8)
