"""A map of one head and one tail class in feature space, training and test images, before and after adapting."""

from pathlib import Path

import numpy as np

from eotune.runs.embedding_map import Planes, lay_out
from eotune.runs.long_tail_rows import MODELS

KEYS = ("model", "split", "group")
PARTS = tuple((split, group) for group in ("head", "tail") for split in ("train", "test"))
_FEWEST = 5


def class_map(path: Path) -> Planes:
    """Lay out the vectors of class_pair.npz by t-SNE, each model in a plane of its own.

    Args:
        path: class_pair.npz of a run.

    Returns:
        ``(n, 2)`` for each (model, split, group). Nothing where the run kept no pair, or fewer than five images of it.
    """
    if not path.is_file():
        return {}
    found: dict[tuple[str, ...], np.ndarray] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for model in MODELS:
            vectors = [arrays[f"{model}_{split}_{group}"].astype(np.float32) for split, group in PARTS]
            together = np.concatenate(vectors)
            if len(together) < _FEWEST:
                return {}
            ends = np.cumsum([len(one) for one in vectors])[:-1]
            for part, points in zip(PARTS, np.split(lay_out(together), ends), strict=True):
                found[model, *part] = points
    return found
