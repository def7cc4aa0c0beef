"""LoRA adapters as peft alone loads them, with the projection heads where those trained along."""

import warnings
from pathlib import Path

from eotune.core.errors import InputError
from eotune.core.files import read_json, write_json
from eotune.encoders.base import DualEncoder
from eotune.methods import base, lora
from eotune.methods.weights import read_weights, write_weights


def obstacle(encoder: DualEncoder, method: base.Method) -> str | None:
    """Return why peft cannot load this adapter; None if it can."""
    if not isinstance(method, lora.Method):
        return f"method {method.config.name!r} is not LoRA"
    if method.config.heads and "" not in encoder.backbones:
        return "projection heads trained along, and those of a composed encoder lie outside the models that peft loads"
    return None


def write_peft(encoder: DualEncoder, method: base.Method, directory: Path) -> None:
    """Write adapter_config.json and adapter_model.safetensors; of a composed encoder, into ``image/`` and ``text/``.

    Projection heads that trained along become peft's ``modules_to_save``. The logit scale, on which embeddings do not
    depend, has no place there and is left out.

    Args:
        encoder: Adapted, not merged.
        method: What it was adapted by.
        directory: Where to; it exists.

    Raises:
        InputError: :func:`obstacle` found one.
    """
    whole = encoder.backbones.get("")
    if problem := obstacle(encoder, method):
        raise InputError(problem, remedy="merge the method, and save the whole encoder")
    method.save(encoder, directory)
    others = read_weights(directory / base.WEIGHTS)
    (directory / base.WEIGHTS).unlink()
    if not getattr(method.config, "heads", False):
        return
    heads = {name.removeprefix(f"{whole}."): others[name] for name in sorted(base.projection_parameters(encoder))}
    paths = [tower.projection.removeprefix(f"{whole}.") for tower in encoder.towers.values() if tower.projection]
    weights = read_weights(directory / lora.PEFT_WEIGHTS)
    weights |= {lora.PEFT_PREFIX + name: tensor for name, tensor in heads.items()}
    write_weights(directory / lora.PEFT_WEIGHTS, weights)
    config = read_json(directory / lora.PEFT_CONFIG)
    write_json(directory / lora.PEFT_CONFIG, {**config, "modules_to_save": paths})


def read_peft(encoder: DualEncoder, directory: Path) -> DualEncoder:
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
