"""A short hash of weights and settings."""

import hashlib

import torch
from torch import nn


def fingerprint(module: nn.Module, *settings: object) -> str:
    """Return 16 hexadecimal digits that change with any weight, its name, or a setting's ``repr``.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> fingerprint(layer, "mean") == fingerprint(layer, "mean") != fingerprint(layer, "last")
        True
    """
    digest = hashlib.sha256(repr(settings).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
