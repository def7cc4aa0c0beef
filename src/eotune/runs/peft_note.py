"""What peft alone loads of a run's adapter: a part of its README.md."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eotune.methods.adapted import ADAPTER, read_description
from eotune.methods.base import WEIGHTS
from eotune.methods.lora import PEFT_CONFIG
from eotune.methods.weights import read_weights

_WHOLE = """
The folder `{folder}/` is in PEFT's layout and goes onto the pretrained model of `{base}`{bands}:

```python
from peft import PeftModel

model = PeftModel.from_pretrained(model, "{run}/{folder}")
```
"""

_TOWERS = """
In PEFT's layout: {folders}, each for one pretrained tower of `{base}`:

```python
from peft import PeftModel

tower = PeftModel.from_pretrained(tower, "{run}/{folder}")
```
"""

_BESIDE = """
What trained along ({modules}) lies in `adapter/adapter.safetensors`, which peft does not read; `eotune export {run}`
writes models that hold it.
"""


@dataclass(frozen=True)
class PeftFiles:
    """What of an adapter is in peft's layout.

    Attributes:
        folders: Of the run, that peft loads; none unless the method is LoRA.
        beside: Names of the modules that trained along, and that peft leaves.
        bands: Those that eotune's first layer and normalisation are for, in words; empty for plain RGB images.
    """

    folders: Sequence[str]
    beside: Sequence[str]
    bands: str = ""

    @property
    def is_all(self) -> bool:
        """Whether peft on the pretrained model gives the run's embeddings."""
        return bool(self.folders) and not self.beside and not self.bands


def peft_folders(run: Path) -> list[str]:
    """Return the folders of a run that peft loads."""
    return [one.parent.relative_to(run).as_posix() for one in sorted((run / ADAPTER).rglob(PEFT_CONFIG))]


def peft_files(run: Path) -> PeftFiles:
    """Tell what of a run's adapter peft loads.

    Raises:
        InputError: The adapter's files are missing or wrong.
    """
    folders = peft_folders(run)
    if not folders:
        return PeftFiles([], [])
    weights = read_weights(run / ADAPTER / WEIGHTS)
    # A single number is the logit scale or its bias, on which embeddings do not depend.
    beside = {name.rpartition(".")[0] for name, tensor in weights.items() if tensor.numel() > 1}
    return PeftFiles(folders, sorted(beside), _bands(run))


def _bands(run: Path) -> str:
    description = read_description(run)[1]
    if description.bands is not None:
        return f"the bands {', '.join(description.bands)}"
    return "" if description.channels == 3 else f"{description.channels} bands"


def peft_note(run: Path, files: PeftFiles) -> str:
    """Return Markdown that says what peft alone loads of a run, and what not; empty where nothing is in its layout.

    Args:
        run: Its directory.
        files: What :func:`peft_files` told of it.

    Raises:
        InputError: The adapter's description is missing or wrong.
    """
    if not files.folders:
        return ""
    template = _WHOLE if files.folders == [ADAPTER] else _TOWERS
    note = template.format(
        folder=files.folders[0],
        folders=" and ".join(f"`{folder}/`" for folder in files.folders),
        base=read_description(run)[1].encoder,
        bands=f", with eotune's first layer and normalisation for {files.bands}" if files.bands else "",
        run=run.name,
    )
    return note + (_BESIDE.format(modules=", ".join(files.beside), run=run.name) if files.beside else "")
