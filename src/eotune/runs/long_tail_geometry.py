"""How the classes of a long-tail run lie in feature space, before and after adapting: distances, and two to draw.

Features themselves are not kept: they are large, and `eotune embed` makes them again.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eotune.core.files import replaced, write_json
from eotune.metrics.class_geometry import centre_mismatch, class_geometry
from eotune.metrics.classification import ClassificationResult
from eotune.tasks.long_tail import LongTailData

GEOMETRY = "geometry.json"
CLASS_PAIR = "class_pair.npz"
_MOST = 150  # of each class and split: beyond, points cover one another
_SPLITS = ("train", "test")


def write_geometry(
    run: Path,
    features: Mapping[tuple[str, str], np.ndarray],
    data: LongTailData,
    result: ClassificationResult,
) -> None:
    """Write geometry.json (distances by group) and class_pair.npz (the features of two classes).

    Args:
        run: The run directory.
        features: ``(n, d)`` for each model and each of ``train`` and ``test``.
        data: The splits.
        result: Of the classifier whose mistakes choose the two classes, on the test split.
    """
    models = dict.fromkeys(model for model, _ in features)
    geometry: dict[str, Any] = {model: _distances(model, features, data) for model in models}
    pair = confused_pair(result, data.groups, data.train.counts())
    if pair is not None:
        tail, head = pair
        geometry["pair"] = {
            "tail": data.test.classes[tail],
            "head": data.test.classes[head],
            "f1": float(result.f1[tail]),
            "confused": int(result.confusion[tail, head] + result.confusion[head, tail]),
        }
        _write_pair(run / CLASS_PAIR, features, data, {"tail": tail, "head": head})
    write_json(run / GEOMETRY, geometry)


def confused_pair(
    result: ClassificationResult, groups: Mapping[str, np.ndarray], counts: np.ndarray
) -> tuple[int, int] | None:
    """Return the tail class with the lowest F1 on the test, and the head class that it is most often confused with.

    Args:
        result: On the test split.
        groups: Classes of ``head`` and ``tail``.
        counts: Training images of each class: the largest head class serves where none was confused with it.

    Returns:
        Two class numbers; None where head or tail has no class with test images.

    Example:
        >>> from eotune.metrics.classification import classification_metrics
        >>> result = classification_metrics(np.array([0, 1, 1, 2, 2]), np.array([0, 1, 2, 1, 2]), 3)
        >>> confused_pair(result, {"head": np.array([0, 1]), "tail": np.array([2])}, np.array([9, 8, 1]))
        (2, 1)
    """
    heads, tails = (
        members[result.support[members] > 0]
        for members in (groups.get(name, np.array([], int)) for name in ("head", "tail"))
    )
    if not len(heads) or not len(tails):
        return None
    tail = int(tails[result.f1[tails].argmin()])
    confused = result.confusion[tail, heads] + result.confusion[heads, tail]
    return tail, int(heads[np.lexsort((-counts[heads], -confused))[0]])


def _distances(model: str, features: Mapping[tuple[str, str], np.ndarray], data: LongTailData) -> dict[str, Any]:
    n_classes = len(data.train.classes)
    found: dict[str, Any] = {}
    for split in _SPLITS:
        geometry = class_geometry(features[model, split], getattr(data, split).labels, n_classes)
        between = geometry.inter_by_group(data.groups)
        found[split] = {
            "inter": {f"{first} and {second}": value for (first, second), value in between.items()},
            "intra": geometry.intra_by_group(data.groups),
        }
    train, test = ((features[model, split], getattr(data, split).labels) for split in _SPLITS)
    mismatch = centre_mismatch(train, test, n_classes)
    means = {name: mismatch[members][np.isfinite(mismatch[members])] for name, members in data.groups.items()}
    found["mismatch"] = {name: float(values.mean()) for name, values in means.items() if len(values)}
    found["mismatch_by_class"] = {
        name: float(value) for name, value in zip(data.train.classes, mismatch, strict=True) if np.isfinite(value)
    }
    return found


def _write_pair(
    path: Path, features: Mapping[tuple[str, str], np.ndarray], data: LongTailData, pair: Mapping[str, int]
) -> None:
    """Write unit vectors, of which a map shows the angles, as float16: ``MODEL_SPLIT_GROUP``."""
    arrays: dict[str, Any] = {}
    for (model, split), values in features.items():
        for group, label in pair.items():
            members = np.flatnonzero(getattr(data, split).labels == label)
            drawn = np.sort(np.random.default_rng(0).permutation(members)[:_MOST])
            chosen = values[drawn].astype(np.float32)
            lengths = np.maximum(np.linalg.norm(chosen, axis=1, keepdims=True), np.finfo(np.float32).tiny)
            arrays[f"{model}_{split}_{group}"] = (chosen / lengths).astype(np.float16)
    with replaced(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)
