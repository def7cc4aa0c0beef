"""A recipe that chooses what to train on, before it trains."""

import shutil
from pathlib import Path
from typing import Any

from eotune.core.errors import InputError
from eotune.core.files import new_directory, read_json
from eotune.data.instruction_files import write_subset
from eotune.data.instructions import InstructionSample, open_instructions
from eotune.runs.recipe import Recipe
from eotune.runs.select import STAGES, SUMMARY, select
from eotune.runs.workshop import Workshop
from eotune.selection.config import SelectionConfig
from eotune.selection.samples import open_samples
from eotune.tasks import instruct, retrieval
from eotune.tasks.instruct import InstructConfig, InstructData
from eotune.tasks.retrieval import CaptionData, RetrievalConfig
from eotune.training.processes import is_main, wait_for_all

SELECTION = "selection"  # the directory of the choice, in that of the run


def selected(recipe: Recipe, out: Path, workshop: Workshop) -> Recipe:
    """Return the recipe with the chosen subset as its training set; the choice is made, or gone on with, in ``out``.

    A validation share is held out before, of the whole training set: runs that choose otherwise, or not at all, are
    judged by the same samples, and none of these is chosen.

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
    folder, held = out / SELECTION, f"validation{config.samples.suffix}"
    share = task.validation if isinstance(task.validation, float) else None
    if is_main():
        if share is not None:
            config = config.model_copy(update={"without": _held_out(train, share, recipe.seed)})
        _choose(config, folder, workshop)
        if share is not None:
            _write_held_out(config, folder / held)
    wait_for_all()
    root = open_instructions(config.samples, images=config.images, split=config.split, ids=config.ids).root
    subset = folder / read_json(folder / SUMMARY)["files"]["subset"]
    files = {"train": subset} | ({} if share is None else {"validation": folder / held})
    splits = {split: train.model_copy(update={key: file, "images": root}) for split, file in files.items()}
    return recipe.model_copy(update={"task": task.model_copy(update=splits)})


def selection_summary(run: Path) -> dict[str, Any] | None:
    """Return the summary of a run's selection; None where it made none."""
    path = run / SELECTION / SUMMARY
    return read_json(path) if path.is_file() else None


def _held_out(train: CaptionData | InstructData, share: float, seed: int) -> tuple[str, ...]:
    """Return the images that a run without a selection holds out for validation, by their paths in the set.

    Raises:
        InputError: The set cannot be read, or the share leaves a side without an image.
    """
    if isinstance(train, CaptionData):
        return tuple(sample.image for sample in retrieval.hold_out(train.read(), share, seed)[1].samples)
    held = instruct.hold_out(train.read(), share, seed)[1]
    return tuple(image.relative_to(held.root).as_posix() for image in held.images())


def _write_held_out(config: SelectionConfig, file: Path) -> None:
    """Write the samples of the images that nothing was chosen from, unless they are there."""
    if file.exists():
        return
    source, held = open_samples(config.model_copy(update={"without": ()})), open_samples(config).without
    samples = (one for one in source.samples() if isinstance(one, InstructionSample))
    write_subset(source, [one.row for one in samples if one.shows(held)], file)


def _choose(config: SelectionConfig, folder: Path, workshop: Workshop) -> None:
    """Make a choice, or take that of another run of this process, which has the same settings; or what it computed."""
    key = config.model_dump_json()
    made = workshop.selections.get(key)
    if made is not None and not folder.exists():
        with new_directory(folder) as temporary:
            shutil.copytree(made, temporary, dirs_exist_ok=True, ignore=shutil.ignore_patterns(STAGES, ".*"))
    else:
        select(config, folder, resume=True, reuse=[*workshop.selections.values()])
        if (folder / STAGES).is_dir():  # a copy has none to take over
            workshop.selections[key] = folder
