"""How much of a text an encoder reads that cuts texts off after so many tokens."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def characters_read(tokenizer: Any, texts: Sequence[str], limit: int) -> NDArray[np.int64]:
    """Return how many characters of each text its first tokens cover, ``(n,)``; its length where it has no more.

    Args:
        tokenizer: Of transformers.
        texts: n of them.
        limit: How many tokens are read, special ones not counted.

    Example:
        >>> from eotune.encoders import load
        >>> characters_read(load("tiny").tokenizer, ["a port", "a port with many white boats"], 3).tolist()
        [6, 11]
    """
    if not texts:
        return np.zeros(0, np.int64)
    plain = {"add_special_tokens": False, "verbose": False}  # else it warns of long texts, which are what is looked for
    if tokenizer.is_fast:
        offsets = tokenizer(list(texts), return_offsets_mapping=True, **plain)["offset_mapping"]
        return np.array(
            [len(text) if len(one) <= limit else one[limit - 1][1] for text, one in zip(texts, offsets, strict=True)],
            np.int64,
        )

    def fits(text: str) -> bool:
        return len(tokenizer(text, **plain)["input_ids"]) <= limit

    return np.array([_longest(text, fits) for text in texts], np.int64)


def _longest(text: str, fits: Callable[[str], bool]) -> int:
    """Return the length of the longest beginning that fits, by halves."""
    if fits(text):
        return len(text)
    low, high = 0, len(text)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(text[:middle]) else (low, middle)
    return low
