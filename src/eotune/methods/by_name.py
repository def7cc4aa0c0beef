"""From a method's name to the method: the name is the file's, and no table knows it."""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

from eotune.core.config import parse, validation_problems
from eotune.core.errors import InputError
from eotune.core.lookup import unknown_name
from eotune.methods.base import Method, MethodConfig

_PACKAGE = "eotune.methods"


def names() -> list[str]:
    """Return the names of all methods, sorted.

    Example:
        >>> "harma" in names()
        True
    """
    folder = importlib.import_module(_PACKAGE).__path__
    return sorted(module.name for module in pkgutil.iter_modules(folder) if _method_in(module.name) is not None)


def create(config: Mapping[str, Any] | MethodConfig) -> Method:
    """Return the method that ``config`` describes.

    Args:
        config: ``{"name": ..., settings}`` or what :func:`method_config` returned.

    Raises:
        InputError: The name or a setting is wrong.

    Example:
        >>> create({"name": "lora", "rank": 4}).config.rank
        4
    """
    settings = config if isinstance(config, MethodConfig) else method_config(config)
    return _kind(settings.name)(settings)


def method_config(values: Mapping[str, Any], *, source: str = "", prefix: str = "method") -> MethodConfig:
    """Validate a method's settings.

    Args:
        values: What the user wrote, with the method's ``name``.
        source: The file, for messages.
        prefix: The path of ``values`` inside the file, for messages.

    Raises:
        InputError: Anything is wrong; the message lists every error.
    """
    if "name" not in values:
        raise InputError(
            f"{source + ': ' if source else ''}'{prefix}.name' is missing", remedy=f"name one of {', '.join(names())}"
        )
    return parse(_kind(values["name"]).Config, values, source=source, prefix=prefix)


def method_problems(values: Mapping[str, Any], *, prefix: str = "method") -> list[str]:
    """Return one line for every error in a method's settings; empty if there is none.

    Example:
        >>> method_problems({"name": "lora", "rnak": 4})
        ["'method.rnak' is not a known key; did you mean 'rank'?"]
    """
    if "name" not in values:
        return [f"'{prefix}.name' is missing; name one of {', '.join(names())}"]
    try:
        kind = _kind(values["name"])
    except InputError as error:
        return [f"'{prefix}.name': {error}"]
    return validation_problems(kind.Config, values, prefix=prefix)


def _kind(name: object) -> type[Method]:
    kind = _method_in(name) if isinstance(name, str) and name.isidentifier() else None
    if kind is None:
        raise unknown_name("method", str(name), names())
    return kind


def _method_in(name: str) -> type[Method] | None:
    """Return the ``Method`` that the module of this name defines, or None."""
    target = f"{_PACKAGE}.{name}"
    try:
        module = importlib.import_module(target)
    except ModuleNotFoundError as error:
        if error.name == target:
            return None
        raise
    kind = getattr(module, "Method", None)
    if not inspect.isclass(kind) or kind.__module__ != target or inspect.isabstract(kind):
        return None
    return kind if issubclass(kind, Method) else None
