"""The main job in miniature: synthetic overhead scenes, the bundled model, four ways to adapt it, one report."""

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eotune.core.device import computes_bf16
from eotune.core.files import read_json, write_json, write_text
from eotune.core.progress import say
from eotune.data.captions import read_captions
from eotune.data.scenes import write_dataset
from eotune.methods.adapted import load_model
from eotune.runs.comparison import write_comparison
from eotune.runs.demo_long_tail import long_tail_chapter
from eotune.runs.demo_search import search_chapter
from eotune.runs.demo_select import selection_chapter
from eotune.runs.directory import RunDirectory
from eotune.runs.execute import execute
from eotune.runs.page import Picture
from eotune.runs.plots import RECALLS
from eotune.runs.recipe import Recipe, parse_recipe
from eotune.runs.workshop import Workshop
from eotune.tasks.retrieval import EvaluationSet

LONG_TAIL, SELECTION, SEARCH = "long-tail", "selection", "search"  # directories of the other chapters

# (settings, learning rate: the best of three on validation)
METHODS: dict[str, tuple[dict[str, Any], float]] = {
    "zero-shot": ({"name": "frozen"}, 1e-3),
    "LoRA": ({"name": "lora", "rank": 8}, 1e-2),
    "HarMA": ({"name": "harma", "bottleneck": 64, "input_norm": True}, 5e-3),
    "full": ({"name": "full"}, 1e-3),
}
# A query, and the words that one caption of a right image holds.
QUERIES: dict[str, tuple[str, ...]] = {
    "red planes are parked on an apron .": ("red", "planes"),
    "houses with red roofs in a residential area .": ("red", "roof"),
    "blue water at the left of a beach .": ("left", "beach"),
}


def recipe_of(label: str, captions: Path, *, seed: int, epochs: float = 15) -> Recipe:
    """Return the recipe of one of :data:`METHODS` on a caption file with train, validation and test splits."""
    method, rate = METHODS[label]
    data = {split: {"captions": str(captions), "split": split} for split in ("train", "validation", "test")}
    return parse_recipe(
        {
            "name": f"demo-{method['name']}",
            "seed": seed,
            "task": {"name": "retrieval", "pairs": "images", **data},
            "encoder": "tiny",
            "method": method,
            "training": {
                "epochs": epochs,
                "batch_size": 48,
                "learning_rate": rate,
                "precision": "bf16" if computes_bf16() else "fp32",
                "augmentation": {"crop": [0.8, 1.0], "flip": False, "randaugment": None},
            },
        },
        source="demo",
    )


def demo(
    out: Path, *, seed: int = 0, per_class: dict[str, int] | None = None, epochs: float = 15
) -> dict[str, list[dict[str, Any]]]:
    """Run everything and write ``out``: retrieval there, the other chapters below it.

    Args:
        out: Directory; an existing one is refused.
        seed: Of scenes and training.
        per_class: Images a class and split.
        epochs: Of each method's training.

    Returns:
        The rows of each chapter. ``retrieval``: one a method, with ``method``, ``value``, ``low``, ``high`` (test mR),
        ``trainable``, ``total``, ``seconds``. ``long_tail``: see
        :func:`~eotune.runs.demo_long_tail.long_tail_chapter`. ``selection``: see
        :func:`~eotune.runs.demo_select.selection_chapter`. ``search``: see
        :func:`~eotune.runs.demo_search.search_chapter`.
    """
    RunDirectory.check(out, resume=False)
    gc.freeze()  # what the imports made stays: the collection after each run need not go through it
    rows = _retrieval(out, seed=seed, per_class=per_class, epochs=epochs)
    rare = long_tail_chapter(out / LONG_TAIL, seed=seed, per_class=per_class, epochs=8)
    chosen = selection_chapter(out / SELECTION, seed=seed, records=60 if per_class else 600)
    models = {row["method"]: f"run:{out / row['run']}" for row in (rows[0], _best(rows))}
    searched = search_chapter(out / SEARCH, models, seed=seed)
    return {"retrieval": rows, "long_tail": rare, "selection": chosen, "search": searched}


