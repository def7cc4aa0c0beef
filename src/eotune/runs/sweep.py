"""Run a sweep: every trial a run of its own, chosen between on validation, the test split read afterwards."""

import gc
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from eotune.core.errors import EotuneError, InputError, InterruptedRunError
from eotune.core.files import held, read_json, write_json
from eotune.core.progress import say
from eotune.core.seeds import derive_seed
from eotune.methods.by_name import create
from eotune.runs.directory import is_finished, other_data, recipe_differences
from eotune.runs.execute import check_machine, execute
from eotune.runs.grid import Plan, Trial, text_of
from eotune.runs.job import Job, job_of, open_job
from eotune.runs.recipe import Recipe
from eotune.runs.sweep_files import write_sweep_files
from eotune.runs.sweep_result import FAILED, TRIALS, SweepResult, read_result
from eotune.runs.workshop import Workshop
from eotune.training.fit import reset_peak_memory

DESCRIPTION = "sweep.json"
TestMode = Literal["best", "all", "none"]


def sweep(plan: Plan, out: Path, *, test: TestMode = "best", resume: bool = False) -> SweepResult:
    """Run every trial of ``plan`` into ``out``/trials, then write the tables, the plot and the report.

    The trials share decoded images, the pretrained encoder and its figures. A trial that fails is recorded with its
    reason, and the sweep goes on. Trials that an earlier process finished, or saw fail, are not run again.

    Args:
        plan: What :func:`~eotune.runs.grid.make_plan` laid out.
        out: The sweep's directory; an existing one is refused unless ``resume``.
        test: Which trials read the test split: those of the point that is best on validation, all, or none.
        resume: Continue an interrupted sweep, or add to a finished one: a grid may grow.

    Raises:
        InputError: The data, a model or a method cannot be used, the directory holds something else, or a trial that is
            there had other data; nothing has been written then.
        InterruptedRunError: Stopped by a signal; ``resume`` continues.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("a sweep runs in one process", remedy="start it without torchrun or accelerate launch")
    described = _described(plan, out, resume=resume)
    workshop = Workshop()
    _rehearse(plan, workshop, out)
    out.mkdir(parents=True, exist_ok=True)
    with held(out):
        write_json(out / DESCRIPTION, described)
        for number, trial in enumerate(_by_encoder(plan), start=1):
            say(f"trial {number} of {len(plan.trials)}: {plan.label(trial.point)}, seed {trial.seed}")
            _run(trial, out, workshop)
        result = read_result(plan, out)
        for trial in _tested(plan, result, test):
            execute(trial.recipe, out / TRIALS / trial.name, resume=True, workshop=workshop)
        result = read_result(plan, out)
        write_sweep_files(result, out)
    return result


def _described(plan: Plan, out: Path, *, resume: bool) -> dict[str, Any]:
    """Return sweep.json: what varies, and every trial's recipe, those of an earlier grid included.

    Raises:
        InputError: ``out`` holds something else, a sweep without ``resume``, or trials of the same names that were
            begun with other recipes.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file", remedy="choose another --out")
    file = out / DESCRIPTION
    before: Mapping[str, Any] = {}
    if file.is_file():
        if not resume:
            raise InputError(f"{out}: holds a sweep already", remedy="go on with --resume, or choose another --out")
        values = read_json(file)
        before = values.get("trials") if isinstance(values, dict) else None  # type: ignore[assignment]
        if not isinstance(before, dict):
            raise InputError(f"{file}: describes no sweep", remedy="choose another --out")
    elif out.is_dir() and any(not path.name.startswith(".") for path in out.iterdir()):  # a lock, what was cut short
        raise InputError(f"{out}: is not empty and holds no sweep", remedy="choose another --out")
    trials = {trial.name: trial.recipe.to_yaml() for trial in plan.trials}
    for name in sorted(trials.keys() & before.keys()):
        if changed := recipe_differences(str(before[name]), trials[name]):
            raise InputError(
                f"{out}: was begun with another recipe ({', '.join(changed[:5])})",
                remedy="give the recipe and --set of then, or choose another --out",
            )
    return {
        "recipe": plan.name,
        "grid": {axis.key: [text_of(value) for value in axis.values] for axis in plan.axes},
        "seeds": list(plan.seeds),
        "trials": {**before, **trials},
    }


