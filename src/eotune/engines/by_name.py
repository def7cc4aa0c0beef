"""From an engine's name to the engine."""

from eotune.core.errors import InputError
from eotune.core.lookup import resolve, unknown_name
from eotune.engines.base import Engine

ENGINES = {"local": "eotune.engines.local:LocalEngine", "ray": "eotune.engines.ray:RayEngine"}


def engine(name: str, *, workers: int | None = None, cpus: float | None = None, gpus: float | None = None) -> Engine:
    """Return the engine called ``name``.

    Args:
        name: ``local`` or ``ray``.
        workers: How many; unless given, one in this process, or as many as a Ray cluster has room for.
        cpus: Cores of each worker, for Ray; see :class:`~eotune.engines.ray.RayEngine`.
        gpus: GPUs of each worker, likewise.

    Raises:
        InputError: There is no such engine, its extra is missing, or it does not share out cores and GPUs.

    Example:
        >>> engine("local", workers=2).workers
        2
    """
    if name not in ENGINES:
        raise unknown_name("engine", name, ENGINES)
    if workers is not None and workers < 1:
        raise InputError(f"workers={workers}: not a number of workers", remedy="give 1 or more")
    asked = {key: amount for key, amount in (("cpus", cpus), ("gpus", gpus)) if amount is not None}
    if asked and name != "ray":
        raise InputError(
            f"engine {name!r} with {' and '.join(asked)} of a worker: its workers share those of this machine",
            remedy="take the engine ray, on one machine too",
        )
    return resolve(ENGINES[name])(workers=workers, **asked)
