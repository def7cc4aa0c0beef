"""Where a model works."""

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import nn

Model = TypeVar("Model", bound="nn.Module")


def uses_gpu(device: str = "auto") -> bool:
    """Return whether a setting (``auto``, ``cpu``, ``cuda``) means a GPU on this machine."""
    import torch

    return device != "cpu" and torch.cuda.is_available()


def computes_bf16(device: str = "auto") -> bool:
    """Return whether a setting's device has bfloat16 arithmetic; where that is emulated, float32 is faster."""
    import torch

    if uses_gpu(device):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has = torch.cpu.get_capabilities()
    return any(has.get(name, False) for name in ("amx_bf16", "avx512_bf16", "avx10_1", "bf16", "sve_bf16"))


def on_best_device(model: Model, device: str = "auto") -> Model:
    """Move ``model`` to a GPU where there is one and ``device`` allows it; return it.

    Example:
        >>> import torch
        >>> next(on_best_device(torch.nn.Linear(2, 2), "cpu").parameters()).device.type
        'cpu'
    """
    return model.cuda() if uses_gpu(device) else model
