"""Where a model works."""

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import nn

Model = TypeVar("Model", bound="nn.Module")


def uses_gpu(device: str = "auto") -> bool:
    """Return whether a setting (``auto``, ``cpu``, ``cuda``) means a GPU on this machine."""
    import torch

    return device != "cpu" and torch.cuda.is_available()


def on_best_device(model: Model, device: str = "auto") -> Model:
    """Move ``model`` to a GPU where there is one and ``device`` allows it; return it.

    Example:
        >>> import torch
        >>> next(on_best_device(torch.nn.Linear(2, 2), "cpu").parameters()).device.type
        'cpu'
    """
    return model.cuda() if uses_gpu(device) else model
