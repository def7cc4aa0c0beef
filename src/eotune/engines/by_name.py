"""From an engine's name to the engine."""

from eotune.core.errors import InputError
from eotune.core.lookup import resolve, unknown_name
from eotune.engines.base import Engine

ENGINES = {"local": "eotune.engines.local:LocalEngine", "ray": "eotune.engines.ray:RayEngine"}


def engine(name: str, *, workers: int | None = None) -> Engine:
    """Return the engine called ``name``.

    Args:
        name: ``local`` or ``ray``.
        workers: How many; unless given, one in this process, or as many as a Ray cluster has room for.

    Raises:
        InputError: There is no such engine, or its extra is missing.

    Example:
        >>> engine("local", workers=2).workers
        2
    """
    if name not in ENGINES:
        raise unknown_name("engine", name, ENGINES)
    if workers is not None and workers < 1:
        raise InputError(f"workers={workers}: not a number of workers", remedy="give 1 or more")
    return resolve(ENGINES[name])(workers=workers)
