"""How many candidates reach a score: exact, in blocks, both directions at once, without sorting.

A block of texts against all images is one matrix product that stays in the processor's cache. Comparing it with a
threshold and multiplying the 0/1 result with the candidates' weights costs a few per cent of the product; sorting
would cost several times the product.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

# Numbers in a block of scores (20 MB fit a CPU's third-level cache), and in one comparison (its second-level cache).
_BLOCK_NUMBERS = {"cpu": 5_000_000, "cuda": 64_000_000}
_COMPARED_NUMBERS = {"cpu": 640_000, "cuda": 64_000_000}


class Scores(Protocol):
    """Scores of ``n_texts`` texts with ``n_images`` images."""

    n_texts: int
    n_images: int
    device: torch.device
    dtype: torch.dtype

    def rows(self, start: int, stop: int) -> Tensor:
        """Return the scores of texts ``start:stop`` with all images; overwritten by the next call."""

    def pairs(self, texts: np.ndarray, images: np.ndarray) -> np.ndarray:
        """Return the scores of single pairs, ``(p,)`` each; pairs are sorted by image."""


class GivenScores:
    """Scores that exist as a matrix.

    Args:
        scores: ``(n, m)``: images by texts.
    """

    def __init__(self, scores: Tensor) -> None:
        self.n_images, self.n_texts = scores.shape
        self.device, self.dtype = scores.device, scores.dtype
        self._scores = scores.T

    def rows(self, start: int, stop: int) -> Tensor:
        """See :class:`Scores`."""
        return self._scores[start:stop]

    def pairs(self, texts: np.ndarray, images: np.ndarray) -> np.ndarray:
        """See :class:`Scores`."""
        return self._scores[_index(texts, self.device), _index(images, self.device)].cpu().numpy()


class Products:
    """Scores that are inner products, computed where they are needed.

    Args:
        images: ``(n, d)`` float32.
        texts: ``(m, d)`` float32, on the same device.
        chunk: Texts a block.
    """

    def __init__(self, images: Tensor, texts: Tensor, chunk: int) -> None:
        self.n_images, self.n_texts = len(images), len(texts)
        self.device, self.dtype = images.device, images.dtype
        self._images, self._texts, self._chunk = images, texts, chunk
        self._buffer = images.new_empty((min(chunk, self.n_texts), self.n_images))

    def rows(self, start: int, stop: int) -> Tensor:
        """See :class:`Scores`."""
        return torch.mm(self._texts[start:stop], self._images.T, out=self._buffer[: stop - start])

    def pairs(self, texts: np.ndarray, images: np.ndarray) -> np.ndarray:
        """See :class:`Scores`.

        Taken from matrix products too, not from dot products: the two round differently.
        """
        if self.n_texts <= self._chunk:
            block = self.rows(0, self.n_texts)
            return block[_index(texts, self.device), _index(images, self.device)].cpu().numpy()
        result = np.empty(len(texts), np.float32)
        for start, stop in spans(len(texts), 320):
            row, row_of = np.unique(texts[start:stop], return_inverse=True)
            column, column_of = np.unique(images[start:stop], return_inverse=True)
            product = self._texts[_index(row, self.device)] @ self._images[_index(column, self.device)].T
            result[start:stop] = product.cpu().numpy()[row_of, column_of]
        return result


@dataclass(frozen=True)
class Queries:
    """Thresholds to count against.

    Attributes:
        vector: ``(q,)``: the text (or image) whose scores are meant, ascending; each appears at least once.
        threshold: ``(q,)``: count the candidates that reach or exceed this score.
    """

    vector: np.ndarray
    threshold: np.ndarray


@dataclass(frozen=True)
class Counts:
    """Of each query, the summed weight of its candidates.

    Attributes:
        at_least: ``(q,)`` int64, of those that score at least the threshold.
        above: ``(q,)`` int64, of those that score more.
    """

    at_least: np.ndarray
    above: np.ndarray


def block_size(n_images: int, device: torch.device) -> int:
    """Return how many texts make a block of good size."""
    return int(np.clip(_BLOCK_NUMBERS.get(device.type, 16_000_000) // n_images, 64, 4096))


def count(
    scores: Scores,
    text_queries: Queries,
    image_queries: Queries,
    weights: tuple[np.ndarray, np.ndarray],
    pairs: tuple[np.ndarray, np.ndarray],
    *,
    chunk: int,
) -> tuple[Counts, Counts, np.ndarray]:
    """Count in one pass over all scores.

    Args:
        scores: Texts by images.
        text_queries: Count images.
        image_queries: Count texts.
        weights: What a text and an image count, ``(m,)`` and ``(n,)``; sums below 2**24 are exact.
        pairs: Texts and images of pairs, ``(p,)`` each, whose scores are wanted as they were compared.
        chunk: Texts a block.

    Returns:
        The counts of the text queries and of the image queries, and the pairs' scores.
    """
    by_text = np.argsort(pairs[0], kind="stable")
    pair_texts, pair_images = pairs[0][by_text], pairs[1][by_text]
    pair_scores = np.empty(len(by_text), _numpy_type(scores.dtype))
    compared = _COMPARED_NUMBERS.get(scores.device.type, 16_000_000)
    hits = torch.empty(max(compared, scores.n_images), device=scores.device)  # one for both: it stays in the cache
    texts = _Counter(text_queries, weights[1], scores, hits)
    images = _Counter(image_queries, weights[0], scores, hits)
    for start, stop in spans(scores.n_texts, chunk):
        block = scores.rows(start, stop)
        first, last = np.searchsorted(pair_texts, [start, stop])
        row, column = (_index(x, scores.device) for x in (pair_texts[first:last] - start, pair_images[first:last]))
        pair_scores[by_text[first:last]] = block[row, column].cpu().numpy()
        for begin, end in spans(len(block), max(1, compared // scores.n_images)):
            part = block[begin:end]
            texts.count_rows(part, start + begin)
            images.count_columns(part, start + begin)
    return texts.result(), images.result(), pair_scores


def spans(length: int, size: int) -> Iterator[tuple[int, int]]:
    """Cut ``range(length)`` into parts of nearly equal size, at most ``size``.

    Equal sizes matter: a small last block would meet another kernel, and other rounding.

    Example:
        >>> list(spans(10, 4))
        [(0, 3), (3, 6), (6, 10)]
    """
    parts = -(-length // size)
    for part in range(parts):
        yield length * part // parts, length * (part + 1) // parts


@contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """Take products in full float32 inside: no TF32, no autocast, no gradients."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


