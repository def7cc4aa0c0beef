"""README.md of a run of visual questions: its model card, generated from the directory's files."""

from pathlib import Path

import yaml

from eotune.core.files import write_text
from eotune.methods.adapted import ADAPTER
from eotune.methods.lora import PEFT_CONFIG
from eotune.runs.instruct_report import figures_table, load_snippet
from eotune.runs.run_files import RunFiles
from eotune.runs.tables import markdown_table

_CARD = """---
library_name: {library}
pipeline_tag: image-text-to-text
tags: [remote-sensing, visual-question-answering, eotune, {method}]
base_model: {base_yaml}
license: other
---
# {name}

{method} adapter for `{base}`, trained with eotune {version} to answer questions about overhead images.

{table}

Accuracy: the answer is the reference, up to case, punctuation and articles; of yes-no questions the first word counts.
95 % bootstrap intervals over {n:,} test images, each with all its questions; those of gains are paired. "Blind" is the
adapted model asked without the image; "training's answers" is the answer most frequent in training, of the same
question or of its kind. The best epoch was chosen on validation; the test was asked once. Seed {seed}. Trained
parameters: {trainable:,} of {total:,}.

## Load

{load}
## Data

{splits}

## Limits

Measured on the splits above only, with questions worded as there. Answers are the likeliest words, also where the
image does not show what is asked. The licence of the base model and of the training data apply; `license: other`
stands for that.
"""

_PEFT = """
{what} in PEFT's layout{rest}:

```python
from peft import PeftModel
from transformers import AutoModelForImageTextToText

model = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained("{base}"), "{path}/adapter")
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
    recipe, summary, base = files.recipe, files.summary, files.recipe["encoder"]["name"]
    is_peft = (run / ADAPTER / PEFT_CONFIG).is_file()
    full = [part for part, mode in (recipe["method"].get("parts") or {}).items() if mode == "full"]
    peft = ""
    if is_peft:
        what, rest = "The folder `adapter/` is", ""
        if full:
            what, rest = (
                "The updates in `adapter/` are",
                f"; {' and '.join(full)} trained in full, which peft does not load",
            )
        peft = _PEFT.format(what=what, rest=rest, base=base.removeprefix("vlm:"), path=run.name)
    text = _CARD.format(
        library=library or ("peft" if is_peft and not full else "eotune"),
        method=recipe["method"]["name"],
        base=base,
        base_yaml=yaml.safe_dump(base.removeprefix("vlm:")).partition("\n")[0],
        name=recipe["name"],
        version=files.environment["packages"]["eotune"],
        table=markdown_table(*figures_table(files)),
        n=files.primary["n"],
        seed=recipe["seed"],
        trainable=summary["trainable_parameters"],
        total=summary["total_parameters"],
        load=load or f"```python\n{load_snippet(run.name)}\n```\n{peft}",
        splits="\n".join(
            f"- {name}: {split['images']:,} images, {split['conversations']:,} conversations"
            for name, split in files.data["splits"].items()
        ),
    )
    write_text((to or run) / "README.md", text)
