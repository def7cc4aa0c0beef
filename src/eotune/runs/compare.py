"""Finished runs set against each other: means over seeds, paired differences, and what each takes."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eotune.core.errors import InputError
from eotune.core.lookup import unknown_name
from eotune.metrics.intervals import Estimate, paired_difference, percentile_interval
from eotune.runs.averages import Average, average
from eotune.runs.finished import FinishedRun, read_run
from eotune.runs.grid import text_of
from eotune.runs.resampled import resampled
from eotune.runs.retrieval_space import GEOMETRY


@dataclass(frozen=True)
class Difference:
    """How far a group lies from the first one; positive where it is higher.

    Attributes:
        value: Mean over the seeds that both have; over all where they share none.
        seeds: Those shared seeds.
        over_images: 95 % interval by the paired bootstrap over test images; None where a run keeps no ranks of the
            metric.
        over_seeds: 95 % t-interval of the differences by seed; None with fewer than two shared seeds.
    """

    value: float
    seeds: tuple[int, ...]
    over_images: tuple[float, float] | None
    over_seeds: tuple[float, float] | None


@dataclass(frozen=True)
class Group:
    """Runs of one recipe.

    Attributes:
        label: What sets the recipe apart from the others.
        runs: Their directories, in the order of their seeds.
        seeds: Ascending.
        score: The metric over them.
        difference: From the first group; None for that itself.
        retention: mR on the retention set; None where a run did not measure it.
        trainable: Parameters trained.
        share: Of the pretrained model's.
        training_seconds: Mean of a run.
        step_seconds: Median of the runs' medians; None where nothing trained.
        peak_memory_mb: Highest of any run.
        geometry: Shape of the embedding space on the test split, mean of the runs; empty where it was not measured.
    """

    label: str
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    score: Average
    difference: Difference | None
    retention: Average | None
    trainable: int
    share: float
    training_seconds: float
    step_seconds: float | None
    peak_memory_mb: float
    geometry: Mapping[str, float]


@dataclass(frozen=True)
class Comparison:
    """Groups over one test split.

    Attributes:
        metric: What is compared.
        dataset: Name of the test split's file.
        images: Number of test images.
        groups: The first is what the others are set against.
        cautions: What to keep in mind.
    """

    metric: str
    dataset: str
    images: int
    groups: tuple[Group, ...]
    cautions: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)


def compare(paths: Sequence[Path], *, metric: str | None = None) -> Comparison:
    """Compare finished runs by a metric of the test split; runs that differ in the seed alone form a group.

    Args:
        paths: Run directories; the first one's group is what the others are set against.
        metric: Its name in metrics.json; by default what runs of the task are judged by.

    Raises:
        InputError: One is no finished run, was measured on other data or for another task, does not have the metric,
            or repeats another's recipe and seed.
    """
    runs = [read_run(Path(path)) for path in paths]
    if not runs:
        raise InputError("nothing to compare", remedy="name run directories")
    _refuse_strangers(runs)
    metric = metric or runs[0].recipe.task.primary
    for run in runs:
        if run.row(metric) is None:
            known = [row["metric"] for row in run.rows if (row["split"], row["model"]) == ("test", "adapted")]
            raise unknown_name(f"metric of {run.path}", metric, set(known))
    gathered = _gathered(runs)
    labels = labels_of([group[0].settings() for group in gathered])
    groups = tuple(_group(label, group, gathered[0], metric) for label, group in zip(labels, gathered, strict=True))
    first = runs[0].row(metric) or {}
    return Comparison(metric, first.get("dataset", ""), first.get("n", 0), groups, tuple(_cautions(runs, groups)))


def labels_of(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return for each recipe what sets it apart: its method, and other settings that are not the same in all.

    A method's own settings are told only where several recipes share the method.

    Example:
        >>> labels_of([{"method.name": "harma", "method.bottleneck": 64}, {"method.name": "lora", "method.rank": 8}])
        ['harma', 'lora']
        >>> labels_of([{"method.name": "lora", "training.epochs": epochs} for epochs in (5, 10)])
        ['lora, epochs=5', 'lora, epochs=10']
    """
    by_method: dict[Any, set[str]] = {}
    for one in settings:
        method = one["method.name"]
        alike = [other for other in settings if other["method.name"] == method]
        by_method[method] = {key for key in _differing(alike) if key.startswith("method.")}
    common = {key for key in _differing(settings) if not key.startswith("method.")}
    labels = []
    for one in settings:
        keys = [key for key in one if key in common | by_method[one["method.name"]]]
        last = [key.rpartition(".")[2] for key in keys]
        names = [short if last.count(short) == 1 else key for key, short in zip(keys, last, strict=True)]
        words = [f"{name}={text_of(one[key])}" for key, name in zip(keys, names, strict=True)]
        labels.append(", ".join([str(one["method.name"]), *words]))
    return labels


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for one in settings for key in one)
    return [key for key in keys if len({_text(one.get(key)) for one in settings}) > 1]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _refuse_strangers(runs: Sequence[FinishedRun]) -> None:
    """Refuse runs whose figures are not of the same images and captions, or not of the same task."""
    first = runs[0]
    for run in runs[1:]:
        tasks = first.recipe.task.name, run.recipe.task.name
        if tasks[0] != tasks[1]:
            raise InputError(f"{run.path}: its task is {tasks[1]}, that of {first.path} is {tasks[0]}",
                             remedy="compare runs of one task")  # fmt: skip
        if run.digest != first.digest:
            raise InputError(
                f"{run.path}: was tested on other images or captions than {first.path} (see splits in data.json)",
                remedy="compare runs of one test split",
            )


