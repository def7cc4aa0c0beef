"""Ranks of image-text retrieval, by the project's definition: ties against us, an image's own captions never.

- image to text: 1 + captions of other images that score at least as high as the image's best own caption;
- text to image: 1 + other images that score at least as high as the caption's own image.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from eotune.core.errors import InputError
from eotune.metrics.counting import Counts, GivenScores, Products, Queries, Scores, block_size, count, exact_products
from eotune.metrics.embeddings import Embeddings, caption_ids, distinct_rows, unit_rows, without_batch_noise
from eotune.metrics.relevance import Relevance, any_caption_relevance, own_relevance, unique_pairs

Ties = Literal["against", "favour"]


@dataclass(frozen=True)
class RetrievalRanks:
    """The rank of the right answer, from 1.

    Attributes:
        image_to_text: ``(n,)`` int64: of each image's best right caption.
        text_to_image: ``(m,)`` int64: of each caption's right image.
    """

    image_to_text: np.ndarray
    text_to_image: np.ndarray


@dataclass(frozen=True)
class RankReadings:
    """The ranks of one evaluation, read in three ways.

    Attributes:
        against: Equal scores of others rank before ours: the figure to report.
        favour: Equal scores of others rank after ours: the upper end of what an arbitrary order may give.
        any_caption: As ``against``, but every image that has the caption's text is right, and every caption whose
            text is one of the image's; None where the texts are not known.
    """

    against: RetrievalRanks
    favour: RetrievalRanks
    any_caption: RetrievalRanks | None


def retrieval_ranks(
    image_embeddings: Embeddings,
    text_embeddings: Embeddings,
    image_index: Sequence[int] | np.ndarray | Tensor,
    *,
    ties: Ties = "against",
    chunk: int | None = None,
    device: torch.device | str | None = None,
) -> RetrievalRanks:
    """Rank every image's captions and every caption's image by cosine similarity.

    Exact: float32 products, all candidates, counting instead of sorting. Bitwise equal embeddings tie exactly.

    Args:
        image_embeddings: ``(n, d)``, of any length and floating type.
        text_embeddings: ``(m, d)``, likewise.
        image_index: ``(m,)``: the image that a caption belongs to.
        ties: Whether equal scores of others rank before ours (``against``) or after (``favour``).
        chunk: Texts a block; chosen for the device by default.
        device: Where to compute; where the image embeddings are by default.

    Raises:
        InputError: Sizes do not match, an embedding is not finite, or an image has no caption.

    Example:
        >>> images = np.eye(3, dtype=np.float32)
        >>> retrieval_ranks(images, images[[0, 1, 1]], [0, 1, 2]).text_to_image.tolist()
        [1, 1, 3]
    """
    readings = rank_readings(image_embeddings, text_embeddings, image_index, chunk=chunk, device=device)
    return readings.favour if ties == "favour" else readings.against


def rank_readings(
    image_embeddings: Embeddings,
    text_embeddings: Embeddings,
    image_index: Sequence[int] | np.ndarray | Tensor,
    captions: Sequence[Hashable] | None = None,
    *,
    chunk: int | None = None,
    device: torch.device | str | None = None,
) -> RankReadings:
    """Return all readings of the ranks from one pass over the scores.

    Args:
        image_embeddings: ``(n, d)``, of any length and floating type.
        text_embeddings: ``(m, d)``, likewise. Equal captions whose embeddings differ by rounding count as equal.
        image_index: ``(m,)``: the image that a caption belongs to.
        captions: The m texts, or any values that are equal where texts are.
        chunk: Texts a block; chosen for the device by default.
        device: Where to compute; where the image embeddings are by default.

    Raises:
        InputError: As :func:`retrieval_ranks`.

    Example:
        >>> readings = rank_readings(np.eye(2), np.ones((2, 2)), [0, 1], captions=["a field", "a field"])
        >>> [ranks.text_to_image.tolist() for ranks in (readings.against, readings.favour, readings.any_caption)]
        [[2, 2], [1, 1], [1, 1]]
    """
    images = unit_rows(image_embeddings, "image", device)
    texts = unit_rows(text_embeddings, "text", images.device)
    if images.shape[1] != texts.shape[1]:
        raise InputError(f"image embeddings have {images.shape[1]} dimensions but text embeddings {texts.shape[1]}")
    owner = checked_index(image_index, len(images), len(texts))
    ids = _checked_ids(captions, len(texts))
    with exact_products(images.device):
        if ids is not None:
            texts = without_batch_noise(texts, ids)
        (image_rows, image_vector), (text_rows, text_vector) = distinct_rows(images), distinct_rows(texts)
        images, texts = _take(images, image_rows), _take(texts, text_rows)
        chunk = chunk or block_size(len(images), images.device)
        return _rank(Products(images, texts, chunk), image_vector, text_vector, owner, ids, chunk)


def ranks_from_scores(
    scores: Tensor | np.ndarray,
    image_index: Sequence[int] | np.ndarray | Tensor,
    captions: Sequence[Hashable] | None = None,
    *,
    chunk: int | None = None,
) -> RankReadings:
    """Return all readings of the ranks for scores that some other model gave, such as a cross-encoder.

    Args:
        scores: ``(n, m)``, images by texts, higher is better; float32 or float64, on any device.
        image_index: ``(m,)``: the image that a caption belongs to.
        captions: The m texts, or any values that are equal where texts are.
        chunk: Texts a block.

    Raises:
        InputError: Sizes do not match, a score is not a number, or an image has no caption.

    Example:
        >>> ranks_from_scores(np.array([[0.9, 0.1], [0.9, 0.3]]), [0, 1]).against.image_to_text.tolist()
        [1, 2]
    """
    matrix = torch.as_tensor(scores)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise InputError(f"scores must be a matrix (images by texts); got {tuple(matrix.shape)}")
    matrix = matrix if matrix.dtype == torch.float64 else matrix.float()
    if bool(matrix.isnan().any()):
        raise InputError("scores hold values that are not a number", remedy="check the model that gave them")
    owner = checked_index(image_index, *matrix.shape)
    ids = _checked_ids(captions, matrix.shape[1])
    chunk = chunk or block_size(len(matrix), matrix.device)
    with exact_products(matrix.device):
        return _rank(GivenScores(matrix), np.arange(len(matrix)), np.arange(matrix.shape[1]), owner, ids, chunk)


def checked_index(image_index: Sequence[int] | np.ndarray | Tensor, n_images: int, n_texts: int) -> np.ndarray:
    """Return ``image_index`` as int64 ``(n_texts,)``.

    Raises:
        InputError: It has another length, is not of integers, or does not name each image.
    """
    index = image_index.cpu().numpy() if isinstance(image_index, Tensor) else np.asarray(image_index)
    if index.shape != (n_texts,):
        raise InputError(f"{n_texts} text embeddings but {'x'.join(map(str, index.shape))} entries in image_index")
    if index.dtype.kind not in "iu":
        raise InputError(f"image_index must hold integers; got {index.dtype}")
    outside = index[(index < 0) | (index >= n_images)]
    if len(outside):
        raise InputError(f"image_index does not name each of the {n_images} images: {outside[0]} is outside")
    missing = np.flatnonzero(np.bincount(index, minlength=n_images) == 0)
    if len(missing):
        raise InputError(
            f"image_index does not name each of the {n_images} images: {len(missing)} have no caption, "
            f"the first is {missing[0]}",
            remedy="leave out images without captions",
        )
    return index.astype(np.int64)


def _checked_ids(captions: Sequence[Hashable] | None, n_texts: int) -> np.ndarray | None:
    if captions is None:
        return None
    if len(captions) != n_texts:
        raise InputError(f"{n_texts} text embeddings but {len(captions)} captions")
    return caption_ids(captions)


def _take(rows: Tensor, which: np.ndarray) -> Tensor:
    return rows if len(which) == len(rows) else rows[torch.from_numpy(which).to(rows.device)]


def _rank(
    scores: Scores,
    image_vector: np.ndarray,
    text_vector: np.ndarray,
    owner: np.ndarray,
    ids: np.ndarray | None,
    chunk: int,
) -> RankReadings:
    """Rank images and texts that share the vectors which ``scores`` is about."""
    relevances = [own_relevance(image_vector, text_vector, owner)]
    if ids is not None:
        relevances.append(any_caption_relevance(image_vector, text_vector, owner, ids))
    weights = np.bincount(text_vector), np.bincount(image_vector)

    # Every (text vector, image vector) that is right for some query, once; sorted by image.
    pairs, positions = unique_pairs(relevances, scores.n_texts)
    before = scores.pairs(*pairs)
    to_text = _Direction([r.image_to_text for r in relevances], [p[0] for p in positions], before)
    to_image = _Direction([r.text_to_image for r in relevances], [p[1] for p in positions], before)
    image_counts, text_counts, during = count(scores, to_image.queries, to_text.queries, weights, pairs, chunk=chunk)

    i2t = to_text.ranks(text_counts, weights[0], during)
    t2i = to_image.ranks(image_counts, weights[1], during)
    against, favour = (RetrievalRanks(i2t[0][k], t2i[0][k]) for k in range(2))
    return RankReadings(against, favour, RetrievalRanks(i2t[1][0], t2i[1][0]) if ids is not None else None)


class _Direction:
    """One direction's queries under each relevance, those with equal vector and threshold merged."""

    def __init__(self, relevances: list[Relevance], positions: list[np.ndarray], pair_scores: np.ndarray) -> None:
        self._relevances, self._positions, self._pair_scores = relevances, positions, pair_scores
        self._thresholds = [
            _best(pair_scores[position], relevance.query, len(relevance.vector))
            for relevance, position in zip(relevances, positions, strict=True)
        ]
        vector = np.concatenate([relevance.vector for relevance in relevances])
        threshold = np.concatenate(self._thresholds)
        order = np.lexsort((threshold, vector))
        new = np.ones(len(order), bool)
        new[1:] = (np.diff(vector[order]) != 0) | (np.diff(threshold[order]) != 0)
        merged = np.empty(len(order), np.int64)
        merged[order] = np.cumsum(new) - 1
        self.queries = Queries(vector[order][new], threshold[order][new])
        self._merged = np.split(merged, np.cumsum([len(relevance.vector) for relevance in relevances])[:-1])

    def ranks(self, counts: Counts, weights: np.ndarray, during: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the ranks with ties against and in favour, for each relevance.

        The counts hold every candidate. Taken out again are the vectors of right answers, if their score in the
        block (``during``) made them count; put back are the wrong candidates that share such a vector and therefore
        score exactly the same. Blocks of another shape may round differently; done so, equal vectors still tie.
        """
        result = []
        for relevance, position, threshold, merged in zip(
            self._relevances, self._positions, self._thresholds, self._merged, strict=True
        ):
            limit = threshold[relevance.query]
            weight = weights[relevance.candidate]
            counted, reached = during[position], self._pair_scores[position] >= limit
            against = np.where(reached, weight - relevance.number, 0) - np.where(counted >= limit, weight, 0)
            favour = -np.where(counted > limit, weight, 0)
            size = len(threshold)
            ranks = (
                1 + total[merged] + np.bincount(relevance.query, change, size).astype(np.int64)
                for total, change in ((counts.at_least, against), (counts.above, favour))
            )
            result.append(tuple(rank[relevance.member] for rank in ranks))
        return result


def _best(scores: np.ndarray, query: np.ndarray, size: int) -> np.ndarray:
    best = np.full(size, -np.inf, scores.dtype)
    np.maximum.at(best, query, scores)
    return best
