"""report.html of a run, made from the files of its directory alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from eotune.core.files import read_json, write_text
from eotune.runs.page import Page
from eotune.runs.plots import RECALLS


def figure(rows: Sequence[Mapping[str, Any]], metric: str, *, split: str, model: str) -> str:
    """Return one figure with its interval, as text; a dash where it is not there."""
    for row in rows:
        if (row["metric"], row["split"], row["model"]) == (metric, split, model):
            if row["low"] is None:
                return f"{row['value']:.2f}"
            return f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
    return "–"


def write_report(run: Path) -> None:
    """Write report.html: figures with intervals, curves, examples, data, recipe, environment."""
    rows, summary = read_json(run / "metrics.json"), read_json(run / "summary.json")
    data, environment = read_json(run / "data.json"), read_json(run / "environment.json")
    recipe_text = (run / "recipe.yaml").read_text(encoding="utf-8")
    recipe = yaml.safe_load(recipe_text)
    test = next(row for row in rows if row["primary"])
    page = Page(
        recipe["name"],
        f"{recipe['method']['name']} on {recipe['encoder']['name']}: image-text retrieval, "
        f"{test['n']} test images read once, best epoch chosen on validation.",
    )
    page.cards(
        [
            (f"{test['value']:.2f}", f"test mR, 95 % [{test['low']:.2f}, {test['high']:.2f}]"),
            (figure(rows, "mR", split="test", model="zero-shot").partition(" ")[0], "before, zero-shot"),
            (f"{summary['trainable_parameters']:,}", f"parameters trained of {summary['total_parameters']:,}"),
            (f"{summary['training_seconds']:.0f} s", f"training; peak memory {summary['peak_memory_mb']:.0f} MiB"),
        ]
    )
    page.section("Recall")
    page.table(
        ["%", *RECALLS],
        [
            [f"{model}, {split}", *(figure(rows, metric, split=split, model=model) for metric in RECALLS)]
            for split in ("validation", "test")
            for model in ("zero-shot", "adapted")
        ],
    )
    page.text(
        "Ties count against the model. With ties in its favour, test mR is "
        f"{figure(rows, 'mR_ties_in_favour', split='test', model='adapted')}; where any image with the same caption "
        f"counts, {figure(rows, 'mR_any_image_with_the_caption', split='test', model='adapted')}."
    )
    for name, alt in (
        ("recalls", "test recalls before and after"),
        ("learning_curve", "loss and validation mR by epoch"),
    ):
        if (run / "plots" / f"{name}.png").is_file():
            page.picture(run / "plots" / f"{name}.png", alt)
    page.section("Best and worst queries")
    for query in read_json(run / "queries.json"):
        page.query(
            query["query"],
            f"{query['kind']}: its own image has rank {query['rank']}",
            [(Path(r["image"]), f"{r['score']:.3f}", r["correct"]) for r in query["results"]],
        )
    _data_section(page, data)
    page.section("Geometry of the embedding space, test")
    page.table(
        ["", "zero-shot", "adapted"],
        [
            [name, *(figure(rows, name, split="test", model=m) for m in ("zero-shot", "adapted"))]
            for name in ("alignment", "uniformity_image", "uniformity_text", "modality_gap")
        ],
    )
    page.section("Make it again")
    page.code(f"eotune run recipe.yaml --out again\n\n{recipe_text}")
    page.section("Made with")
    page.table(
        ["", ""],
        [
            ["python", environment["python"]],
            ["processor", environment["processor"]],
            ["devices", ", ".join(environment["devices"])],
            ["commit", str(environment["commit"])],
            *[[name, str(v)] for name, v in environment["packages"].items()],
        ],
    )
    write_text(run / "report.html", page.render())


def _data_section(page: Page, data: Mapping[str, Any]) -> None:
    page.section("Data")
    page.table(
        ["split", "images", "captions"],
        [[name, f"{s['images']:,}", f"{s['captions']:,}"] for name, s in data["splits"].items()],
    )
    for pair, found in data["leaks"].items():
        shared = {key: value for key, value in found.items() if isinstance(value, int) and value}
        if shared:
            words = ", ".join(f"{key.replace('_', ' ')}: {value:,}" for key, value in shared.items())
            page.text(f"{pair}: {words}", warning=bool(found.get("shared_images")))
