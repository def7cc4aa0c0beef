"""From a strategy's name to the strategy: the name is the file's, and no table knows it."""

from collections.abc import Mapping
from typing import Any

from eotune.core.config import parse
from eotune.core.errors import InputError
from eotune.core.lookup import Family
from eotune.selection.strategies.base import Strategy, StrategyConfig

_FAMILY = Family("strategy", "eotune.selection.strategies", Strategy)  # type: ignore[type-abstract]


def names() -> list[str]:
    """Return the names of all strategies, sorted.

    Example:
        >>> "perturbation" in names()
        True
    """
    return _FAMILY.names()


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
        return _FAMILY.named(config.name)(config)
    if "name" not in config:
        where = f"{source}: " if source else ""
        raise InputError(f"{where}'{prefix}.name' is missing", remedy=f"name one of {', '.join(names())}")
    kind = _FAMILY.named(config["name"])
    return kind(parse(kind.Config, config, source=source, prefix=prefix))
