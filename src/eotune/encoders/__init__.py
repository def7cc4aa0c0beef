"""Pretrained models behind one face."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Import ``load`` and ``load_image`` of :mod:`eotune.encoders.by_name` when asked for: they need torch."""
    if name in ("load", "load_image"):
        from eotune.encoders import by_name

        return getattr(by_name, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
