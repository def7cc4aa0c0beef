"""Word deletion: the perturbation of a sample's text, a function of (id, seed, repeat) and of nothing else."""

import re

from eotune.core.errors import InputError
from eotune.core.seeds import generator
from eotune.data.instruction_placeholders import PLACEHOLDER

# Beside the marks of images, anything in angle brackets without a space: tasks, parts of answers and coordinates, such
# as </p> and <40>. Words may stand glued to one.
_MARK = rf"{PLACEHOLDER.pattern}|<[^<>\s]+>"
_PIECE = re.compile(rf"(?P<placeholder>{_MARK})|(?P<word>(?:(?!{_MARK})\S)+)")
_BLANKS = " \t\u00a0\u3000"


def word_spans(text: str) -> list[tuple[int, int]]:
    """Return the (start, end) of every word: what stands between blanks and placeholders and has a letter or digit.

    Punctuation by itself is no word. A text without blanks, as in Chinese, is a single word.

    Example:
        >>> [("<image>Is it a port ?")[start:end] for start, end in word_spans("<image>Is it a port ?")]
        ['Is', 'it', 'a', 'port']
    """
    return [
        match.span()
        for match in _PIECE.finditer(text)
        if match.lastgroup == "word" and any(letter.isalnum() for letter in match.group())
    ]


def delete_words(text: str, n: float, *, id: str | int, seed: int, repeat: int = 0) -> str:  # noqa: A002
    r"""Return ``text`` without ``n`` of its words, each set of n equally likely (arXiv 2409.13345, with n = 2).

    Placeholders and line breaks stay. One word always stays, so a text of w words loses ``min(n, w - 1)``. The draw
    depends on ``id``, ``seed`` and ``repeat`` alone, not on what was perturbed before; with a larger ``n`` it deletes
    the same words and further ones.

    Args:
        text: The instruction, question or caption.
        n: How many words to delete, at least 0; below 1, which share of them, at least one word.
        id: The sample's id; 7 and "7" are the same.
        seed: The selection's seed.
        repeat: Number of the draw, where scores are averaged over several.

    Raises:
        InputError: ``n`` is negative, or neither a whole number nor below 1.

    Example:
        >>> delete_words("<image>\nHow many planes are there?", 2, id="a7", seed=0)
        '<image>\nHow many there?'
    """
    if n < 0 or (n > 1 and not float(n).is_integer()):
        raise InputError(f"words to delete must be a number of 0 or more, or a share below 1; got {n}")
    spans = word_spans(text)
    count = min(int(n) if n >= 1 or n == 0 else max(1, round(n * len(spans))), len(spans) - 1)
    if count < 1:
        return text
    chosen = generator("delete_words", str(id), seed, repeat).permutation(len(spans))[:count]
    for number in sorted(chosen.tolist(), reverse=True):
        start, end = spans[number]
        text = _joined(text[:start], text[end:])
    return text


def _joined(before: str, after: str) -> str:
    """Join what is left of a deleted word, with the blanks of one side only."""
    stripped = after.lstrip(_BLANKS)
    if stripped[:1] in ("", "\n", "\r"):
        return before.rstrip(_BLANKS) + stripped
    return before + stripped
