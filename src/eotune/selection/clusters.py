"""Clusters of embeddings: k-means fitted on a sample, labels in a second pass, K by silhouette."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eotune.core.errors import InputError
from eotune.core.seeds import derive_seed, generator
from eotune.selection.vectors import BLOCK, Floats, Integers, Vectors, blocks, read_rows, release

SAMPLE = 100_000  # rows that k-means is fitted on
_RELEASED = 32  # blocks whose pages stay in memory
SCORED = 5_000  # rows of the silhouette, whose time grows with their square


@dataclass(frozen=True)
class Separation:
    """How well one number of clusters separates a sample.

    Attributes:
        k: Number of clusters.
        silhouette: Mean over samples, -1 to 1, higher is better; NaN where all samples fell into one cluster.
        davies_bouldin: 0 is best; NaN likewise.
    """

    k: int
    silhouette: float
    davies_bouldin: float


def sample_rows(n: int, size: int, seed: int) -> Integers:
    """Return ``min(n, size)`` different row numbers below ``n``, sorted.

    Example:
        >>> sample_rows(3, 10, seed=0).tolist()
        [0, 1, 2]
    """
    if size >= n:
        return np.arange(n)
    return np.sort(generator("sample_rows", seed).choice(n, size, replace=False, shuffle=False))


def fit_centres(sample: Floats, k: int, *, seed: int, batch_size: int = 4096) -> Floats:
    """Return ``(k, d)`` centres of MiniBatchKMeans (Sculley, WWW 2010; the clustering of arXiv 2409.13345).

    Args:
        sample: ``(m, d)`` embeddings, all of them or `SAMPLE` rows of `sample_rows`.
        k: Number of clusters.
        seed: What the start and the batches are drawn from.
        batch_size: Of k-means.

    Raises:
        InputError: There are fewer samples than clusters, or one holds NaN.

    Example:
        >>> sorted(fit_centres(np.array([[0.0], [0.0], [5.0]], np.float32), 2, seed=0).ravel().tolist())
        [0.0, 5.0]
    """
    from sklearn.cluster import MiniBatchKMeans  # a second of every command's start

    sample = read_rows(sample, slice(None))
    if not 1 <= k <= len(sample):
        raise InputError(f"{k} clusters need at least as many samples; got {len(sample)}", remedy="ask for fewer")
    model = MiniBatchKMeans(
        k,
        batch_size=min(batch_size, len(sample)),
        n_init=3,
        max_no_improvement=20,
        random_state=derive_seed("fit_centres", seed) % 2**32,
    )
    return model.fit(sample).cluster_centers_.astype(np.float32)


def nearest_centres(block: Floats, centres: Floats) -> tuple[NDArray[np.int32], Floats]:
    """Return every row's nearest centre, the first of equal ones, and the squared distance to it.

    Args:
        block: ``(m, d)``.
        centres: ``(k, d)``.

    Example:
        >>> nearest_centres(np.array([[1.0], [4.0]], np.float32), np.array([[0.0], [5.0]], np.float32))[0].tolist()
        [0, 1]
    """
    squares = np.einsum("ij,ij->i", centres, centres)
    scores = block @ (-2 * centres.T) + squares
    labels = scores.argmin(axis=1)
    distances = scores[np.arange(len(block)), labels] + np.einsum("ij,ij->i", block, block)
    return labels.astype(np.int32), np.maximum(distances, 0)


def assign_blocks(parts: Iterable[Floats], centres: Floats) -> Iterator[tuple[NDArray[np.int32], Floats]]:
    """Yield `nearest_centres` of every block: for embeddings that arrive shard by shard."""
    for part in parts:
        for rows in blocks(len(part)):
            yield nearest_centres(read_rows(part, rows), centres)


def assign(vectors: Vectors, centres: Floats) -> tuple[NDArray[np.int32], Floats]:
    """Return `nearest_centres` of all rows, of which only `BLOCK` are in memory at a time.

    Raises:
        InputError: A row holds NaN or infinity; the message names it.
    """
    labels = np.empty(vectors.shape[0], np.int32)
    distances = np.empty(vectors.shape[0], np.float32)
    for number, rows in enumerate(blocks(vectors.shape[0], BLOCK)):
        labels[rows], distances[rows] = nearest_centres(read_rows(vectors, rows), centres)
        if number % _RELEASED == 0:
            release(vectors)
    return labels, distances


def possible_clusters(asked: int | Sequence[int], n: int) -> list[int]:
    """Return the numbers of clusters to try for ``n`` samples, ascending; of a list, those that are not too many.

    Where all of a list are too many, it is the lowest, or as many as there are samples.

    Raises:
        InputError: One number is above the samples, or those that k-means is fitted on; one of several is not below
            those that are scored.

    Example:
        >>> possible_clusters([8, 16, 32], 20), possible_clusters([8, 16, 32], 5)
        ([8, 16], [5])
    """
    listed = [asked] if isinstance(asked, int) else sorted(set(asked))
    if len(listed) == 1:
        if listed[0] > min(n, SAMPLE):
            fitted = f", of which k-means is fitted on {SAMPLE:,}" if n > SAMPLE else ""
            raise InputError(f"{listed[0]:,} clusters for {n:,} samples{fitted}", remedy="ask for fewer")
        return listed
    possible = [k for k in listed if k < n]
    if possible and possible[-1] >= SCORED:
        raise InputError(
            f"{possible[-1]:,} clusters among several to choose from: silhouette is taken on {SCORED:,} samples, and "
            "wants fewer clusters",
            remedy="leave it out, or ask for this number alone",
        )
    return possible or [min(listed[0], n)]


def choose_k(sample: Floats, candidates: Sequence[int], *, seed: int) -> tuple[list[Separation], int]:
    """Try numbers of clusters; return the table and the one with the highest silhouette, the lower of equal ones.

    Where all samples are the same, no silhouette is known, and it is 1.

    Silhouette (Rousseeuw 1987) and Davies-Bouldin (1979) are taken on at most `SCORED` rows of the sample.

    Args:
        sample: ``(m, d)`` embeddings.
        candidates: Numbers of clusters, each at least 2.
        seed: Of k-means and of the rows that are scored.

    Raises:
        InputError: A candidate is below 2 or not below the number of rows scored.

    Example:
        >>> points = np.repeat(np.eye(3, dtype=np.float32), 5, axis=0)
        >>> choose_k(points, [2, 3, 4], seed=0)[1]
        3
    """
    scored = sample[sample_rows(len(sample), SCORED, seed)]
    if not candidates or min(candidates) < 2 or max(candidates) >= len(scored):
        raise InputError(
            f"numbers of clusters to try must lie between 2 and {len(scored) - 1}, below the number of samples that "
            f"silhouette is taken on; got {list(candidates)}"
        )
    table = [_separation(sample, scored, k, seed) for k in sorted(set(candidates))]
    finite = [entry for entry in table if np.isfinite(entry.silhouette)]
    return table, max(finite, key=lambda entry: (entry.silhouette, -entry.k)).k if finite else 1


def _separation(sample: Floats, scored: Floats, k: int, seed: int) -> Separation:
    from sklearn.metrics import davies_bouldin_score, silhouette_score  # as above

    labels = nearest_centres(scored, fit_centres(sample, k, seed=seed))[0]
    if not 2 <= len(np.unique(labels)) < len(scored):
        return Separation(k, float("nan"), float("nan"))
    return Separation(k, float(silhouette_score(scored, labels)), float(davies_bouldin_score(scored, labels)))
