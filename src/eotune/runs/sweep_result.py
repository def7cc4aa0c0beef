"""What a sweep found: read from the files of its trials, the best point chosen on validation."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eotune.core.files import read_json
from eotune.runs.averages import Average, average
from eotune.runs.directory import FINISHED, is_finished
from eotune.runs.grid import Plan, text_of

TRIALS = "trials"
FAILED = "failed.json"
_LEARNING_RATE = "training.learning_rate"


@dataclass(frozen=True)
class TrialResult:
    """One trial.

    Attributes:
        name: Its directory under trials/.
        seed: Of the run.
        validation: Row of the metric on validation; None where the trial failed.
        test: Likewise on the test split; None where that was not read.
        reason: Why it failed.
    """

    name: str
    seed: int
    validation: Mapping[str, Any] | None
    test: Mapping[str, Any] | None
    reason: str | None


@dataclass(frozen=True)
class PointResult:
    """One grid point.

    Attributes:
        number: Counted from 0.
        label: In words.
        settings: The axes' names and this point's values.
        trials: One a seed.
        validation: Over the trials that finished; None where none did.
        test: Over the trials that read the test split; None where none did.
    """

    number: int
    label: str
    settings: Mapping[str, Any]
    trials: tuple[TrialResult, ...]
    validation: Average | None
    test: Average | None

    @property
    def failed(self) -> int:
        """Number of trials that failed."""
        return sum(trial.reason is not None for trial in self.trials)


@dataclass(frozen=True)
class SweepResult:
    """A sweep.

    Attributes:
        name: The recipe's.
        metric: What is compared; larger is better.
        axes: Names of what varies, with the values.
        points: In the order of the grid.
        best: Number of the point with the highest mean on validation among those without a failed trial; None where
            every point has one.
        warnings: What to look at before the figures are used.
    """

    name: str
    metric: str
    axes: Mapping[str, Sequence[Any]]
    points: tuple[PointResult, ...]
    best: int | None
    warnings: tuple[str, ...]

    @property
    def failed(self) -> tuple[TrialResult, ...]:
        """The trials that failed."""
        return tuple(trial for point in self.points for trial in point.trials if trial.reason is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)


def read_result(plan: Plan, out: Path) -> SweepResult:
    """Read what the trials of ``plan`` left under ``out``.

    Raises:
        InputError: A file of a finished trial is broken.
    """
    metric = plan.trials[0].recipe.task.primary
    points = []
    for number, settings in enumerate(plan.points):
        trials = tuple(_trial(out, t.name, t.seed, metric) for t in plan.trials if t.point == number)
        validation, test = ([row for t in trials if (row := getattr(t, split))] for split in ("validation", "test"))
        points.append(
            PointResult(
                number, plan.label(number), settings, trials,
                average(validation) if validation else None, average(test) if test else None,
            )
        )  # fmt: skip
    best = choose(points)
    warnings = [] if best is None else _at_edges(plan, best)
    return SweepResult(
        plan.name, metric, {axis.name: axis.values for axis in plan.axes}, tuple(points), best, tuple(warnings)
    )


def choose(points: Sequence[PointResult]) -> int | None:
    """Return the number of the point with the highest mean on validation; the first of equals.

    A point with a failed trial is none to recommend, and the mean of what is left of it flatters.
    """
    whole = [point for point in points if point.validation is not None and not point.failed]
    if not whole:
        return None
    return max(whole, key=lambda point: point.validation.value if point.validation else 0.0).number


def _trial(out: Path, name: str, seed: int, metric: str) -> TrialResult:
    folder = out / TRIALS / name
    if (folder / FAILED).is_file():
        return TrialResult(name, seed, None, None, str(read_json(folder / FAILED)["reason"]))
    rows = read_json(folder / FINISHED) if is_finished(folder) else []
    validation, test = (
        next((r for r in rows if (r["metric"], r["split"], r["model"]) == (metric, split, "adapted")), None)
        for split in ("validation", "test")
    )
    return TrialResult(name, seed, validation, test, None)


def _at_edges(plan: Plan, best: int) -> list[str]:
    """Warn of a best learning rate beyond which there may be a better one."""
    axis = next((axis for axis in plan.axes if axis.key == _LEARNING_RATE and len(axis.values) > 1), None)
    if axis is None:
        return []
    rate, rates = plan.points[best][axis.name], [float(value) for value in axis.values]
    for edge, name, further in ((min(rates), "lower", "smaller"), (max(rates), "upper", "larger")):
        if float(rate) == edge:
            return [
                f"the best learning rate, {text_of(rate)}, lies at the {name} edge of its grid: try {further} ones too"
            ]
    return []
