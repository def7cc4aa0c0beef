"""From a method's name to the method: the name is the file's, and no table knows it."""

from collections.abc import Mapping
from typing import Any

from eotune.core.config import parse, validation_problems
from eotune.core.errors import InputError
from eotune.core.lookup import Family
from eotune.methods.base import Method, MethodConfig

_FAMILY = Family("method", "eotune.methods", Method)  # type: ignore[type-abstract]


def names() -> list[str]:
    """Return the names of all methods, sorted.

    Example:
        >>> "harma" in names()
        True
    """
    return _FAMILY.names()


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
    return _FAMILY.named(settings.name)(settings)


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
    return parse(_FAMILY.named(values["name"]).Config, values, source=source, prefix=prefix)


def method_problems(values: Mapping[str, Any], *, prefix: str = "method") -> list[str]:
    """Return one line for every error in a method's settings; empty if there is none.

    Example:
        >>> method_problems({"name": "lora", "rnak": 4})
        ["'method.rnak' is not a known key; did you mean 'rank'?"]
    """
    if "name" not in values:
        return [f"'{prefix}.name' is missing; name one of {', '.join(names())}"]
    try:
        kind = _FAMILY.named(values["name"])
    except InputError as error:
        return [f"'{prefix}.name': {error}"]
    return validation_problems(kind.Config, values, prefix=prefix)
