"""LoRA adapters as peft alone loads them, with the pretrained layers that trained along."""

import warnings
from pathlib import Path
from typing import TypeVar

from eotune.core.errors import InputError
from eotune.core.files import read_json, write_json
from eotune.encoders.base import Encoder
from eotune.methods import base, lora
from eotune.methods.weights import read_weights, write_weights

_Kind = TypeVar("_Kind", bound=Encoder)


def obstacle(encoder: Encoder, method: base.Method) -> str | None:
    """Return why peft cannot load this adapter; None if it can."""
    if not isinstance(method, lora.Method):
        return f"method {method.config.name!r} is not LoRA"
    for path in _trained_along(encoder, method):
        if _backbone(encoder, path) is None:
            return f"{path} trained along, and lies outside the models that peft loads"
    return None


def write_peft(encoder: Encoder, method: base.Method, directory: Path) -> None:
    """Write adapter_config.json and adapter_model.safetensors; of a composed encoder, into ``image/`` and ``text/``.

    Projection heads and patch embeddings that trained along become peft's ``modules_to_save``. The logit scale, on
    which embeddings do not depend, has no place there and is left out.

    Args:
        encoder: Adapted, not merged.
        method: What it was adapted by.
        directory: Where to; it exists.

    Raises:
        InputError: :func:`obstacle` found one.
    """
    problem = obstacle(encoder, method)
    if problem or not isinstance(method, lora.Method):
        raise InputError(problem or "", remedy="merge the method, and save the whole encoder")
    method.save(encoder, directory)
    others = read_weights(directory / base.WEIGHTS)
    (directory / base.WEIGHTS).unlink()
    for name, root in encoder.backbones.items():
        paths = [path for path in _trained_along(encoder, method) if _backbone(encoder, path) == name]
        if not paths:
            continue
        folder = directory / name
        weights = read_weights(folder / lora.PEFT_WEIGHTS)
        for key in sorted(key for path in paths for key in base.parameters_under(encoder, path)):
            weights[lora.PEFT_PREFIX + key.removeprefix(f"{root}.")] = others[key]
        write_weights(folder / lora.PEFT_WEIGHTS, weights)
        saved = [path.removeprefix(f"{root}.") for path in paths]
        write_json(folder / lora.PEFT_CONFIG, {**read_json(folder / lora.PEFT_CONFIG), "modules_to_save": saved})


def _trained_along(encoder: Encoder, method: lora.Method) -> list[str]:
    """Return the paths of the pretrained layers that train beside LoRA."""
    paths = [tower.projection for tower in encoder.towers.values()] if method.config.heads else []
    if method.config.patch_embedding == "trained":
        paths.append(encoder.towers["image"].patch_embedding)
    return [path for path in paths if path is not None]


def _backbone(encoder: Encoder, path: str) -> str | None:
    """Return the name of the backbone that holds the module at ``path``; None if none does."""
    return next((name for name, root in encoder.backbones.items() if path.startswith(f"{root}.")), None)


def read_peft(encoder: _Kind, directory: Path) -> _Kind:
    """Put what :func:`write_peft` wrote into the pretrained ``encoder``, by peft alone.

    Args:
        encoder: The one that the adapter was trained for; changed in place.
        directory: Of the adapter.
    """
    from peft import PeftModel

    for name, path in encoder.backbones.items():
        folder = directory / name
        if (folder / lora.PEFT_CONFIG).is_file():
            with warnings.catch_warnings():  # of what peft calls inside transformers
                warnings.simplefilter("ignore", FutureWarning)
                PeftModel.from_pretrained(encoder.get_submodule(path), str(folder))
    return encoder.eval()
