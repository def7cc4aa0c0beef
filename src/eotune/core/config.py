"""The base of every configuration: unknown keys refused with the nearest known one, all errors in one pass."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from eotune.core.errors import InputError, shown
from eotune.core.lookup import nearest

ConfigType = TypeVar("ConfigType", bound="Config")


class Config(BaseModel):
    """A validated, immutable description. Subclass it with typed fields.

    Example:
        >>> class Training(Config):
        ...     epochs: int = 5
        >>> parse(Training, {"epochs": 3}).epochs
        3
        >>> try:
        ...     parse(Training, {"epoch": 3}, source="a.yaml")
        ... except InputError as error:
        ...     print(error)
        a.yaml: 'epoch' is not a known key; did you mean 'epochs'?
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


def parse(kind: type[ConfigType], values: Mapping[str, Any], *, source: str = "", prefix: str = "") -> ConfigType:
    """Validate ``values`` as ``kind``.

    Args:
        kind: The configuration class.
        values: What the user wrote.
        source: The file, for messages.
        prefix: The path of ``values`` inside the file, for messages.

    Raises:
        InputError: Anything is wrong; the message lists every error with its path.
    """
    problems = validation_problems(kind, values, prefix=prefix)
    if problems:
        raise problems_error(problems, source=source)
    return kind.model_validate(dict(values))


def validation_problems(kind: type[Config], values: Mapping[str, Any], *, prefix: str = "") -> list[str]:
    """Return one line for every error in ``values``, with its path and the nearest known key; empty if valid."""
    try:
        kind.model_validate(dict(values))
    except ValidationError as error:
        return [_describe(kind, entry, prefix) for entry in error.errors()]
    return []


def problems_error(problems: list[str], *, source: str = "") -> InputError:
    """Join problems into one error: a line each behind the file's name."""
    where = f"{source}: " if source else ""
    if len(problems) == 1:
        return InputError(f"{where}{problems[0]}")
    return InputError(f"{where}{len(problems)} problems\n" + "\n".join(f"  - {problem}" for problem in problems))


def _describe(kind: type[BaseModel], entry: Any, prefix: str) -> str:
    location = [str(part) for part in entry["loc"]]
    path = ".".join([*([prefix] if prefix else []), *location])
    name = shown(path, limit=120)
    if entry["type"] == "extra_forbidden":
        near = nearest(location[-1], _fields_at(kind, location[:-1]))
        hint = f"; did you mean {near!r}?" if near else f"; known: {', '.join(_fields_at(kind, location[:-1]))}"
        return f"{name} is not a known key{hint}"
    if entry["type"] == "missing":
        return f"{name} is missing"
    message = entry["msg"].removeprefix("Value error, ")
    value = "" if isinstance(entry["input"], Mapping) else f" (got {shown(entry['input'])})"
    return f"{name}: {message[0].lower()}{message[1:]}{value}"


def _fields_at(kind: type[BaseModel], location: list[str]) -> list[str]:
    """Return the field names of the model that stands at ``location`` inside ``kind``."""
    current: Any = kind
    for part in location:
        fields = getattr(current, "model_fields", {})
        if part in fields:
            current = _model_in(fields[part].annotation)
    return list(getattr(current, "model_fields", {}))


def _model_in(annotation: Any) -> Any:
    """Return the first model class inside an annotation such as ``Model | None`` or ``list[Model]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_in(argument)
        if found is not None:
            return found
    return None
