"""The base of every configuration: unknown keys refused with the nearest known one, all errors in one pass."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from eotune.core.errors import InputError, shown
from eotune.core.lookup import nearest, unknown_name

ConfigType = TypeVar("ConfigType", bound="Config")


class Config(BaseModel):
    """A validated, immutable description. Subclass it with typed fields; numbers are finite unless a field says so.

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

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


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
    location, known = _place(kind, [str(part) for part in entry["loc"]])
    path = ".".join([*([prefix] if prefix else []), *location])
    name = shown(path, limit=120)
    if entry["type"] == "extra_forbidden":
        near = nearest(location[-1], known)
        hint = f"; did you mean {near!r}?" if near else f"; known: {', '.join(known)}"
        return f"{name} is not a known key{hint}"
    if entry["type"] == "missing":
        return f"{name} is missing"
    if entry["type"] == "union_tag_invalid":
        expected = re.findall(r"'([^']*)'", entry["ctx"]["expected_tags"])
        return f"{shown(f'{path}.name', limit=120)}: {unknown_name('name', entry['ctx']['tag'], expected)}"
    if entry["type"] == "union_tag_not_found":
        return f"{name}: should be keys and values (got {shown(entry['input'])})"
    message = entry["msg"].removeprefix("Value error, ")
    value = "" if isinstance(entry["input"], Mapping) else f" (got {shown(entry['input'])})"
    return f"{name}: {message[0].lower()}{message[1:]}{value}"


def _place(kind: type[BaseModel], location: list[str]) -> tuple[list[str], list[str]]:
    """Return a location as the user writes it, and the keys that are known where its last part stands.

    Where one of several models is chosen by its ``name``, pydantic puts that name into the location.
    """
    path, models = [], [kind]
    for number, part in enumerate(location):
        tagged = [model for model in models if _tag(model) == part]
        if len(models) > 1 and tagged:
            models = tagged
            continue
        path.append(part)
        fields = {name: field for model in models for name, field in model.model_fields.items()}
        if number < len(location) - 1 and part in fields:
            models = _models_in(fields[part].annotation)
    return path, list(dict.fromkeys(name for model in models for name in model.model_fields))


def _tag(model: type[BaseModel]) -> str | None:
    """Return the one value that a model's ``name`` may have."""
    field = model.model_fields.get("name")
    values: tuple[Any, ...] = getattr(field.annotation, "__args__", ()) if field else ()
    return values[0] if len(values) == 1 and isinstance(values[0], str) else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the model classes inside an annotation such as ``Model | None`` or ``list[Model]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in getattr(annotation, "__args__", ()) for model in _models_in(argument)]
