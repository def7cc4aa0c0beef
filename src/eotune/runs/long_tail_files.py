"""What the directory of a long-tail run says, class by class."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eotune.core.files import read_json, write_json
from eotune.data.long_tail import GROUPS
from eotune.metrics.classification import confusion_matrix
from eotune.runs.figures import find
from eotune.runs.long_tail_geometry import GEOMETRY
from eotune.runs.long_tail_rows import CLASSIFIERS, MODELS, PREDICTIONS
from eotune.runs.run_files import RunFiles
from eotune.runs.saved_classifiers import read_classifiers
from eotune.tasks.long_tail_evaluation import VIEWS
from eotune.tasks.long_tail_training import TARGETS

TARGETS_FILE = f"{TARGETS}.json"
CLASSIFIER_NAMES = {
    "probe": "Linear probe",
    "balanced": "Class-balanced probe",
    "own": "Own head",
    VIEWS: "Own head, five crops",
}
GROUP_METRICS = {"macro_f1": "all", **{f"macro_f1_{group}": group for group in GROUPS}}


@dataclass(frozen=True)
class ClassFigures:
    """A class and the plain probe's F1 on it, per cent.

    Attributes:
        name: Of the class.
        group: Head, middle or tail.
        train_images: Number in training.
        test_images: Number in the test.
        f1: For each model: value, lower and upper end of its interval.
    """

    name: str
    group: str
    train_images: int
    test_images: int
    f1: Mapping[str, tuple[float, float, float]]


@dataclass(frozen=True)
class LongTailFiles:
    """What a finished long-tail run says.

    Attributes:
        run: What every run says.
        classes: By group, the largest in training first.
        confusion: ``(c, c)`` of each model's plain probe on the test, in the order of ``classes``: rows are true.
        classifiers: Those that were measured.
        best: The adapted model's classifier with the highest macro F1 on validation, and that figure, per cent.
        geometry: Of geometry.json; empty where there is none.
        targets: Of targets.json; empty where no phase had targets.
    """

    run: RunFiles
    classes: Sequence[ClassFigures]
    confusion: Mapping[str, np.ndarray]
    classifiers: Sequence[str]
    best: tuple[str, float] | None
    geometry: Mapping[str, Any]
    targets: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> "LongTailFiles":
        """Read the files of a finished run.

        Raises:
            InputError: One is missing or broken.
        """
        run = RunFiles.read(path)
        classes = _read_classes(path / "classes.csv")
        saved = read_classifiers(path)
        scores = {} if saved is None else saved[0].classifiers
        return cls(
            run=run,
            classes=classes,
            confusion=_read_confusion(path / PREDICTIONS, [one.name for one in classes]),
            classifiers=[name for name in CLASSIFIERS if run.row(f"{name}_macro_f1")],
            best=(saved[0].best, 100 * scores[saved[0].best].validation_macro_f1) if saved else None,
            geometry=_read_if_there(path / GEOMETRY),
            targets=_read_if_there(path / TARGETS_FILE),
        )

    def groups(self) -> list[tuple[str, int]]:
        """Return the groups that have classes, with the number of these."""
        sizes = {group: sum(one.group == group for one in self.classes) for group in GROUPS}
        return [(group, size) for group, size in sizes.items() if size]

    def confusions(self, model: str = "adapted") -> list[tuple[int, int]]:
        """Return pairs (true, predicted) of ``classes`` that were confused, the most frequent first."""
        wrong = self.confusion[model] - np.diag(self.confusion[model].diagonal())
        pairs = [(int(true), int(predicted)) for true, predicted in np.argwhere(wrong)]
        return sorted(pairs, key=lambda pair: -int(wrong[pair]))


def before_row(files: RunFiles, classifier: str, name: str) -> Mapping[str, Any] | None:
    """Return the test row that the adapted model's is compared with: the frozen model has probes, but no head."""
    found = (find(files.rows, f"{one}_{name}", split="test", model="frozen") for one in (classifier, "probe"))
    return next((row for row in found if row), None)


def f1_cell(one: ClassFigures, model: str) -> tuple[str, str]:
    """Return a class's F1 and its interval, for a table."""
    value, low, high = one.f1[model]
    return (f"{value:.1f}", f"[{low:.1f}, {high:.1f}]") if one.test_images else ("–", "")


def keep_targets(run: Path) -> None:
    """Keep what a phase reported of its targets: its checkpoints, beside which it stands, go when the run ends."""
    for report in sorted((run / "checkpoints").glob(f"*/{TARGETS_FILE}")):
        write_json(run / TARGETS_FILE, read_json(report))


def _read_classes(path: Path) -> list[ClassFigures]:
    with path.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["classifier"] == "probe"]
    figures = {
        (row["model"], row["class"]): tuple(100 * float(row[key]) for key in ("f1", "f1_low", "f1_high"))
        for row in rows
    }
    classes = [
        ClassFigures(
            row["class"],
            row["group"],
            int(row["train_images"]),
            int(row["support"]),
            {model: figures[model, row["class"]] for model in MODELS},  # type: ignore[misc]
        )
        for row in rows
        if row["model"] == "adapted"
    ]
    return sorted(classes, key=lambda one: (GROUPS.index(one.group), -one.train_images))


def _read_confusion(path: Path, order: Sequence[str]) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        names = arrays["classes"].tolist()
        found = {
            model: confusion_matrix(arrays["labels"], arrays[f"{model}_probe_predicted"], len(names))
            for model in MODELS
        }
    places = [names.index(name) for name in order]
    return {model: counts[np.ix_(places, places)] for model, counts in found.items()}


def _read_if_there(path: Path) -> Mapping[str, Any]:
    return read_json(path) if path.is_file() else {}