def _gathered(runs: Sequence[FinishedRun]) -> list[list[FinishedRun]]:
    """Return the runs by recipe, in the order given, each recipe's by seed."""
    groups: dict[str, dict[int, FinishedRun]] = {}
    for run in runs:
        group = groups.setdefault(_text(run.settings()), {})
        seed = run.recipe.seed
        if seed in group:
            raise InputError(
                f"{run.path}: has the recipe and the seed {seed} of {group[seed].path}", remedy="name each run once"
            )
        group[seed] = run
    return [[group[seed] for seed in sorted(group)] for group in groups.values()]


def _group(label: str, runs: Sequence[FinishedRun], first: Sequence[FinishedRun], metric: str) -> Group:
    rows = [row for run in runs if (row := run.row(metric)) is not None]
    kept = [row for run in runs if (row := run.row("mR", split="retention")) is not None]
    summaries = [run.summary for run in runs]
    steps = [one["step_seconds"] for one in summaries if one.get("step_seconds")]
    trainable, pretrained = (int(summaries[0].get(f"{name}_parameters") or 0) for name in ("trainable", "pretrained"))
    return Group(
        label=label,
        runs=tuple(str(run.path) for run in runs),
        seeds=tuple(run.recipe.seed for run in runs),
        score=average(rows),
        difference=None if runs is first else _difference(runs, first, metric),
        retention=average(kept) if len(kept) == len(runs) else None,
        trainable=trainable,
        share=trainable / pretrained if pretrained else 0.0,
        training_seconds=statistics.mean(float(one.get("training_seconds") or 0) for one in summaries),
        step_seconds=statistics.median(steps) if steps else None,
        peak_memory_mb=max(float(one.get("peak_memory_mb") or 0) for one in summaries),
        geometry=_geometry(runs),
    )


def _geometry(runs: Sequence[FinishedRun]) -> dict[str, float]:
    rows = {name: [row for run in runs if (row := run.row(name)) is not None] for name in GEOMETRY}
    return {
        name: statistics.mean(float(row["value"]) for row in found)
        for name, found in rows.items()
        if len(found) == len(runs)
    }


def _difference(runs: Sequence[FinishedRun], first: Sequence[FinishedRun], metric: str) -> Difference:
    ours, theirs = ({run.recipe.seed: run for run in group} for group in (runs, first))
    seeds = tuple(sorted(ours.keys() & theirs.keys()))
    after = [ours[seed] for seed in seeds] or list(runs)
    before = [theirs[seed] for seed in seeds] or list(first)
    values = [[float((run.row(metric) or {})["value"]) for run in side] for side in (after, before)]
    by_seed: Estimate | None = paired_difference(*values) if len(seeds) > 1 else None
    return Difference(
        value=float(np.mean(values[0]) - np.mean(values[1])),
        seeds=seeds,
        over_images=_over_images(after, before, metric),
        over_seeds=None if by_seed is None else (by_seed.low, by_seed.high),
    )


def _over_images(
    after: Sequence[FinishedRun], before: Sequence[FinishedRun], metric: str
) -> tuple[float, float] | None:
    """Return the interval of the mean difference where test images are drawn again, the same ones for every run."""
    means = []
    for side in (after, before):
        samples = [resampled(run, metric) for run in side]
        if any(one is None for one in samples):
            return None
        means.append(np.mean([one for one in samples if one is not None], axis=0))
    return percentile_interval(means[0] - means[1])


def _cautions(runs: Sequence[FinishedRun], groups: Sequence[Group]) -> Iterable[str]:
    if any(len(group.seeds) == 1 for group in groups):
        yield "A group of one run has the interval over test images; it says nothing of how much seeds differ."
    if any(group.difference is not None and not group.difference.seeds for group in groups):
        yield "Some groups share no seed with the first: their differences are not paired by seed."
    if len({run.machine for run in runs}) > 1:
        yield "The runs were made on different machines: their times and memory do not compare."
    if not all(run.summary.get("own_process", True) for run in runs):
        yield "Runs of a sweep share a process: on a CPU, what they share counts in their peak memory."
