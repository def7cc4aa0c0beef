"""Pretrained models behind one face."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Import :func:`~eotune.encoders.by_name.load` when it is asked for: it needs torch."""
    if name == "load":
        from eotune.encoders.by_name import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
