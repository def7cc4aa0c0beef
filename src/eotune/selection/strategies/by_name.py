"""From a strategy's name to the strategy: the name is the file's, and no table knows it."""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

from eotune.core.config import parse
from eotune.core.errors import InputError
from eotune.core.lookup import unknown_name
from eotune.selection.strategies.base import Strategy, StrategyConfig

_PACKAGE = "eotune.selection.strategies"


def names() -> list[str]:
    """Return the names of all strategies, sorted.

    Example:
        >>> "perturbation" in names()
        True
    """
    folder = importlib.import_module(_PACKAGE).__path__
    return sorted(module.name for module in pkgutil.iter_modules(folder) if _strategy_in(module.name) is not None)


def create(config: Mapping[str, Any] | StrategyConfig, *, source: str = "", prefix: str = "strategy") -> Strategy:
    """Return the strategy that ``config`` describes.

    Args:
        config: ``{"name": ..., settings}`` or a validated configuration.
        source: The file it stands in, for messages.
        prefix: Its path inside the file, for messages.

    Raises:
        InputError: The name or a setting is wrong; the message lists every error.

    Example:
        >>> create({"name": "stratified", "quota": "equal"}).config.quota
        'equal'
    """
    if isinstance(config, StrategyConfig):
        return _kind(config.name)(config)
    if "name" not in config:
        where = f"{source}: " if source else ""
        raise InputError(f"{where}'{prefix}.name' is missing", remedy=f"name one of {', '.join(names())}")
    kind = _kind(config["name"])
    return kind(parse(kind.Config, config, source=source, prefix=prefix))


def _kind(name: object) -> type[Strategy]:
    kind = _strategy_in(name) if isinstance(name, str) and name.isidentifier() else None
    if kind is None:
        raise unknown_name("strategy", str(name), names())
    return kind


def _strategy_in(name: str) -> type[Strategy] | None:
    """Return the ``Strategy`` that the module of this name defines, or None."""
    target = f"{_PACKAGE}.{name}"
    try:
        module = importlib.import_module(target)
    except ModuleNotFoundError as error:
        if error.name == target:
            return None
        raise
    kind = getattr(module, "Strategy", None)
    if not inspect.isclass(kind) or kind.__module__ != target or inspect.isabstract(kind):
        return None
    return kind if issubclass(kind, Strategy) else None
