"""A map of the test split's embeddings: both modalities in one plane, before and after adapting."""

import csv
import functools
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from eotune.core.files import write_text
from eotune.runs.measure import MODELS
from eotune.runs.tables import csv_text

MODALITIES = ("image", "text")
Planes = Mapping[tuple[str, ...], np.ndarray]  # (n, 2) by model and modality, or what else points are told apart by
_MOST = 300  # images, each with its first caption: beyond, points cover one another
_FEWEST = 5


def embedding_map(path: Path) -> Planes:
    """Lay out the vectors of embeddings.npz by t-SNE (cosine distances, from the principal components).

    Args:
        path: embeddings.npz of a run.

    Returns:
        ``(n, 2)`` for each (model, modality), n the same; row i of both modalities is the i-th image drawn and its
        first caption. Each model has a plane of its own. Nothing where there are fewer than five images.
    """
    with np.load(path, allow_pickle=False) as arrays:
        first = np.unique(arrays["image_index"], return_index=True)[1]
        drawn = np.sort(np.random.default_rng(0).permutation(len(first))[:_MOST])
        if len(drawn) < _FEWEST:
            return {}
        found: dict[tuple[str, ...], np.ndarray] = {}
        for model in MODELS:
            name = model.replace("-", "_")
            both = np.concatenate([arrays[f"{name}_image"][drawn], arrays[f"{name}_text"][first[drawn]]])
            plane = lay_out(both.astype(np.float32))
            found |= dict(zip(((model, modality) for modality in MODALITIES), np.split(plane, 2), strict=True))
    return found


def write_map(path: Path, planes: Planes, names: Sequence[str] = ("model", "modality")) -> None:
    """Write a map as CSV, a line a point; :func:`read_map` reads it back. ``names`` are of the parts of its keys."""
    rows = [
        (*key, number, round(float(x), 3), round(float(y), 3))
        for key, points in planes.items()
        for number, (x, y) in enumerate(points)
    ]
    write_text(path, csv_text((*names, "number", "x", "y"), rows))


def read_map(path: Path) -> Planes:
    """Read what :func:`write_map` wrote; nothing where it wrote none."""
    if not path.is_file():
        return {}
    points: dict[tuple[str, ...], list[tuple[float, float]]] = {}
    with path.open(encoding="utf-8", newline="") as stream:
        for *key, _, x, y in itertools.islice(csv.reader(stream), 1, None):
            points.setdefault(tuple(key), []).append((float(x), float(y)))
    return {key: np.array(found) for key, found in points.items()}


def lay_out(vectors: np.ndarray) -> np.ndarray:
    """Return a plane ``(n, 2)`` of vectors ``(n, d)``, by t-SNE of their cosine distances; n is at least 5."""
    return _plane(vectors.tobytes(), vectors.dtype.str, vectors.shape[1])


@functools.lru_cache(maxsize=4)  # the runs of a process share what the model was before they adapted it
def _plane(content: bytes, kind: str, width: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    vectors = np.frombuffer(content, kind).reshape(-1, width)
    if not np.ptp(vectors, axis=0).any():  # a collapsed model: one point, without the components to start from
        plane = np.zeros((len(vectors), 2), np.float32)
    else:
        perplexity = min(30.0, (len(vectors) - 1) / 3)
        # Half of the usual iterations: of some hundred points they leave the divergence within 2 % of where all would.
        tsne = TSNE(metric="cosine", init="pca", perplexity=perplexity, max_iter=500, random_state=0, n_jobs=1)
        plane = tsne.fit_transform(vectors)
    plane.setflags(write=False)
    return plane
