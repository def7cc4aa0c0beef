"""A metric of a finished run in each of the bootstrap's resamples; runs over one test split share these."""

import zipfile

import numpy as np

from eotune.core.errors import InputError
from eotune.core.files import read_json
from eotune.metrics.long_tail import resampled_figures
from eotune.metrics.retrieval import recall_samples
from eotune.runs.finished import FinishedRun
from eotune.runs.instruct_rows import resampled_accuracy
from eotune.runs.long_tail_rows import CLASSIFIERS, PREDICTIONS
from eotune.runs.measure import BOOTSTRAP_SEED


def resampled(run: FinishedRun, metric: str) -> np.ndarray | None:
    """Return the adapted model's metric on the test split in each resample; None where the run does not keep it.

    Raises:
        InputError: A file of the run is broken.
    """
    if run.recipe.task.name == "instruct":
        return resampled_accuracy(run.path, metric)
    if run.recipe.task.name == "long_tail":
        return _of_predictions(run, metric)
    kept = run.ranks()
    return None if kept is None else recall_samples(*kept, seed=BOOTSTRAP_SEED).get(metric)


def _of_predictions(run: FinishedRun, metric: str) -> np.ndarray | None:
    classifier, _, name = metric.partition("_")
    path = run.path / PREDICTIONS
    if classifier not in CLASSIFIERS or not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            labels, classes = arrays["labels"], arrays["classes"].tolist()
            predicted = arrays.get(f"adapted_{classifier}_predicted")
        groups = {
            group: np.array([classes.index(one) for one in members], np.int64)
            for group, members in read_json(run.path / "data.json")["groups"].items()
            if members
        }
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read ({error})", remedy="remove it, or run the recipe again") from None
    if predicted is None:
        return None
    samples = resampled_figures(labels, predicted, len(classes), groups, seed=BOOTSTRAP_SEED).get(name)
    return None if samples is None else 100 * samples
