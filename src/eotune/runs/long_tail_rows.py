"""Rows of metrics.json for long-tailed classification, and the files of the test split."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eotune.core.files import replaced, write_text
from eotune.metrics.long_tail import LongTailResult, paired_differences
from eotune.runs.measure import BOOTSTRAP_SEED
from eotune.runs.recipe import Recipe
from eotune.runs.tables import csv_text
from eotune.tasks.long_tail import LongTailData
from eotune.tasks.long_tail_evaluation import VIEWS, ClassScores, evaluate_classifier

MODELS = ("frozen", "adapted")
CLASSIFIERS = ("probe", "balanced", "own", VIEWS)
PREDICTIONS = "predictions.npz"


@dataclass(frozen=True)
class Measured:
    """A classifier on the features of a model, on a split.

    Attributes:
        probabilities: ``(n, c)``, calibrated.
        result: Measured on these.
    """

    probabilities: np.ndarray
    result: LongTailResult


def measure(scores: ClassScores, features: np.ndarray, labels: np.ndarray, data: LongTailData) -> Measured:
    """Classify a split and measure it, with bootstrap intervals."""
    return Measured(
        scores.probabilities(features), evaluate_classifier(scores, features, labels, data, seed=BOOTSTRAP_SEED)
    )


def split_rows(
    measured: Mapping[tuple[str, str], Measured], data: LongTailData, recipe: Recipe, split: str
) -> list[dict[str, Any]]:
    """Return the rows of a split, per cent: of each (model, classifier), and of the gain of the adapted model.

    A metric is named for its classifier: ``probe_macro_f1_tail``. The frozen model has no head of its own; the gain of
    the adapted one's is over the frozen model's probe.
    """
    labels = getattr(data, split).labels
    rows = []
    for (model, classifier), one in measured.items():
        for name, value in one.result.values.items():
            interval = one.result.intervals.get(name)
            rows.append(_row(recipe, data, split, (model, f"{classifier}_{name}"), value, interval))
    for classifier in CLASSIFIERS:
        after = measured.get(("adapted", classifier))
        before = measured.get(("frozen", classifier)) or measured[("frozen", "probe")]
        if after is None:
            continue
        ours, theirs = (one.probabilities.argmax(axis=1) for one in (after, before))
        found = paired_differences(labels, ours, theirs, len(data.train.classes), data.groups, seed=BOOTSTRAP_SEED)
        for name, difference in found.items():
            interval = (difference.low, difference.high)
            rows.append(_row(recipe, data, split, ("gain", f"{classifier}_{name}"), difference.value, interval))
    return rows


def write_test_files(run: Path, measured: Mapping[tuple[str, str], Measured], data: LongTailData) -> None:
    """Write predictions.npz (what was predicted, and how sure) and classes.csv (every class's figures)."""
    arrays: dict[str, Any] = {"labels": data.test.labels, "classes": np.array(data.test.classes)}
    for (model, classifier), one in measured.items():
        arrays[f"{model}_{classifier}"] = one.probabilities.astype(np.float16)
        arrays[f"{model}_{classifier}_predicted"] = one.probabilities.argmax(axis=1)  # float16 may tie
    with replaced(run / PREDICTIONS) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)
    counts = data.train.counts()
    lines = [
        (model, classifier, int(counts[number]), *row.values())
        for (model, classifier), one in measured.items()
        for number, row in enumerate(one.result.class_table(data.test.classes, data.groups))
    ]
    fields = ("class", "group", "support", "precision", "recall", "f1", "f1_low", "f1_high")
    write_text(run / "classes.csv", csv_text(("model", "classifier", "train_images", *fields), lines))


def _row(
    recipe: Recipe,
    data: LongTailData,
    split: str,
    what: tuple[str, str],
    value: float,
    interval: tuple[float, float] | None,
) -> dict[str, Any]:
    model, metric = what
    labelled = getattr(data, split)
    low, high = (None, None) if interval is None else (100 * end for end in interval)
    return {
        "task": recipe.task.name, "dataset": labelled.source.stem, "split": split, "model": model, "metric": metric,
        "value": 100 * value, "low": low, "high": high, "n": len(labelled),
        "seed": recipe.seed, "primary": (split, model, metric) == ("test", "adapted", recipe.task.primary),
    }  # fmt: skip