def _rehearse(plan: Plan, workshop: Workshop, out: Path) -> None:
    """Read all data, load every encoder and apply every method once, before hours are spent on the first trial.

    Raises:
        InputError: Something of it cannot be used; all problems are in one message.
    """
    problems: list[str] = []
    seen = set()
    jobs: dict[str, Job[Any]] = {}
    splits: dict[str, Mapping[str, Any]] = {}

    def attempt(concerns: object, action: Callable[..., None], *arguments: Any) -> None:
        if repr(concerns) in seen:
            return
        seen.add(repr(concerns))
        try:
            action(*arguments)
        except InputError as error:
            problems.append(str(error))

    for trial in _by_encoder(plan):
        recipe = trial.recipe
        key = repr((recipe.task, recipe.seed, recipe.encoder))
        attempt(key, _read, recipe, workshop, jobs, splits, key)
        attempt(trial.name, _refuse_other_data, out / TRIALS / trial.name, recipe, splits.get(key, {}))
        attempt((recipe.encoder, recipe.method), _apply, recipe, workshop, jobs.get(key))
        attempt(recipe.training, check_machine, recipe)
    problems = list(dict.fromkeys(problems))
    if problems:
        listed = problems[0] if len(problems) == 1 else "".join(f"\n  - {problem}" for problem in problems)
        raise InputError(f"the sweep cannot begin: {listed}")


def _by_encoder(plan: Plan) -> list[Trial]:
    """Return the trials in an order in which each encoder is loaded once, otherwise that of the grid."""
    encoders = list(dict.fromkeys(repr(trial.recipe.encoder) for trial in plan.trials))
    return sorted(plan.trials, key=lambda trial: encoders.index(repr(trial.recipe.encoder)))


def _read(
    recipe: Recipe, workshop: Workshop, jobs: dict[str, Job[Any]], splits: dict[str, Mapping[str, Any]], key: str
) -> None:
    job = open_job(recipe, workshop)
    splits[key] = job.description()["splits"]
    jobs[key] = job


def _refuse_other_data(folder: Path, recipe: Recipe, splits: Mapping[str, Any]) -> None:
    """Refuse a trial of other data; of one with a selection, which trains on a part, the other splits are compared."""
    chosen = () if recipe.selection is None else ("train", "validation")
    if problem := other_data(folder, {name: one for name, one in splits.items() if name not in chosen}):
        raise InputError(problem[0], remedy=problem[1])


def _apply(recipe: Recipe, workshop: Workshop, job: Job[Any] | None) -> None:
    """Apply a recipe's method to its encoder; where the data cannot be read, to what is pretrained."""
    method = create(recipe.method)
    if job is not None:
        job.check(method)
    encoder = job_of(recipe).pretrained(recipe, workshop) if job is None else job.encoder()
    method.apply(encoder, seed=derive_seed(recipe.seed, "method"))


def _run(trial: Trial, out: Path, workshop: Workshop) -> None:
    """Train a trial and measure it on validation, unless an earlier process did, or saw it fail."""
    folder = out / TRIALS / trial.name
    if (folder / FAILED).is_file() or is_finished(folder):
        return
    reset_peak_memory()
    begun = (folder / "recipe.yaml").is_file()
    try:
        with _memory_errors():
            execute(trial.recipe, folder, resume=True, splits=("validation",), workshop=workshop)
    except InterruptedRunError:
        raise
    except EotuneError as error:
        if begun and isinstance(error, InputError):  # what was begun can go on when its input is put back
            raise
        say(f"{trial.name} failed: {error}")
        write_json(folder / FAILED, {"reason": str(error)})
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    finally:
        gc.collect()  # the trainer and its model refer to each other; on a GPU the next trial needs the room


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Turn running out of memory into a trial's failure: a smaller batch of the same grid may fit."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if type(error).__name__ not in ("MemoryError", "OutOfMemoryError"):
            raise
        raise EotuneError("out of memory") from None


def _tested(plan: Plan, result: SweepResult, test: TestMode) -> list[Trial]:
    if test == "none":
        return []
    points = [point.number for point in result.points if test == "all" or point.number == result.best]
    finished = {trial.name for point in result.points for trial in point.trials if trial.validation is not None}
    return [trial for trial in plan.trials if trial.point in points and trial.name in finished]
