"""README.md of a long-tail run: its model card, generated from the directory's files."""

from collections.abc import Iterator
from pathlib import Path

import yaml

from eotune.core.files import write_text
from eotune.runs.figures import cell
from eotune.runs.long_tail_files import CLASSIFIER_NAMES, GROUP_METRICS, LongTailFiles, before_row, f1_cell
from eotune.runs.long_tail_rows import MODELS
from eotune.runs.page import Cell
from eotune.runs.peft_note import peft_files, peft_note
from eotune.runs.run_files import RunFiles
from eotune.runs.tables import markdown_table

_CARD = """---
library_name: {library}
tags: [remote-sensing, image-classification, long-tail, eotune, {method}]
base_model: {base_yaml}
license: other
---
# {name}

{method} adapter for `{base}`, trained with eotune {version} to classify overhead images of {n_classes} long-tailed
classes, and classifiers on its features.

{table}

Macro F1, with 95 % bootstrap intervals over {n:,} test images, drawn within each class; those of the gain are paired.
The own head's gain is over the frozen model's linear probe. The best epoch and the probes' strength were chosen on
validation; the test split was read once. {best}

Seed {seed}. Trained parameters: {trainable:,} of {total:,}.

## Load

{load}
## Data

{splits}

Training images of a class: {largest:,} to {smallest:,}.

## Limits

Measured on the splits above only. Other sensors, resolutions and regions need a measurement of their own. The
probabilities are calibrated on the validation split and hold where classes are as frequent as there. An image of none
of the classes gets one of them all the same. The licence of the base model and of the training data apply;
`license: other` stands for that.

## Classes

F1 of the linear probe on the test, per cent.

{classes}
"""

_LOAD = """Classes with probabilities, by the classifier that was best on validation:

```
eotune predict {path} images/ --out classes.csv
```

Features:

```python
from pathlib import Path

{imports}

encoder = load_image_model("run:{path}")
encoder.embed_images([{image}])  # a row an image, not of unit length
```
"""


def write_card(run: Path, *, to: Path | None = None, library: str | None = None, load: str | None = None) -> None:
    """Write README.md from the run's files.

    Args:
        run: The run directory.
        to: The directory to write into; None for the run's own.
        library: What loads the model; None for what loads the run.
        load: How to load it, in Markdown; None for how to load the run.
    """
    files = LongTailFiles.read(run)
    recipe, summary, peft = files.run.recipe, files.run.summary, peft_files(run)
    base = recipe["encoder"]["name"]
    sizes = [one.train_images for one in files.classes]
    text = _CARD.format(
        library=library or ("peft" if peft.is_all else "eotune"),
        method=recipe["method"]["name"],
        base=base,
        base_yaml=yaml.safe_dump(base).partition("\n")[0],
        name=recipe["name"],
        version=files.run.environment["packages"]["eotune"],
        n_classes=len(files.classes),
        table=markdown_table(["test macro F1, %", "classes", "frozen", "adapted", "gain"], _figures(files)),
        n=files.run.primary["n"],
        best=_best(files),
        seed=recipe["seed"],
        trainable=summary["trainable_parameters"],
        total=summary["total_parameters"],
        load=load or how_to_load(files.run) + peft_note(run, peft),
        splits="\n".join(f"- {name}: {split['images']:,} images" for name, split in files.run.data["splits"].items()),
        largest=max(sizes),
        smallest=min(sizes),
        classes=markdown_table(["class", "group", "training images", *MODELS], _classes(files)),
    )
    write_text((to or run) / "README.md", text)


def how_to_load(files: RunFiles) -> str:
    """Return Markdown that says how eotune loads a long-tail run."""
    name, load = files.path.name, "from eotune.methods.adapted import load_image_model"
    if files.data.get("bands"):
        imports = f"{load}\nfrom eotune.runs.saved_bands import read_saved_bands"
        image = f'read_saved_bands(Path("{name}/adapter"))(Path("scene.tif"))'
    else:
        imports = f"from eotune.data.images import read_image\n{load}"
        image = 'read_image(Path("scene.png"))'
    return _LOAD.format(path=name, imports=imports, image=image)


def _figures(files: LongTailFiles) -> Iterator[list[Cell]]:
    for classifier in files.classifiers:
        for metric, classes in GROUP_METRICS.items():
            name = f"{classifier}_{metric}"
            rows = (before_row(files.run, classifier, metric), files.run.row(name), files.run.row(name, model="gain"))
            if rows[1]:
                yield [CLASSIFIER_NAMES[classifier], classes, *map(cell, rows)]


def _best(files: LongTailFiles) -> str:
    if files.best is None:
        return ""
    name, value = files.best
    return f"Best on validation, with a macro F1 of {value:.2f} %: {CLASSIFIER_NAMES[name].lower()}."


def _classes(files: LongTailFiles) -> Iterator[list[Cell]]:
    for one in files.classes:
        yield [one.name, one.group, f"{one.train_images:,}", *(f1_cell(one, model) for model in MODELS)]
