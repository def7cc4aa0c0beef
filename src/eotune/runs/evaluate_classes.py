"""A finished run of long-tailed classes, measured on other labelled images."""

from pathlib import Path
from typing import Any

import numpy as np

from eotune.core.errors import InputError
from eotune.core.files import read_json
from eotune.data.captions import listed_error
from eotune.data.labelled import read_labelled
from eotune.metrics.long_tail import long_tail_metrics
from eotune.runs.predict import BEST, classify, open_model


def evaluate_classes(
    run: str | Path,
    data: Path,
    *,
    images: Path | None = None,
    split: str | None = None,
    classifier: str = BEST,
    batch_size: int = 128,
) -> dict[str, Any]:
    """Measure a run on labelled images as it measured its test split.

    Args:
        run: Directory of a finished run of task long_tail.
        data: Class folders, JSONL or CSV, see :func:`~eotune.data.labelled.read_labelled`; classes of the run only.
        images: Folder that image paths start at.
        split: Take only this split.
        classifier: As for :func:`~eotune.runs.predict.predict`.
        batch_size: Images at once.

    Returns:
        ``accuracy``, ``macro_f1``, ``macro_f1_GROUP`` of the run's groups and ``ece`` in per cent, ``NAME_interval``
        with the 95 % interval of each but the last (bootstrap over images), ``classifier``, ``images``, and ``classes``
        with images.

    Raises:
        InputError: The run or the data are wrong, or an image cannot be read: figures are of all images or of none.
    """
    model = open_model(run, classifier)
    classes = model.description.classes
    labelled = read_labelled(data, images=images, split=split, classes=classes)
    found = classify(model, labelled.paths(), batch_size=batch_size)
    if found.problems:
        raise listed_error("images", found.problems, remedy="`eotune check` lists every bad file of a data set")
    groups = _groups(model.path / "data.json", classes)
    result = long_tail_metrics(labelled.labels, found.probabilities, len(classes), groups)
    values: dict[str, Any] = {name: 100 * value for name, value in result.values.items()}
    intervals = {f"{name}_interval": [100 * end for end in ends] for name, ends in result.intervals.items()}
    counts = {"images": len(labelled), "classes": int(np.count_nonzero(labelled.counts()))}
    return values | intervals | {"classifier": found.classifier} | counts


def _groups(path: Path, classes: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return the class numbers of each group, as data.json names them."""
    try:
        named = read_json(path)["groups"]
        return {name: np.array([classes.index(one) for one in members], np.int64) for name, members in named.items()}
    except (KeyError, TypeError, AttributeError, ValueError):
        raise InputError(
            f"{path}: does not say which classes are head and tail", remedy="run the recipe again"
        ) from None
