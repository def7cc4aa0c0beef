"""Image-text retrieval: recalls with intervals, and what must stand beside them for the number to be trusted."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from eotune.core.errors import InputError
from eotune.metrics.embeddings import Embeddings, caption_ids, unit_rows
from eotune.metrics.geometry import alignment, modality_gap, uniformity
from eotune.metrics.intervals import bootstrap_ratios, percentile_interval
from eotune.metrics.ranking import (
    RankReadings,
    RetrievalRanks,
    checked_index,
    rank_readings,
    ranks_from_scores,
    retrieval_ranks,
)
from eotune.metrics.relevance import shared_by_several

__all__ = [
    "CUTOFFS",
    "RankReadings",
    "RetrievalRanks",
    "RetrievalResult",
    "rank_readings",
    "ranks_from_scores",
    "recall_intervals",
    "recall_samples",
    "recalls",
    "retrieval_metrics",
    "retrieval_ranks",
]

CUTOFFS = (1, 5, 10)


@dataclass(frozen=True)
class RetrievalResult:
    """What an evaluation of retrieval says; recalls in per cent.

    Attributes:
        values: ``i2t_R@1``, ``i2t_R@5``, ``i2t_R@10``, ``t2i_R@1``, ``t2i_R@5``, ``t2i_R@10`` and ``mR``, their mean.
        intervals: 95 % bootstrap intervals of these, by image, its captions together; empty without bootstrap.
        optimistic: The same values with ties in our favour.
        any_caption: The same values where any image with the same caption counts; empty without captions.
        shared_queries: Captions whose text several images share; 0 without captions.
        geometry: ``alignment``, ``uniformity_image``, ``uniformity_text``, ``modality_gap``.
        n_images: Number of images.
        n_texts: Number of captions.
        ranks: Behind ``values``.
    """

    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    optimistic: dict[str, float]
    any_caption: dict[str, float]
    shared_queries: int
    geometry: dict[str, float]
    n_images: int
    n_texts: int
    ranks: RetrievalRanks = field(repr=False)


def retrieval_metrics(
    image_embeddings: Embeddings,
    text_embeddings: Embeddings,
    image_index: Sequence[int] | np.ndarray | Tensor,
    captions: Sequence[Hashable] | None = None,
    *,
    ks: Sequence[int] = CUTOFFS,
    bootstrap: int = 1000,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> RetrievalResult:
    """Measure image-text retrieval in both directions.

    Args:
        image_embeddings: ``(n, d)``, of any length and floating type, on any device.
        text_embeddings: ``(m, d)``, likewise.
        image_index: ``(m,)``: the image that a caption belongs to.
        captions: The m texts (or any values that are equal where texts are), to tell which are shared by images.
        ks: Cut-offs of the recalls.
        bootstrap: Number of resamples; 0 for no intervals.
        seed: Of the resampling. Evaluations of the same images with the same seed draw the same resamples.
        device: Where to compute; where the image embeddings are by default.

    Raises:
        InputError: Sizes do not match, an embedding is not finite, an image has no caption, or a cut-off is not
            positive.

    Example:
        >>> result = retrieval_metrics(np.eye(4), np.eye(4), np.arange(4), bootstrap=10)
        >>> result.values["mR"], result.intervals["mR"]
        (100.0, (100.0, 100.0))
    """
    images = unit_rows(image_embeddings, "image", device)
    texts = unit_rows(text_embeddings, "text", images.device)
    readings = rank_readings(images, texts, image_index, captions)
    owner = checked_index(image_index, len(images), len(texts))
    shared = 0 if captions is None else int(shared_by_several(owner, caption_ids(captions)).sum())
    return RetrievalResult(
        values=recalls(readings.against, ks),
        intervals=recall_intervals(readings.against, owner, ks, resamples=bootstrap, seed=seed) if bootstrap else {},
        optimistic=recalls(readings.favour, ks),
        any_caption=recalls(readings.any_caption, ks) if readings.any_caption else {},
        shared_queries=shared,
        geometry={
            "alignment": alignment(images, texts, torch.from_numpy(owner).to(images.device)),
            "uniformity_image": uniformity(images),
            "uniformity_text": uniformity(texts),
            "modality_gap": modality_gap(images, texts),
        },
        n_images=len(images),
        n_texts=len(texts),
        ranks=readings.against,
    )


def recalls(ranks: RetrievalRanks, ks: Sequence[int] = CUTOFFS) -> dict[str, float]:
    """Return R@k of both directions and ``mR``, their mean, in per cent.

    Args:
        ranks: From 1.
        ks: Cut-offs.

    Raises:
        InputError: A cut-off is not positive, or there is none.

    Example:
        >>> recalls(RetrievalRanks(np.array([1, 7]), np.array([1, 20])))["mR"]
        58.333333333333336
    """
    _check_cutoffs(ks)
    values = {f"i2t_R@{k}": 100 * float((ranks.image_to_text <= k).mean()) for k in ks}
    values |= {f"t2i_R@{k}": 100 * float((ranks.text_to_image <= k).mean()) for k in ks}
    return values | {"mR": float(np.mean(list(values.values())))}


def recall_intervals(
    ranks: RetrievalRanks,
    image_index: np.ndarray,
    ks: Sequence[int] = CUTOFFS,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Return the 95 % bootstrap interval of each recall and of mR, in per cent.

    Images are drawn with replacement and bring all their captions: captions of one image succeed or fail together,
    and drawing them one by one would give intervals that are too narrow. The candidates stay as they are.

    Args:
        ranks: From 1.
        image_index: ``(m,)``: the image that a caption belongs to.
        ks: Cut-offs.
        resamples: Number of draws.
        seed: Of the draws.

    Example:
        >>> ranks = RetrievalRanks(np.array([1, 2, 1, 9]), np.array([1, 2, 1, 9]))
        >>> recall_intervals(ranks, np.arange(4), ks=(1,))["mR"]
        (0.0, 100.0)
    """
    samples = recall_samples(ranks, image_index, ks, resamples=resamples, seed=seed)
    return {name: percentile_interval(values) for name, values in samples.items()}


