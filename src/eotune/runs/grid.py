"""The trials of a sweep: every combination of settings with every seed, all validated before one of them runs."""

import copy
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field

from eotune.core.config import Config, parse, problems_error
from eotune.core.errors import InputError, shown
from eotune.core.lookup import unknown_name
from eotune.runs.recipe import SWEEP, Recipe, parse_recipe, read_values, recipe_problems, set_value, with_overrides

_CASE = "case"
_LONGEST = 100  # characters of a point's name; file systems take 255 for a name
_SCIENTIFIC = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


@dataclass(frozen=True)
class Axis:
    """One setting and the values that it takes.

    Attributes:
        key: Where it stands in the recipe: ``training.learning_rate``.
        name: What tables call it: the last part of the key, or all of it where that is not unique.
        values: At least one, no two alike.
    """

    key: str
    name: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Attributes:
        name: Of its directory.
        point: Number of its grid point.
        seed: Of the run.
        recipe: Validated.
    """

    name: str
    point: int
    seed: int
    recipe: Recipe


@dataclass(frozen=True)
class Plan:
    """A sweep, before it runs.

    Attributes:
        name: The recipe's.
        axes: What is varied.
        seeds: What each point is repeated with.
        points: The combinations of values, by the axes' names; the last axis varies fastest.
        trials: Point by point, seed by seed.
    """

    name: str
    axes: tuple[Axis, ...]
    seeds: tuple[int, ...]
    points: tuple[Mapping[str, Any], ...]
    trials: tuple[Trial, ...]

    def label(self, point: int) -> str:
        """Return a grid point in words: ``gamma=1, learning_rate=0.001``."""
        return ", ".join(f"{name}={text_of(value)}" for name, value in self.points[point].items()) or self.name


class SweepSection(Config):
    """What a recipe may say of its sweep, under the key ``sweep``.

    Attributes:
        grid: The values of each setting that varies, by its dotted key.
        cases: Settings that change together, by dotted keys, under a name each: methods that differ in more than one.
            They are combined with the grid.
        seeds: What each point is repeated with; the recipe's own seed where not given.
    """

    grid: dict[str, list[Any]] = Field(default_factory=dict)
    cases: dict[str, dict[str, Any]] = Field(default_factory=dict)
    seeds: list[Annotated[int, Field(ge=0)]] | None = None


def make_plan(recipe: Path, grid: Sequence[str] = (), seeds: str | None = None, overrides: Sequence[str] = ()) -> Plan:
    """Read a recipe and lay out its sweep.

    Args:
        recipe: YAML file; its ``sweep`` section, where it has one, is a :class:`SweepSection`.
        grid: ``KEY=V,V,...`` for each setting that varies; takes the place of the section's values of that key.
        seeds: ``S,S,...``; those of the section, or else the recipe's own seed, where not given.
        overrides: ``KEY=VALUE`` for all trials: below a key that a case or the grid sets, on top of what it sets
            there; of the same key, only where it does not.

    Raises:
        InputError: Anything is wrong with any trial; all errors are in one message. Or an override reaches no trial.
    """
    values = read_values(recipe, overrides)
    section = _section(values.pop(SWEEP, {}), str(recipe))
    written = {_CASE: list(section.cases), **section.grid} if section.cases else section.grid
    axes = parse_axes(grid, written, source=str(recipe))
    if section.cases:
        _check_cases(axes, section.cases, str(recipe))
    if not axes and seeds is None and section.seeds is None:
        raise InputError("nothing to sweep over", remedy="give --grid KEY=V,V or --seeds 0,1,2")
    points = [dict(zip((axis.key for axis in axes), chosen, strict=True)) for chosen in _combinations(axes)]
    varied = [dict(_spelt_out(point, section.cases)) for point in points]
    _check_overrides(overrides, varied)
    settings = []
    for changes in varied:
        settings.append(copy.deepcopy(values))
        for key, value in changes.items():
            set_value(settings[-1], key, copy.deepcopy(value))
        with_overrides(settings[-1], [one for one in overrides if _goes_on_top(one, changes)])
    problems = list(dict.fromkeys(problem for one in settings for problem in recipe_problems(one)))
    if problems:
        raise problems_error(problems, source=f"{recipe} with --grid {' --grid '.join(grid)}" if grid else str(recipe))
    parsed = [parse_recipe(one, source=str(recipe)) for one in settings]
    repeated = parse_seeds(seeds) if seeds is not None else tuple(section.seeds or [parsed[0].seed])
    names = {axis.key: axis.name for axis in axes}
    named = [{names[key]: value for key, value in point.items()} for point in points]
    trials = []
    for number, (one, name) in enumerate(zip(parsed, _slugs(named), strict=True)):
        for seed in repeated:
            trial = f"{name}_seed-{seed}" if name else f"seed-{seed}"
            update = {"name": f"{one.name}_{trial}", "seed": seed}
            trials.append(Trial(trial, number, seed, one.model_copy(update=update)))
    return Plan(parsed[0].name, axes, repeated, tuple(named), tuple(trials))


def parse_axes(
    texts: Iterable[str], written: Mapping[str, Sequence[Any]] | None = None, *, source: str = "recipe"
) -> tuple[Axis, ...]:
    """Read ``KEY=V,V,...``; values are YAML, so that braces and quotes keep their commas.

    Args:
        texts: One for each setting that varies.
        written: Further values by key; those in ``texts`` take the place of a key's.
        source: Where ``written`` stands, for messages.

    Raises:
        InputError: One is not of that form, has no values, repeats one, or a key stands twice.

    Example:
        >>> parse_axes(["method.gamma=1,2", "training.learning_rate=1e-4,1e-3"])[1]
        Axis(key='training.learning_rate', name='learning_rate', values=(0.0001, 0.001))
        >>> [axis.values for axis in parse_axes(["method={name: lora, rank: 2},{name: heads}"])]
        [({'name': 'lora', 'rank': 2}, {'name': 'heads'})]
    """
    named = [_named(text) for text in texts]
    keys = [key for key, _ in named]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise InputError(f"--grid {twice}: stands twice", remedy=f"put all its values in one --grid {twice}=V,V")
    from_file = {key: _checked(key, values, f"{source}: sweep.grid.{key}") for key, values in (written or {}).items()}
    read = from_file | {key: _checked(key, values, f"--grid {key}") for key, values in named}
    last = [key.rpartition(".")[2] for key in read]
    return tuple(
        Axis(key, short if last.count(short) == 1 else key, values)
        for (key, values), short in zip(read.items(), last, strict=True)
    )


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read ``0,1,2``.

    Raises:
        InputError: One is not a whole number of 0 or more, or stands twice.

    Example:
        >>> parse_seeds("0, 2")
        (0, 2)
    """
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if not (word.isascii() and word.isdigit()):
            raise InputError(
                f"--seeds {text!r}: {word!r} is not a whole number of 0 or more", remedy="write for instance 0,1,2"
            )
    seeds = tuple(int(word) for word in words)
    if len(set(seeds)) < len(seeds):
        raise InputError(f"--seeds {text!r}: a seed stands twice", remedy="the same seed gives the same figures")
    return seeds