class _Counter:
    """Counts of one direction. The first query of each vector needs no copy of its scores; further ones do."""

    def __init__(self, queries: Queries, weights: np.ndarray, scores: Scores, hits: Tensor) -> None:
        device = scores.device
        self._first, self._further = _first_and_further(queries.vector)
        # s > t is s >= the next number after t, and torch compares by >= three times as fast as by >.
        both = np.stack([queries.threshold, np.nextafter(queries.threshold, np.inf, dtype=queries.threshold.dtype)])
        # NumPy may lay a selection of columns out transposed; with a strided row, torch compares several times slower.
        parts = (np.ascontiguousarray(both[:, part]) for part in (self._first, self._further))
        self._thresholds = tuple(torch.from_numpy(part).to(device) for part in parts)
        self._further_vector = queries.vector[self._further]
        self._weights = torch.from_numpy(weights).to(device, torch.float32)
        self._equal_weights = bool((weights == 1).all())
        self._totals = tuple(torch.zeros_like(part, dtype=torch.float32) for part in self._thresholds)
        self._hits = hits

    def count_rows(self, block: Tensor, start: int) -> None:
        """Count along the rows of ``block``, which are the vectors from ``start`` on."""
        stop = start + len(block)
        self._count(block, 0, slice(start, stop), None)
        first, last = np.searchsorted(self._further_vector, [start, stop]).tolist()
        for begin in range(first, last, len(block)):  # the copies are no larger than the block
            queries = slice(begin, min(begin + len(block), last))
            rows = _index(self._further_vector[queries] - start, block.device)
            self._count(block.index_select(0, rows), 1, queries, None)

    def count_columns(self, block: Tensor, start: int) -> None:
        """Count down the columns of ``block``, which are all vectors; its rows have the weights from ``start`` on."""
        rows = slice(start, start + len(block))
        self._count(block, 0, slice(0, block.shape[1]), rows)
        for begin in range(0, len(self._further_vector), block.shape[1]):
            queries = slice(begin, begin + block.shape[1])
            columns = _index(self._further_vector[queries], block.device)
            self._count(block.index_select(1, columns), 1, queries, rows)

    def result(self) -> Counts:
        """Return the counts in the order of the queries."""
        both = np.empty((2, len(self._first) + len(self._further)), np.int64)
        for where, totals in zip((self._first, self._further), self._totals, strict=True):
            both[:, where] = totals.cpu().numpy()
        return Counts(*both)

    def _count(self, block: Tensor, side: int, queries: slice, weighted_rows: slice | None) -> None:
        """Count along the rows, or down the columns if ``weighted_rows`` says what the rows count."""
        # Zeros and ones as floats are several times faster to write and to sum than booleans.
        hits = self._hits[: block.numel()].view(block.shape)
        for threshold, total in zip(self._thresholds[side], self._totals[side], strict=True):
            if weighted_rows is None:
                torch.ge(block, threshold[queries, None], out=hits)
                total[queries] = hits.sum(dim=1) if self._equal_weights else hits @ self._weights
            else:
                torch.ge(block, threshold[queries], out=hits)
                total[queries] += hits.sum(dim=0) if self._equal_weights else self._weights[weighted_rows] @ hits


def _first_and_further(vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    is_first = np.ones(len(vector), bool)
    is_first[1:] = vector[1:] != vector[:-1]
    return np.flatnonzero(is_first), np.flatnonzero(~is_first)


def _index(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(device)


def _numpy_type(dtype: torch.dtype) -> type[np.floating]:
    return np.float64 if dtype == torch.float64 else np.float32
