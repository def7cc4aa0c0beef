"""The validated description of one run."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from eotune.core.config import Config, parse, problems_error, validation_problems
from eotune.core.errors import InputError
from eotune.methods.by_name import method_problems
from eotune.selection.config import SelectionRule
from eotune.tasks.instruct import InstructConfig
from eotune.tasks.long_tail import LongTailConfig
from eotune.tasks.long_tail_objective import LongTailObjectiveConfig
from eotune.tasks.objective import ObjectiveConfig
from eotune.tasks.retrieval import RetrievalConfig
from eotune.training.config import TrainingConfig

SWEEP = "sweep"  # the section of a recipe that describes many runs

_OBJECTIVES: dict[str, type[Config]] = {"retrieval": ObjectiveConfig, "long_tail": LongTailObjectiveConfig}
_SOURCES = {"captions", "path", "samples", "labels"}
_PATHS = ("captions", "path", "samples", "labels", "images", "listed")  # keys under which a split names files


def _task_name(value: Any) -> str:
    name = value.get("name", "retrieval") if isinstance(value, Mapping) else getattr(value, "name", None)
    return name if isinstance(name, str) else repr(name)


TaskConfig = Annotated[
    Annotated[RetrievalConfig, Tag("retrieval")]
    | Annotated[LongTailConfig, Tag("long_tail")]
    | Annotated[InstructConfig, Tag("instruct")],
    Discriminator(_task_name),
]


class EncoderConfig(Config):
    """Which pretrained model is adapted.

    Attributes:
        name: What names it: ``hf:ID_OR_DIR``, ``composed:DIR``, ``open_clip:ARCH@FILE``, ``run:DIR``, ``tiny``.
        image_size: Side of the square that it sees, in pixels; None for the model's own.
    """

    name: str
    image_size: int | None = Field(default=None, ge=16)


class RecipeSelection(SelectionRule):
    """Which of the training samples are trained on; see :class:`~eotune.selection.config.SelectionRule`.

    Attributes:
        seed: Of the choice; the run's where not given.
        ids: Those of ``task.train`` where not given.
    """

    seed: int | None = Field(default=None, ge=0)  # type: ignore[assignment]
    ids: Literal["record", "row"] | None = None  # type: ignore[assignment]


class Recipe(Config):
    """Everything that determines one run.

    Attributes:
        name: Of the run, and of its directory under runs/.
        seed: Of order, augmentation, initialisation and resampling.
        task: Data and objective; its ``name`` is ``retrieval``, where it has none, ``long_tail`` or ``instruct``.
        encoder: What is adapted.
        method: How; ``name`` chooses a file in ``eotune.methods``, the rest are its settings.
        training: Settings of the optimisation.
        selection: Choose a part of ``task.train`` first, and train on that.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = Field(default=0, ge=0)
    task: TaskConfig
    encoder: EncoderConfig
    method: dict[str, Any]
    training: TrainingConfig = TrainingConfig()
    selection: RecipeSelection | None = None

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_task(cls, values: Any) -> Any:
        """Put a task's own defaults before those of training and of LoRA."""
        if not isinstance(values, Mapping) or _task_name(values.get("task")) != "instruct":
            return values
        defaults = {"training": InstructConfig.training_defaults, "method": InstructConfig.lora_defaults}
        given = {name: values.get(name, {}) for name in defaults}
        if not isinstance(given["method"], Mapping) or given["method"].get("name") != "lora":
            del given["method"]
        return {
            **values,
            **{name: {**defaults[name], **one} for name, one in given.items() if isinstance(one, Mapping)},
        }

    @field_validator("encoder", mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    def to_yaml(self) -> str:
        """Return the resolved recipe: every default written out, every path absolute."""
        values = self.model_dump(mode="json")
        for data in values["task"].values():
            if isinstance(data, dict) and data.keys() & _SOURCES:
                data |= _absolute(data, _PATHS)
        if values["selection"] is not None:
            values["selection"] |= _absolute(values["selection"], ["targets"])
        return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _absolute(values: Mapping[str, Any], keys: Iterable[str]) -> dict[str, str]:
    """Return what stands under the keys of paths, made absolute."""
    return {key: str(Path(values[key]).absolute()) for key in keys if values.get(key) is not None}


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a YAML recipe and apply ``key=value`` overrides.

    Raises:
        InputError: Anything is wrong; all errors are in one message, each with its path and nearest known key. Or the
            recipe has a ``sweep`` section: it describes many runs.
    """
    values = read_values(path, overrides)
    if SWEEP in values:
        raise InputError(f"{path}: describes a sweep, not one run", remedy=f"run it with: eotune sweep {path}")
    return parse_recipe(values, source=str(path))


def read_values(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a YAML recipe and apply ``key=value`` overrides, without validating what it says.

    Raises:
        InputError: The file or an override is not YAML.
    """
    return with_overrides(_read_yaml(path), overrides)


def parse_recipe(values: Mapping[str, Any], *, source: str = "recipe") -> Recipe:
    """Validate a recipe given as a mapping; see :func:`read_recipe`."""
    problems = recipe_problems(values)
    if problems:
        raise problems_error(problems, source=source)
    return parse(Recipe, values, source=source)


def recipe_problems(values: Mapping[str, Any]) -> list[str]:
    """Return one line for every error in a recipe; empty if there is none."""
    problems = validation_problems(Recipe, values)
    method = values.get("method")
    if isinstance(method, Mapping):
        problems += method_problems(method)
    task = values.get("task")
    if isinstance(task, Mapping) and isinstance(task.get("objective"), Mapping):
        kind = _OBJECTIVES.get(_task_name(task))
        problems += validation_problems(kind, task["objective"], prefix="task.objective") if kind else []
    return problems


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", remedy="check the path of the recipe") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})", remedy="a recipe is a YAML text file") from None
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        what = getattr(error, "problem", None) or type(error).__name__
        raise InputError(f"{path}: not valid YAML{where} ({what})", remedy="check indentation and quotes") from None
    if not isinstance(values, dict):
        raise InputError(
            f"{path}: holds {type(values).__name__}, not keys and values", remedy="see recipes/ for examples"
        )
    return {str(key): value for key, value in values.items()}


def with_overrides(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Apply ``a.b=c``; c is read as YAML.

    Raises:
        InputError: One is not of that form.
    """
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise InputError(
                f"--set {override!r} is not KEY=VALUE", remedy="write for instance --set training.epochs=5"
            )
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InputError(f"--set {override!r}: the value is not valid YAML", remedy="quote it") from None
        set_value(values, key, value)
    return values


def set_value(values: dict[str, Any], key: str, value: Any) -> None:
    """Set ``a.b`` in nested mappings, in place. A scalar on the way (``encoder: tiny``) becomes ``{name: scalar}``.

    Example:
        >>> values = {"encoder": "tiny"}
        >>> set_value(values, "encoder.image_size", 32)
        >>> values
        {'encoder': {'name': 'tiny', 'image_size': 32}}
    """
    *path, last = key.split(".")
    for part in path:
        child = values.get(part)
        if not isinstance(child, dict):
            child = {"name": child} if isinstance(child, str) else {}
            values[part] = child
        values = child
    values[last] = value