def text_of(value: Any) -> str:
    """Return a setting's value in a few characters.

    Example:
        >>> [text_of(value) for value in (1e-4, 2, True, None, "all", {"name": "lora", "rank": 2})]
        ['0.0001', '2', 'true', 'null', 'all', 'lora rank=2']
    """
    if isinstance(value, Mapping):
        return " ".join(text_of(one) if key == "name" else f"{key}={text_of(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return " ".join(map(text_of, value))
    if isinstance(value, float):
        return f"{value:.10g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _section(written: Any, source: str) -> SweepSection:
    if not isinstance(written, Mapping):
        raise InputError(f"{source}: sweep: holds {shown(written)}", remedy="write sweep: {grid: {KEY: [V, V]}}")
    section = parse(SweepSection, written, source=source, prefix=SWEEP)
    if section.seeds is not None and len(set(section.seeds)) != max(1, len(section.seeds)):
        problem = "a seed stands twice" if section.seeds else "names none"
        raise InputError(f"{source}: sweep.seeds: {problem}", remedy="write for instance [0, 1, 2]")
    return section


def _check_cases(axes: Sequence[Axis], cases: Mapping[str, Mapping[str, Any]], source: str) -> None:
    """Refuse cases that are not written, and settings in them that are none to compare."""
    chosen = next(axis.values for axis in axes if axis.key == _CASE)
    for one in chosen:
        if not (isinstance(one, str) and one in cases):
            raise unknown_name("case", text_of(one), cases)
    for case, settings in cases.items():
        for key in settings:
            _check_key(key, f"{source}: sweep.cases.{case}")


def _named(text: str) -> tuple[str, list[Any]]:
    """Split ``KEY=V,V,...``."""
    key, equals, listed = text.partition("=")
    if not equals:
        raise InputError(f"--grid {text!r} is not KEY=V,V,...", remedy="write for instance --grid method.gamma=1,2,4")
    try:
        values = yaml.safe_load(f"[{listed}]")
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: a date that is none
        values = None
    if not isinstance(values, list):
        raise InputError(f"--grid {text!r}: the values are not valid YAML", remedy="quote them")
    return key, values


def _checked(key: str, values: Sequence[Any], where: str) -> tuple[Any, ...]:
    _check_key(key, where)
    if not values:
        raise InputError(f"{where}: has no values", remedy="name one or more")
    numbers = tuple(float(v) if isinstance(v, str) and _SCIENTIFIC.fullmatch(v) else v for v in values)
    written = [json.dumps(value, sort_keys=True, default=str) for value in numbers]
    if len(set(written)) < len(written):
        raise InputError(f"{where}: a value stands twice", remedy="name each once")
    return numbers


def _check_key(key: str, where: str) -> None:
    if not all(key.split(".")):
        raise InputError(f"{where}: {key!r} is no setting", remedy="name one as in method.gamma")
    if key in ("seed", "name"):
        raise InputError(f"{where}: {key} is no setting to compare", remedy="repeat with --seeds 0,1,2")


def _spelt_out(point: Mapping[str, Any], cases: Mapping[str, Mapping[str, Any]]) -> Iterable[tuple[str, Any]]:
    """Yield the settings of a grid point; those of its case come first."""
    for key, value in point.items():
        yield from cases[value].items() if cases and key == _CASE else [(key, value)]


def _check_overrides(overrides: Sequence[str], varied: Sequence[Mapping[str, Any]]) -> None:
    """Refuse an override that every trial replaces: who gives one expects it to tell."""
    for one in overrides:
        key = one.partition("=")[0]
        if all(_within(key, changes) and not _goes_on_top(one, changes) for changes in varied):
            raise InputError(
                f"--set {key}: every trial has its own, from the grid or its case", remedy="leave one of the two out"
            )


def _goes_on_top(override: str, changes: Mapping[str, Any]) -> bool:
    """Return whether an override sets a part of what a trial sets whole: ``method.rank`` of ``method``."""
    key = override.partition("=")[0]
    return _within(key, changes) and not any(_within(changed, (key,)) for changed in changes)


def _within(key: str, others: Iterable[str]) -> bool:
    return any(key == other or key.startswith(f"{other}.") for other in others)


def _combinations(axes: Sequence[Axis]) -> Iterable[tuple[Any, ...]]:
    return itertools.product(*(axis.values for axis in axes))


def _slugs(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a name for each point that reads well and is a file's: ``gamma-1_learning_rate-0.001``."""
    words = ["_".join(f"{name}-{text_of(value)}" for name, value in point.items()) for point in points]
    plain = [re.sub(r"[^A-Za-z0-9._-]+", "-", word) for word in words]
    folded = [name.casefold() for name in plain]  # some file systems take A for a
    return [
        name if len(name) <= _LONGEST and folded.count(name.casefold()) == 1 else f"{name[:_LONGEST]}-{_digest(point)}"
        for name, point in zip(plain, points, strict=True)
    ]


def _digest(point: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(point, sort_keys=True, default=str).encode()).hexdigest()[:8]
