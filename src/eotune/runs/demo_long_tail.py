"""The second chapter of the demo: classes of very different size, in optical, radar and multispectral scenes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eotune.core.device import computes_bf16
from eotune.core.files import read_json, write_json, write_text
from eotune.core.progress import say
from eotune.data.scenes import write_dataset
from eotune.data.scenes.dataset import Spectrum
from eotune.runs.charts import Bar, interval_bars
from eotune.runs.execute import execute
from eotune.runs.page import Cell, Page
from eotune.runs.recipe import Recipe, parse_recipe
from eotune.runs.workshop import Workshop

CLASSES = ("Airport", "Forest", "Harbour", "Residential", "Roundabout", "StorageTanks")
SPECTRA: dict[Spectrum, str] = {"rgb": "optical", "sar": "radar", "multispectral": "13 bands"}
GROUPS = ("head", "middle", "tail")
# Each one's settings, and those of its objective.
METHODS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "frozen": ({"name": "frozen"}, {}),
    "LoRA": ({"name": "lora", "rank": 8}, {}),
    "LoRA, logit-adjusted": ({"name": "lora", "rank": 8}, {"loss": "logit_adjusted"}),
    "debLoRA": ({"name": "deblora", "rank": 8, "clusters": 8, "rho": 4}, {}),
}


def recipe_of(label: str, labelled: Path, spectrum: Spectrum, *, seed: int, epochs: float = 8) -> Recipe:
    """Return the recipe of one of :data:`METHODS` on a labelled set with train, validation and test splits."""
    method, objective = METHODS[label]
    words = label.lower().replace(",", "").replace(" ", "-")
    return parse_recipe(
        {
            "name": f"{spectrum}-{words}",
            "seed": seed,
            "task": {
                "name": "long_tail",
                **{split: {"path": str(labelled), "split": split} for split in ("train", "validation", "test")},
                "imbalance_ratio": 20,
                "bands": None if spectrum == "rgb" else {},
                "objective": objective,
            },
            "encoder": "tiny",
            "method": method,
            "training": {
                "epochs": epochs,
                "batch_size": 16,
                "learning_rate": 3e-3,
                "precision": "bf16" if computes_bf16() else "fp32",
                "augmentation": {"crop": [0.8, 1.0], "flip": True, "rotate90": True, "randaugment": None},
            },
        },
        source="demo",
    )


def long_tail_chapter(
    out: Path, *, seed: int = 0, per_class: Mapping[str, int] | None = None, epochs: float = 8
) -> list[dict[str, Any]]:
    """Run every method on every spectrum into ``out``, and write ``out``/report.html.

    Args:
        out: A directory that is not there.
        seed: Of scenes and training.
        per_class: Images a class and split, before the tail is drawn.
        epochs: Of each method's training.

    Returns:
        One row a spectrum and method: ``spectrum``, ``method``, ``run``, and for ``all``, ``head``, ``middle``,
        ``tail`` the macro F1 of the linear probe, per cent, as ``(value, low, high)``; ``own`` likewise of the head.
    """
    rows = []
    for spectrum, words in SPECTRA.items():
        say(f"rendering {words} scenes")
        labelled = write_dataset(
            out / "data" / spectrum, per_class or {"train": 40, "validation": 8, "test": 20},
            classes=CLASSES, spectrum=spectrum, seed=seed,
        )  # fmt: skip
        workshop = Workshop()
        for label in METHODS:
            recipe = recipe_of(label, labelled, spectrum, seed=seed, epochs=epochs)
            say(f"{words}, {label}")
            measured = execute(recipe, out / recipe.name, workshop=workshop)
            found = {
                row["metric"]: (row["value"], row["low"], row["high"])
                for row in measured
                if row["split"] == "test" and row["model"] == "adapted"
            }
            row = {"spectrum": spectrum, "method": label, "run": recipe.name, "all": found["probe_macro_f1"]}
            row |= {group: found[f"probe_macro_f1_{group}"] for group in GROUPS}
            rows.append({**row, "own": found.get("own_macro_f1_tail")})
    write_json(out / "metrics.json", rows)
    _write_page(out, rows)
    return rows


def _write_page(out: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    page = Page(
        "Rare classes, in three spectra",
        "Six classes of synthetic scenes, the largest with twenty times the images of the smallest; one recipe, of "
        "which only the bands change.",
        eyebrow="eotune · demo",
    )
    page.text(
        "Scenes and model are synthetic and small: this shows that the machinery works, not how good a method is.",
        warning=True,
    )
    for spectrum, words in SPECTRA.items():
        chosen = [row for row in rows if row["spectrum"] == spectrum]
        data = read_json(out / str(chosen[0]["run"]) / "data.json")["splits"]
        counts = sorted(data["train"]["classes"].values(), reverse=True)
        page.section(
            words.capitalize(),
            f"Macro F1 in per cent of a linear probe on {data['test']['images']:,} test images; trained on "
            f"{', '.join(map(str, counts))} images of the six classes.",
        )
        bars = []
        for row in chosen:
            value, low, high = row["tail"]
            bars.append((str(row["method"]), [Bar(value, low, high, row["method"] != "frozen")]))
        page.charts([("Tail, macro F1, %", interval_bars(bars, title=f"tail F1 of each method, {words}"))])
        table: list[list[Cell]] = [
            [str(row["method"]), *(_cell(row[key]) for key in ("all", *GROUPS, "own"))] for row in chosen
        ]
        page.table(["", "all", *GROUPS, "tail, own head"], table)
    page.section("The runs", "Each is a directory of its own, with recipe, adapter, model card and report.")
    for row in rows:
        page.link(f"{row['run']}/report.html", f"{SPECTRA[row['spectrum']]}, {row['method']}")
    write_text(out / "report.html", page.render())


def _cell(figures: Sequence[float] | None) -> Cell:
    if figures is None:
        return "–"
    value, low, high = figures
    return f"{value:.1f}", f"[{low:.1f}, {high:.1f}]"