def _best(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the row of the best adapted model."""
    return max(rows[1:], key=lambda row: float(row["value"]))


def _retrieval(out: Path, *, seed: int, per_class: dict[str, int] | None, epochs: float) -> list[dict[str, Any]]:
    """Adapt the bundled model to overhead scenes in several ways, and write ``out``/report.html."""
    say("rendering overhead scenes")
    captions = write_dataset(out / "data", per_class or {"train": 48, "validation": 8, "test": 25}, seed=seed)
    rows, workshop = [], Workshop()
    for label in METHODS:
        recipe = recipe_of(label, captions, seed=seed, epochs=epochs)
        say(f"{label}: {recipe.name}")
        measured = execute(recipe, out / recipe.name, workshop=workshop)
        summary = read_json(out / recipe.name / "summary.json")
        primary = next(row for row in measured if row["primary"])
        rows.append(
            {
                "method": label,
                "run": recipe.name,
                "value": primary["value"],
                "low": primary["low"],
                "high": primary["high"],
                "recalls": {r["metric"]: (r["value"], r["low"], r["high"]) for r in measured if _is_test_recall(r)},
                "trainable": summary["trainable_parameters"],
                "total": summary["total_parameters"],
                "seconds": summary["training_seconds"],
            }
        )
    write_json(out / "metrics.json", rows)
    _write_report(out, rows, captions)
    return rows


def _is_test_recall(row: dict[str, Any]) -> bool:
    return row["metric"] in RECALLS and row["split"] == "test" and row["model"] == "adapted"


def _write_report(out: Path, rows: list[dict[str, Any]], captions: Path) -> None:
    found = [(row["method"], _search(f"run:{out / row['run']}", captions)) for row in (rows[0], _best(rows))]
    write_comparison(
        out,
        rows,
        [(query, [(method, pictures[number]) for method, pictures in found]) for number, query in enumerate(QUERIES)],
        title="Four ways from the ground to the sky",
        lead="A small model that has only seen synthetic ground-level pictures is adapted to overhead scenes, then "
        "asked to find images by words and words by images.",
        further=[
            (f"{LONG_TAIL}/report.html", "Rare classes, in optical, radar and multispectral scenes"),
            (f"{SELECTION}/report.html", "Which third of a set to train on"),
            (f"{SEARCH}/report.html", "An archive in four reference systems, searched by words and by example"),
        ],
        note="Scenes and model are synthetic, and the model is small: this shows that the machinery works, not how "
        "good a method is.",
    )
    lines = [
        f"| {r['method']} | {r['value']:.2f} [{r['low']:.2f}, {r['high']:.2f}] | {r['trainable']:,} |" for r in rows
    ]
    table = "\n".join(["| method | test mR (95 %) | parameters trained |", "|---|---|---|", *lines])
    write_text(
        out / "README.md", f"# eotune demo\n\nOpen report.html. Each sub-directory is a run of its own.\n\n{table}\n"
    )


def _search(model: str, captions: Path, *, top: int = 6) -> list[list[Picture]]:
    """Return the first test images for each of :data:`QUERIES`."""
    encoder = load_model(model)
    test = read_captions(captions, split="test")
    images, _ = EvaluationSet(test, encoder).embed(encoder, batch_size=128, precision="fp32")
    found = []
    for words, vector in zip(QUERIES.values(), encoder.embed_texts(list(QUERIES)), strict=True):
        first = [test.samples[i] for i in np.argsort(-(images @ vector), kind="stable")[:top]]
        found.append([Picture(test.path(one), *_caption(one.captions, words)) for one in first])
    return found


def _caption(captions: Sequence[str], words: Sequence[str]) -> tuple[str, bool]:
    """Return the caption that holds all words, or else the first one; and whether there is one that does."""
    right = [caption for caption in captions if all(word in caption for word in words)]
    return (right or captions)[0], bool(right)
