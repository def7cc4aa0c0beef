"""The main job in miniature: synthetic overhead scenes, the bundled model, four ways to adapt it, one report."""

from pathlib import Path
from typing import Any

import numpy as np

from eotune.core.files import read_json, write_json, write_text
from eotune.core.progress import say
from eotune.data.captions import read_captions
from eotune.data.scenes import write_dataset
from eotune.methods.adapted import load_model
from eotune.runs.directory import RunDirectory
from eotune.runs.execute import execute
from eotune.runs.page import Page
from eotune.runs.plots import RECALLS
from eotune.runs.recipe import Recipe, parse_recipe
from eotune.runs.report import figure
from eotune.tasks.retrieval import EvaluationSet

# (settings, learning rate)
METHODS: dict[str, tuple[dict[str, Any], float]] = {
    "zero-shot": ({"name": "frozen"}, 1e-3),
    "LoRA": ({"name": "lora", "rank": 8}, 3e-3),
    "HarMA": ({"name": "harma", "bottleneck": 64}, 3e-3),
    "full": ({"name": "full"}, 5e-4),
}
QUERIES = (
    "five white planes are parked in an airport .",
    "houses with red roofs in a residential area .",
    "blue water at the left of a beach .",
)


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
                "batch_size": 64,
                "learning_rate": rate,
                "precision": "bf16",
                "augmentation": {"crop": [0.8, 1.0], "flip": False, "randaugment": None},
            },
        },
        source="demo",
    )


def demo(
    out: Path, *, seed: int = 0, per_class: dict[str, int] | None = None, epochs: float = 15
) -> list[dict[str, Any]]:
    """Run everything and write ``out``.

    Args:
        out: Directory; an existing one is refused.
        seed: Of scenes and training.
        per_class: Images a class and split.
        epochs: Of each method's training.

    Returns:
        One row a method: ``method``, ``value``, ``low``, ``high`` (test mR), ``trainable``, ``total``, ``seconds``.
    """
    RunDirectory.check(out, resume=False)
    say("rendering overhead scenes")
    captions = write_dataset(out / "data", per_class or {"train": 60, "validation": 12, "test": 25}, seed=seed)
    rows = []
    for label in METHODS:
        recipe = recipe_of(label, captions, seed=seed, epochs=epochs)
        say(f"{label}: {recipe.name}")
        measured = execute(recipe, out / recipe.name)
        summary = read_json(out / recipe.name / "summary.json")
        primary = next(row for row in measured if row["primary"])
        rows.append(
            {
                "method": label,
                "run": recipe.name,
                "value": primary["value"],
                "low": primary["low"],
                "high": primary["high"],
                "recalls": [figure(measured, metric, split="test", model="adapted") for metric in RECALLS],
                "trainable": summary["trainable_parameters"],
                "total": summary["total_parameters"],
                "seconds": summary["training_seconds"],
                "peak_memory_mb": summary["peak_memory_mb"],
            }
        )
    write_json(out / "metrics.json", rows)
    _write_report(out, rows, captions)
    return rows


def _write_report(out: Path, rows: list[dict[str, Any]], captions: Path) -> None:
    best = max(rows[1:], key=lambda row: float(row["value"]))
    page = Page(
        "eotune demo",
        "A small model that has only seen synthetic ground-level pictures is adapted to overhead scenes.",
    )
    page.cards(
        [
            (f"{rows[0]['value']:.1f} → {best['value']:.1f}", f"test mR, zero-shot to {best['method']}"),
            (f"{best['trainable']:,}", f"parameters trained by {best['method']}"),
            (f"{sum(row['seconds'] for row in rows):.0f} s", "training, all methods together"),
        ]
    )
    page.section("Methods")
    page.table(
        ["method", "test mR, 95 % interval", "parameters trained", "share", "training, s"],
        [
            [
                r["method"],
                f"{r['value']:.2f} [{r['low']:.2f}, {r['high']:.2f}]",
                f"{r['trainable']:,}",
                f"{100 * r['trainable'] / r['total']:.1f} %",
                f"{r['seconds']:.0f}",
            ]
            for r in rows
        ],
    )
    page.section("Recall, test, %")
    page.table(["method", *RECALLS], [[r["method"], *r["recalls"]] for r in rows])
    for label, run in (("before", rows[0]["run"]), ("after", best["run"])):
        page.section(f"Three queries, {label} ({run})")
        _queries(page, f"run:{out / run}", captions)
    page.text("Scenes, model and figures are synthetic: they show that the machinery works, not how good a method is.")
    write_text(out / "report.html", page.render())
    lines = [
        f"| {r['method']} | {r['value']:.2f} [{r['low']:.2f}, {r['high']:.2f}] | {r['trainable']:,} |" for r in rows
    ]
    table = "\n".join(["| method | test mR (95 %) | parameters trained |", "|---|---|---|", *lines])
    write_text(
        out / "README.md", f"# eotune demo\n\nOpen report.html. Each sub-directory is a run of its own.\n\n{table}\n"
    )


def _queries(page: Page, model: str, captions: Path, *, top: int = 6) -> None:
    encoder = load_model(model)
    test = read_captions(captions, split="test")
    images, _ = EvaluationSet(test, encoder).embed(encoder, batch_size=128, precision="fp32")
    for query, vector in zip(QUERIES, encoder.embed_texts(QUERIES), strict=True):
        scores = images @ vector
        results = [(test.path(test.samples[i]), test.samples[i].label or "", False) for i in np.argsort(-scores)[:top]]
        page.query(query, f"first {top} of {len(test)}", results)
