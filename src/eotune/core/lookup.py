"""Names to things: lazy `module:attribute` targets, nearest known names, optional packages."""

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from eotune.core.errors import InputError, MissingExtraError, shown


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is closest to ``name``, or None when nothing is near.

    Example:
        >>> nearest("lerning_rate", ["learning_rate", "epochs"])
        'learning_rate'
    """
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """Build the error for a name that nobody knows, with the nearest known one.

    Example:
        >>> str(unknown_name("method", "harmma", ["harma", "lora"]))
        "unknown method 'harmma'; did you mean 'harma'? Known: harma, lora"
    """
    known = sorted(known)
    near = nearest(name, known)
    hint = f"did you mean {near!r}? " if near else ""
    return InputError(f"unknown {kind} {shown(name)}", remedy=f"{hint}Known: {', '.join(known)}")


def resolve(target: str) -> Any:
    """Import ``module:attribute`` and return the attribute.

    Example:
        >>> resolve("math:floor")(2.5)
        2
    """
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def require(package: str, extra: str) -> ModuleType:
    """Import an optional package.

    Raises:
        MissingExtraError: It is not installed; the message has the pip command.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        # A broken dependency inside an installed package is not a missing extra: let that through.
        if error.name != package.partition(".")[0]:
            raise
        raise MissingExtraError(package, extra) from None
