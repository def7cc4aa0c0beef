"""Weights as safetensors: written whole, read with every problem named."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from eotune.core.errors import InputError
from eotune.core.files import replaced
from eotune.core.lookup import nearest

_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # torch's zip, and bare pickles
_PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_LISTED = 3


def write_weights(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors by name to a safetensors file, atomically."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replaced(path) as temporary:
        save_file(plain, temporary, metadata={"format": "pt"})


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        InputError: The file is missing, is a pickle (which could run code when read), or is broken.
    """
    if not path.is_file():
        found = sorted(one for suffix in _PICKLE_SUFFIXES for one in path.parent.glob(f"*{suffix}"))
        if found:
            raise _pickle_error(found[0])
        raise InputError(f"{path}: no such file", remedy="check that the directory was copied whole")
    with path.open("rb") as stream:
        start = stream.read(9)
    # safetensors start with the length of their header, which may look like a pickle's start, and then the header.
    if start.startswith(_PICKLE_STARTS) and not start.endswith(b"{"):
        raise _pickle_error(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: cannot be read as safetensors ({error})", remedy="check that the file was copied whole"
        ) from None


def _pickle_error(path: Path) -> InputError:
    return InputError(
        f"{path}: is a pickle, which could run code when read",
        remedy="convert it with safetensors.torch.save_file on a machine that trusts it",
    )


def fill(parameters: Mapping[str, Tensor], weights: Mapping[str, Tensor], source: Path) -> None:
    """Copy ``weights`` into ``parameters``; both must have the same names and shapes.

    Args:
        parameters: Where to; changed in place, and only if everything fits.
        weights: What.
        source: The file, for messages.

    Raises:
        InputError: Names or shapes differ; the message has the first of each kind and their number.
    """
    check_fit({name: parameter.shape for name, parameter in parameters.items()}, weights, source)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])


def check_fit(shapes: Mapping[str, torch.Size], weights: Mapping[str, Tensor], source: Path) -> None:
    """Raise an InputError unless ``weights`` have exactly the names and shapes of ``shapes``."""
    problems = []
    if missing := sorted(shapes.keys() - weights.keys()):
        problems.append(f"missing {_some(missing)}")
    if unknown := sorted(weights.keys() - shapes.keys()):
        near = nearest(unknown[0], shapes)
        problems.append(f"unknown {_some(unknown)}" + (f" (nearest: {near!r})" if near else ""))
    if other := [
        f"{name} is {tuple(weights[name].shape)}, not {tuple(shape)}"
        for name, shape in sorted(shapes.items())
        if name in weights and weights[name].shape != shape
    ]:
        problems.append(f"shapes differ: {_some(other)}")
    if problems:
        raise InputError(
            f"{source}: does not fit the encoder and the method: {'; '.join(problems)}",
            remedy="use the encoder and the settings it was trained with",
        )


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return ", ".join(listed[:_LISTED]) + more
