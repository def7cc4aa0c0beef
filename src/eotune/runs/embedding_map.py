"""A map of the test split's embeddings: both modalities in one plane, before and after adapting."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from eotune.runs.measure import MODELS

MODALITIES = ("image", "text")
_MOST = 300  # images, each with its first caption: beyond, points cover one another
_FEWEST = 5


def embedding_map(path: Path) -> dict[tuple[str, str], np.ndarray]:
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
        found: dict[tuple[str, str], np.ndarray] = {}
        for model in MODELS:
            name = model.replace("-", "_")
            both = np.concatenate([arrays[f"{name}_image"][drawn], arrays[f"{name}_text"][first[drawn]]])
            plane = _plane(both.astype(np.float32))
            found |= dict(zip(((model, modality) for modality in MODALITIES), np.split(plane, 2), strict=True))
    return found


def rows(planes: Mapping[tuple[str, str], np.ndarray]) -> list[tuple[str, str, int, float, float]]:
    """Return the map as lines of a CSV: model, modality, number of the image drawn, x, y."""
    return [
        (model, modality, number, round(float(x), 3), round(float(y), 3))
        for (model, modality), points in planes.items()
        for number, (x, y) in enumerate(points)
    ]


def _plane(vectors: np.ndarray) -> np.ndarray:
    from sklearn.manifold import TSNE

    if not np.ptp(vectors, axis=0).any():  # a collapsed model: one point, without the components to start from
        return np.zeros((len(vectors), 2), np.float32)
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    return TSNE(metric="cosine", init="pca", perplexity=perplexity, random_state=0, n_jobs=1).fit_transform(vectors)
