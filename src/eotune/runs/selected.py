"""A recipe that chooses what to train on, before it trains."""

import shutil
from pathlib import Path
from typing import Any

from eotune.core.errors import InputError
from eotune.core.files import new_directory, read_json
from eotune.data.instructions import open_instructions
from eotune.runs.recipe import Recipe
from eotune.runs.select import STAGES, SUMMARY, select
from eotune.runs.workshop import Workshop
from eotune.selection.config import SelectionConfig
from eotune.tasks.instruct import InstructConfig
from eotune.tasks.retrieval import RetrievalConfig
from eotune.training.processes import is_main, wait_for_all

SELECTION = "selection"  # the directory of the choice, in that of the run


def selected(recipe: Recipe, out: Path, workshop: Workshop) -> Recipe:
    """Return the recipe with the chosen subset as its training set; the choice is made, or gone on with, in ``out``.

    Raises:
        InputError: The task has no captions to choose from, or the selection's settings are wrong.
        InterruptedRunError: Stopped by a signal; the run's ``resume`` continues.
    """
    rule, task = recipe.selection, recipe.task
    if rule is None:
        return recipe
    if not isinstance(task, RetrievalConfig | InstructConfig):
        raise InputError(f"selection with task {task.name}", remedy="leave it out: it chooses among captions")
    train = task.train
    key = "captions" if isinstance(task, RetrievalConfig) else "samples"
    taken = [name for name in ("listed", "limit", "bands", "labels") if getattr(train, name, None) is not None]
    if taken:
        raise InputError(f"selection with task.train.{taken[0]}", remedy="leave one of them out")
    config = SelectionConfig.model_validate(
        {
            **rule.model_dump(),
            "seed": recipe.seed if rule.seed is None else rule.seed,
            "ids": rule.ids or getattr(train, "ids", "record"),
            "samples": getattr(train, key),
            "images": train.images,
            "split": train.split,
        }
    )
    folder = out / SELECTION
    if is_main():
        _choose(config, folder, workshop)
    wait_for_all()
    root = open_instructions(getattr(train, key), images=train.images, split=train.split).root
    subset = folder / read_json(folder / SUMMARY)["files"]["subset"]
    chosen = train.model_copy(update={key: subset, "images": root})
    return recipe.model_copy(update={"task": task.model_copy(update={"train": chosen})})


def selection_summary(run: Path) -> dict[str, Any] | None:
    """Return the summary of a run's selection; None where it made none."""
    path = run / SELECTION / SUMMARY
    return read_json(path) if path.is_file() else None


def _choose(config: SelectionConfig, folder: Path, workshop: Workshop) -> None:
    """Make a choice, or take that of another run of this process, which has the same settings; or what it computed."""
    key = config.model_dump_json()
    made = workshop.selections.get(key)
    if made is not None and not folder.exists():
        with new_directory(folder) as temporary:
            shutil.copytree(made, temporary, dirs_exist_ok=True, ignore=shutil.ignore_patterns(STAGES, ".*"))
    else:
        select(config, folder, resume=True, reuse=[*workshop.selections.values()])
        workshop.selections[key] = folder  # not a copy, which has no stages to take over
