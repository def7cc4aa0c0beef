"""Which answers are right: bookkeeping between images, captions and the distinct vectors that they share."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Relevance:
    """Right answers of one direction. Images or captions with the same vector and the same answers are one query.

    Attributes:
        vector: ``(q,)``: each query's own vector.
        member: ``(n,)`` or ``(m,)``: which query an image or caption is.
        query: ``(p,)``: of each pair of a query and a right vector, the query.
        candidate: ``(p,)``: the vector.
        number: ``(p,)``: how many right answers share that vector.
    """

    vector: np.ndarray
    member: np.ndarray
    query: np.ndarray
    candidate: np.ndarray
    number: np.ndarray


@dataclass(frozen=True)
class Relevances:
    """Right answers of both directions."""

    image_to_text: Relevance
    text_to_image: Relevance


def own_relevance(image_vector: np.ndarray, text_vector: np.ndarray, owner: np.ndarray) -> Relevances:
    """Right is an image with its own captions.

    Args:
        image_vector: ``(n,)``: which distinct vector an image has.
        text_vector: ``(m,)``: which distinct vector a caption has.
        owner: ``(m,)``: the image of a caption.
    """
    image, candidate, number = _counted(owner, text_vector)
    everyone = np.arange(len(text_vector))
    return Relevances(
        Relevance(image_vector, np.arange(len(image_vector)), image, candidate, number),
        Relevance(text_vector, everyone, everyone, image_vector[owner], np.ones_like(everyone)),
    )


def any_caption_relevance(
    image_vector: np.ndarray, text_vector: np.ndarray, owner: np.ndarray, ids: np.ndarray
) -> Relevances:
    """Right is an image with every caption whose text is one of its own.

    Args:
        image_vector: ``(n,)``: which distinct vector an image has.
        text_vector: ``(m,)``: which distinct vector a caption has.
        owner: ``(m,)``: the image of a caption.
        ids: ``(m,)``: equal for equal texts, from 0 without gaps.
    """
    images, images_text, _ = _counted(owner, ids)  # each image's distinct texts

    # Image to text: an image's texts, and the vectors of each text. Different texts may share a vector.
    text, vector, number = _counted(ids, text_vector)
    left, right = _join(images_text, text)
    image, candidate, number = _counted(images[left], vector[right], number[right])
    to_text = Relevance(image_vector, np.arange(len(image_vector)), image, candidate, number)

    # Text to image: a caption's vector and text, and the vectors of all images that have the text.
    query_text, query_vector, _ = _counted(ids, text_vector)
    width = int(text_vector.max()) + 1
    member = np.searchsorted(query_text * width + query_vector, ids * width + text_vector)
    text, vector, number = _counted(images_text, image_vector[images])
    left, right = _join(query_text, text)
    return Relevances(to_text, Relevance(query_vector, member, left, vector[right], number[right]))


def unique_pairs(
    relevances: Sequence[Relevances], n_texts: int
) -> tuple[tuple[np.ndarray, np.ndarray], list[tuple[np.ndarray, np.ndarray]]]:
    """List each (text vector, image vector) of any relevance once, sorted by image vector.

    Args:
        relevances: Of one evaluation.
        n_texts: Number of distinct text vectors.

    Returns:
        The text and image vectors of the pairs, ``(p,)`` each; and where the pairs of each relevance stand among
        them, image to text and text to image.
    """
    keys = []
    for relevance in relevances:
        to_text, to_image = relevance.image_to_text, relevance.text_to_image
        keys.append(to_text.vector[to_text.query] * n_texts + to_text.candidate)
        keys.append(to_image.candidate * n_texts + to_image.vector[to_image.query])
    unique, inverse = np.unique(np.concatenate(keys), return_inverse=True)
    places = np.split(inverse, np.cumsum([len(key) for key in keys])[:-1])
    return (unique % n_texts, unique // n_texts), list(zip(places[::2], places[1::2], strict=True))


def shared_by_several(owner: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Tell which captions have a text that stands with at least two images, ``(m,)`` boolean.

    Example:
        >>> shared_by_several(np.array([0, 0, 1, 2]), np.array([5, 5, 6, 6])).tolist()
        [False, False, True, True]
    """
    _, text, _ = _counted(owner, ids)
    return np.bincount(text, minlength=int(ids.max()) + 1)[ids] > 1


def _counted(
    first: np.ndarray, second: np.ndarray, number: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distinct pairs, sorted, and how often (or with which summed number) each appears."""
    width = int(second.max()) + 1
    pairs, inverse = np.unique(first * width + second, return_inverse=True)
    return pairs // width, pairs % width, np.bincount(inverse, number).astype(np.int64)


def _join(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of all pairs of equal values; ``right`` is sorted, the first result too."""
    start, stop = np.searchsorted(right, left, "left"), np.searchsorted(right, left, "right")
    sizes = stop - start
    offsets = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.repeat(np.arange(len(left)), sizes), np.repeat(start, sizes) + offsets
