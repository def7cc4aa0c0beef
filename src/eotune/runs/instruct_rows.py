"""Rows of metrics.json for visual questions, and the file of answers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eotune.core.errors import InputError
from eotune.core.files import write_text
from eotune.runs.measure import BOOTSTRAP_SEED
from eotune.runs.recipe import Recipe
from eotune.tasks.instruct import InstructSet
from eotune.tasks.instruct_answers import Judged, interval

PREDICTIONS = "predictions.jsonl"
# Of each model a row a figure; gains are the adapted model's over the others, paired.
MODELS = ("zero-shot", "adapted", "blind", "prior")
GAINS = {"gain": "zero-shot", "gain_over_blind": "blind", "gain_over_prior": "prior"}


def split_rows(measured: Mapping[str, Judged], asked: InstructSet, recipe: Recipe, split: str) -> list[dict[str, Any]]:
    """Return the rows of a split, per cent, with 95 % bootstrap intervals over images.

    Args:
        measured: Of each model of :data:`MODELS`.
        asked: The split.
        recipe: Of the run.
        split: Its name.
    """
    samples = {model: judged.samples(seed=BOOTSTRAP_SEED) for model, judged in measured.items()}
    values = {model: judged.values() for model, judged in measured.items()}
    for gain, before in GAINS.items():
        samples[gain] = {name: one - samples[before][name] for name, one in samples["adapted"].items()}
        values[gain] = {name: one - values[before][name] for name, one in values["adapted"].items()}
    images = len(asked.images())
    return [
        _row(recipe, asked, split, (model, name), value, interval(samples[model][name]), images)
        for model, figures in values.items()
        for name, value in figures.items()
    ]


def write_predictions(
    run: Path, asked: InstructSet, given: Mapping[str, Sequence[str]], judged: Mapping[str, Judged]
) -> None:
    """Write predictions.jsonl: a line a question, with each model's answer and whether it is right."""
    kinds = judged["adapted"].kinds
    lines = [
        {
            "id": sample.id,
            "image": str(sample.image.absolute()),
            "kind": kinds[number],
            "question": sample.question,
            "answer": sample.answer,
            **{
                model: {"answer": given[model][number], "correct": bool(judged[model].correct[number])}
                for model in given
            },
        }
        for number, sample in enumerate(asked.samples)
    ]
    write_text(run / PREDICTIONS, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def read_predictions(run: Path) -> list[dict[str, Any]]:
    """Return the lines of predictions.jsonl.

    Raises:
        InputError: It is missing or broken.
    """
    path = run / PREDICTIONS
    try:
        # Not splitlines: U+2028 may stand inside an answer.
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        for line in lines:
            bool(line["adapted"]["correct"]), line["kind"], line["image"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({error})", remedy="run the recipe again") from None
    return lines


def resampled_accuracy(run: Path, metric: str) -> np.ndarray | None:
    """Return the adapted model's figure in each of the bootstrap's resamples, per cent; None where there is no such.

    Raises:
        InputError: The run's answers cannot be read.
    """
    lines = read_predictions(run)
    numbers = {image: number for number, image in enumerate(dict.fromkeys(line["image"] for line in lines))}
    judged = Judged(
        np.array([bool(line["adapted"]["correct"]) for line in lines]),
        [line["kind"] for line in lines],
        np.array([numbers[line["image"]] for line in lines]),
    )
    found = judged.samples(seed=BOOTSTRAP_SEED).get(metric)
    return None if found is None or not np.isfinite(found).all() else 100 * found


def _row(
    recipe: Recipe,
    asked: InstructSet,
    split: str,
    what: tuple[str, str],
    value: float,
    ends: tuple[float, float] | None,
    images: int,
) -> dict[str, Any]:
    model, metric = what
    low, high = (None, None) if ends is None else (100 * ends[0], 100 * ends[1])
    return {
        "task": recipe.task.name, "dataset": asked.source.stem, "split": split, "model": model, "metric": metric,
        "value": 100 * value, "low": low, "high": high, "n": images, "seed": recipe.seed,
        "primary": (split, model, metric) == ("test", "adapted", recipe.task.primary),
    }  # fmt: skip