def recall_samples(
    ranks: RetrievalRanks,
    image_index: np.ndarray,
    ks: Sequence[int] = CUTOFFS,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Return each recall and mR in every resample, ``(resamples,)`` each, in per cent.

    Two models that ranked the same images share their resamples where the seeds are equal: the difference of their
    samples is the paired bootstrap of their difference, which is narrower than the two intervals suggest.

    Args:
        ranks: From 1.
        image_index: ``(m,)``: the image that a caption belongs to.
        ks: Cut-offs.
        resamples: Number of draws.
        seed: Of the draws.

    Example:
        >>> before, after = (RetrievalRanks(np.array(r), np.array(r)) for r in ([1, 2, 1, 9], [1, 1, 1, 9]))
        >>> one, other = (recall_samples(ranks, np.arange(4), ks=(1,))["mR"] for ranks in (before, after))
        >>> bool((other >= one).all())
        True
    """
    _check_cutoffs(ks)
    n, cutoffs = len(ranks.image_to_text), np.array(ks)
    hits = ranks.text_to_image[:, None] <= cutoffs
    by_image = np.stack([np.bincount(image_index, column, n) for column in hits.T], axis=1)
    sums = np.concatenate([ranks.image_to_text[:, None] <= cutoffs, by_image], axis=1)
    captions = np.bincount(image_index, minlength=n)
    sizes = np.repeat(np.stack([np.ones(n), captions], axis=1), len(ks), axis=1)
    samples = 100 * bootstrap_ratios(sums, sizes, resamples=resamples, seed=seed)
    names = [f"{direction}_R@{k}" for direction in ("i2t", "t2i") for k in ks]
    return {name: samples[:, i] for i, name in enumerate(names)} | {"mR": samples.mean(axis=1)}


def _check_cutoffs(ks: Sequence[int]) -> None:
    if not ks or min(ks) < 1:
        raise InputError(f"the cut-offs of recall must be positive; got {list(ks)}")
