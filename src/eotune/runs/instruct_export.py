"""From a finished run of visual questions to a model that transformers loads, and the benchmarks of lmms-eval on it."""

import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eotune.core.errors import EotuneError, InputError
from eotune.core.files import new_directory
from eotune.encoders.base import evaluating
from eotune.encoders.multimodal_vlm import VisionLanguageEncoder, load_vlm
from eotune.encoders.pretrained import quiet
from eotune.methods.adapted import load_adapted_method
from eotune.runs.export_files import card_needs, sizes
from eotune.runs.instruct_card import write_card

TOLERANCE = 1e-3  # on logits, relative to the largest
BENCHMARKS = ("mme", "mmbench_en_dev", "seedbench")  # those of the source
# lmms-eval's name of a family, by transformers'; the last takes what has none of its own.
_BACKENDS = {
    "llava": "llava_hf", "llava_next": "llava_hf", "qwen2_vl": "qwen2_vl", "qwen2_5_vl": "qwen2_5_vl",
    "qwen3_vl": "qwen3_vl", "internvl": "internvl_hf", "gemma3": "gemma3",
}  # fmt: skip
_ANY = "huggingface"

_LOAD = """```python
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

processor = AutoProcessor.from_pretrained("{name}", backend="pil")
model = AutoModelForImageTextToText.from_pretrained("{name}").eval()
content = [{{"type": "image"}}, {{"type": "text", "text": "How many ships are there?"}}]
prompt = processor.apply_chat_template([{{"role": "user", "content": content}}], add_generation_prompt=True)
inputs = processor(images=[Image.open("scene.png")], text=[prompt], return_tensors="pt")
answer = model.generate(**inputs, max_new_tokens=32, do_sample=False)[0, inputs["input_ids"].shape[1] :]
processor.tokenizer.decode(answer, skip_special_tokens=True)
```

General benchmarks, with [lmms-eval](https://github.com/EvolvingLMMs-Lab/lmms-eval) installed:

```
{command}
```

In eotune: `vlm:{name}`.
"""


def export_vision_language(run: Path, to: str, out: Path) -> dict[str, Any]:
    """Write a finished run's model in transformers' layout, adapters merged.

    What was written is read back and shown random images; where its logits differ from the run's own by more than
    :data:`TOLERANCE`, nothing is kept.

    Args:
        run: A run directory.
        to: ``hf``.
        out: The directory to write; an existing one is refused.

    Returns:
        ``format``, ``out``, ``files`` (name to bytes), ``max_difference`` of the ``compared`` logits, and the
        ``lmms_eval`` command.

    Raises:
        InputError: The run is broken, or the format is another.
        EotuneError: What was written does not give the run's logits.
    """
    if to != "hf":
        raise InputError(
            f"{run}: a vision-language model is not exported to {to}",
            remedy="what works: --format hf; the run's folder adapter/ is in PEFT's layout already",
        )
    with new_directory(out) as folder:
        encoder, method = load_adapted_method(run)
        if not isinstance(encoder, VisionLanguageEncoder):
            raise InputError(f"{run}: adapts no vision-language model", remedy="run the recipe again")
        expected = _logits(encoder)
        if not method.merge(encoder):
            raise InputError(
                f"{run}: method {method.config.name!r} cannot be folded into the weights", remedy="load it with eotune"
            )
        with quiet():
            encoder.save(folder)
        difference = float((_logits(load_vlm(str(folder))) - expected).abs().max() / expected.abs().max())
        if not difference <= TOLERANCE:  # so, not-a-number counts as a difference
            raise EotuneError(
                f"{run}: read back, logits differ from the run's own by {difference:.1e} of the largest "
                f"(at most {TOLERANCE:.0e} is allowed); nothing was kept"
            )
        command = shlex.join(benchmark_command(out, encoder.model.config.model_type))
        with card_needs(run, "recipe.yaml and the .json files"):
            write_card(run, to=folder, library="transformers", load=_LOAD.format(name=out.name, command=command))
        files = sizes(folder)
    return {
        "format": to, "out": str(out), "files": files, "max_difference": difference, "compared": "logits",
        "lmms_eval": command,
    }  # fmt: skip


def benchmark_command(model: Path, model_type: str, tasks: Sequence[str] = BENCHMARKS) -> list[str]:
    """Return the command by which lmms-eval measures an exported model.

    Args:
        model: The directory.
        model_type: Of its config.json.
        tasks: lmms-eval's names.

    Example:
        >>> " ".join(benchmark_command(Path("merged"), "llava", ["mme"])[:8])
        'python -m lmms_eval --model llava_hf --model_args pretrained=merged --tasks'
    """
    return [
        "python", "-m", "lmms_eval", "--model", _BACKENDS.get(model_type, _ANY), "--model_args", f"pretrained={model}",
        "--tasks", ",".join(tasks), "--batch_size", "1", "--output_path", str(model / "lmms_eval"),
    ]  # fmt: skip


def check_benchmarks() -> None:
    """Refuse what :func:`run_benchmarks` cannot do, before anything is written.

    Raises:
        InputError: lmms-eval is not installed.
    """
    if find_spec("lmms_eval") is None:
        raise InputError(
            "--benchmarks: the package 'lmms_eval' is not installed",
            remedy="run: pip install lmms-eval; where it has an environment of its own, leave the option out and run "
            "there the command that is printed",
        )


def run_benchmarks(command: Sequence[str]) -> None:
    """Run what :func:`benchmark_command` returned in this Python; its output goes to standard error.

    Raises:
        EotuneError: It failed.
    """
    status = subprocess.run([sys.executable, *command[1:]], check=False, stdout=sys.stderr).returncode
    if status:
        raise EotuneError(f"lmms-eval ended with status {status}: {shlex.join(command)}")


@torch.inference_mode()
def _logits(encoder: VisionLanguageEncoder) -> Tensor:
    """Return logits of random images, square and not, and a question."""
    generator = np.random.default_rng(0)
    found = []
    with evaluating(encoder):
        for shape in ((64, 64), (50, 90)):
            image = generator.integers(0, 256, (*shape, 3), dtype=np.uint8)
            asked = encoder.prompts.question(image, "What does the image show?")
            floats = {name: one.to(encoder.model.dtype) for name, one in asked.items() if one.is_floating_point()}
            found.append(encoder.model(**{**asked, **floats}).logits[0].float())
    return torch.cat(found)
