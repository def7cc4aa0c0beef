"""README.md of a run: its model card, generated from the directory's files."""

from pathlib import Path

import yaml

from eotune.core.files import write_text
from eotune.runs.figures import figure, find
from eotune.runs.measure import MODELS
from eotune.runs.peft_note import peft_files, peft_note
from eotune.runs.plots import RECALLS
from eotune.runs.run_files import RunFiles

_CARD = """---
library_name: {library}
tags: [remote-sensing, image-text-retrieval, eotune, {method}]
base_model: {base_yaml}
license: other
---
# {name}

{method} adapter for `{base}`, trained with eotune {version} for image-text retrieval of overhead imagery.

| test, % | zero-shot | adapted | gain |
|---|---|---|---|
{table}

95 % bootstrap intervals over {n} test images, captions together, those of the gain paired; ties count against the
model. The best epoch was chosen on validation; the test split was read once. Seed {seed}. Trained parameters:
{trainable:,} of {total:,}.

## Load

{load}
## Data

{data}

## Limits

Measured on the splits above only. Other sensors, resolutions and regions need a measurement of their own
(`eotune evaluate run:{path} --task retrieval --data ...`). The licence of the base model and of the training data
apply; `license: other` stands for that.
"""


_LOAD = """```python
from eotune.methods.adapted import load_model

encoder = load_model("run:{path}")
encoder.embed_texts(["many planes are parked beside a terminal"])
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
    files = RunFiles.read(run)
    recipe, rows, summary, peft = files.recipe, files.rows, files.summary, peft_files(run)
    table = "\n".join(
        f"| {metric} | "
        + " | ".join(figure(rows, metric, split="test", model=model) for model in (*MODELS, "gain"))
        + " |"
        for metric in RECALLS
    )
    if find(rows, "mR", split="retention", model="adapted"):
        figures = (figure(rows, "mR", split="retention", model=model) for model in (*MODELS, "gain"))
        table += "\n| mR, retention | " + " | ".join(figures) + " |"
    splits = "\n".join(
        f"- {name}: {s['images']:,} images, {s['captions']:,} captions" for name, s in files.data["splits"].items()
    )
    text = _CARD.format(
        library=library or ("peft" if peft.is_all else "eotune"),
        method=recipe["method"]["name"],
        base=recipe["encoder"]["name"],
        base_yaml=yaml.safe_dump(recipe["encoder"]["name"]).partition("\n")[0],
        name=recipe["name"],
        version=files.environment["packages"]["eotune"],
        table=table,
        n=files.primary["n"],
        seed=recipe["seed"],
        trainable=summary["trainable_parameters"],
        total=summary["total_parameters"],
        path=run.name,
        load=load or _LOAD.format(path=run.name) + peft_note(run, peft),
        data=splits,
    )
    write_text((to or run) / "README.md", text)
