"""What the report of a long-tail run tells of feature space: distances of classes, a map of two, and fixed targets."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eotune.runs.charts import cloud
from eotune.runs.class_map import PARTS
from eotune.runs.embedding_map import read_map
from eotune.runs.heat_map import MOST, heat_map
from eotune.runs.long_tail_files import LongTailFiles
from eotune.runs.long_tail_rows import MODELS
from eotune.runs.page import Cell, Page
from eotune.runs.plots import EMBEDDING_MAP

_MARKS = {
    ("train", "head"): "dot main",
    ("test", "head"): "ring main",
    ("train", "tail"): "dot mark",
    ("test", "tail"): "ring mark",
}
_MEASURES = {"inter": "between centres", "intra": "samples to their centre"}


def space_section(page: Page, files: LongTailFiles) -> None:
    """Add the section on how classes lie in feature space, where the run measured it."""
    geometry = files.geometry
    if not geometry:
        return
    page.section(
        "Feature space",
        "Mean cosine distances (1 - cosine) of classes. Centres far apart and samples close to theirs are easy to tell "
        "apart.",
    )
    splits = ("train", "test")
    body: list[list[Cell]] = [
        [
            f"{words}, {groups}",
            *(_distance(geometry, model, split, kind, groups) for split in splits for model in MODELS),
        ]
        for kind, words in _MEASURES.items()
        for groups in dict.fromkeys(key for split in splits for key in geometry["adapted"][split][kind])
    ]
    page.table(["distance", *(f"{split}, {model}" for split in splits for model in MODELS)], body)
    page.heading("Centres of training and test")
    page.text(
        "Cosine distance between a class's centre in training and in the test, mean over the group: large where few "
        "training images do not stand for their class. Part of it is chance: the centre of three images lies off by "
        "about a third of their distance to it, biased or not."
    )
    page.table(
        ["", *MODELS],
        [[group, *(_distance(geometry, model, "mismatch", group) for model in MODELS)]
         for group in geometry["adapted"]["mismatch"]],
    )  # fmt: skip
    _map(page, files)


def _distance(geometry: Any, *path: str) -> str:
    for key in path:
        geometry = geometry.get(key)
        if geometry is None:
            return "–"
    return f"{geometry:.3f}"


def _map(page: Page, files: LongTailFiles) -> None:
    planes, pair = read_map(files.run.path / "plots" / EMBEDDING_MAP), files.geometry.get("pair")
    if not planes or not pair:
        return
    page.heading(f"{pair['tail']} and {pair['head']}")
    why = (
        f"the head class that it is most often confused with ({pair['confused']:,} test images)"
        if pair["confused"]
        else "the largest head class: it was confused with none of them"
    )
    page.text(
        f"{pair['tail']} is the tail class with the lowest F1 ({100 * pair['f1']:.1f} %), {pair['head']} {why}. "
        f"t-SNE, each model by itself: neighbours mean something, distances and directions little."
    )
    charts = [
        (
            model,
            cloud(
                [(_MARKS[part], planes[model, *part].tolist()) for part in PARTS if (model, *part) in planes],
                title=f"map of the features of two classes, {model}",
            ),
        )
        for model in MODELS
    ]
    page.charts(charts, legend=[f"{pair[group]}, {split}" for split, group in PARTS], kinds=[_MARKS[p] for p in PARTS])


def targets_section(page: Page, files: LongTailFiles) -> None:
    """Add the section on the targets that a phase trained towards: clusters, and how far classes were moved."""
    targets = files.targets
    if not targets:
        return
    page.section(
        "Targets",
        "The features of the training images were clustered, and those of rare classes pulled towards a centre that "
        "their clusters give: alpha is the part of a feature that is kept.",
    )
    composition = np.array(targets.get("composition") or np.zeros((0, 0)), int)
    if composition.size:
        sizes = composition.sum(axis=1)
        noise = targets.get("noise")
        page.text(
            f"{len(sizes)} clusters of {sizes.min():,} to {sizes.max():,} images"
            + (f"; {noise:,} images are in none." if noise else ".")
        )
        _composition(page, files, composition)
    elif targets.get("noise"):
        page.text(
            f"No cluster was found, all {targets['noise']:,} images are noise: each class was pulled to its own mean.",
            warning=True,
        )
    pairs = targets.get("collapsed_pairs")
    if pairs:
        listed = "; ".join(f"{first} and {second}" for first, second, *_ in pairs)
        page.text(
            f"Rare classes whose centres point the same way (cosine above 0.99), and which the targets make hard to "
            f"tell apart: {listed}.",
            warning=True,
        )
    elif pairs is not None:
        page.text("No two rare classes have centres that point the same way (cosine above 0.99).")
    _moved(page, files)


def _composition(page: Page, files: LongTailFiles, composition: np.ndarray) -> None:
    order = _places(files)
    if composition.shape[1] != len(order) or max(composition.shape) > MOST:
        return
    by_size = np.argsort(-composition.sum(axis=1), kind="stable")
    counts = composition[by_size][:, order].T
    drawing = heat_map(
        counts,
        rows=[one.name for one in files.classes],
        columns=[f"{size:,}" for size in counts.sum(axis=0)],
        title="training images of each class in each cluster",
        groups=files.groups(),
    )
    page.wide_chart(
        "Classes in clusters: columns are clusters, named by their size; colour is a class's share", drawing
    )


def _moved(page: Page, files: LongTailFiles) -> None:
    """Add a table of alpha and of how far features were moved, for the classes that were."""
    columns = {
        name: values
        for name, values in (("alpha", files.targets.get("alpha")), ("moved", files.targets.get("moved")))
        if isinstance(values, Sequence) and len(values) == len(files.classes)
    }
    if "alpha" not in columns and "moved" not in columns:
        return
    body: list[list[Cell]] = []
    for one, place in zip(files.classes, _places(files), strict=True):
        if columns.get("alpha", [0] * len(files.classes))[place] < 1:
            alpha, moved = (columns[name][place] if name in columns else None for name in ("alpha", "moved"))
            body.append([
                one.name, one.group, f"{one.train_images:,}",
                "–" if alpha is None else f"{alpha:.2f}", "–" if moved is None else f"{100 * moved:.1f} %",
            ])  # fmt: skip
    if not body:
        page.text("No class is rare enough to be moved: the targets are the features themselves.", warning=True)
        return
    page.table(["class", "group", "training images", "alpha", "moved, of a feature's length"], body)


def _places(files: LongTailFiles) -> list[int]:
    """Return where each of the run's classes stands in the report's lists."""
    names = files.targets.get("classes") or list(files.run.data["splits"]["train"]["classes"])
    return [names.index(one.name) for one in files.classes]
