"""Word deletion: the perturbation of a sample's text, a function of (id, seed, repeat) and of nothing else."""

import re
import unicodedata

from eotune.core.errors import InputError
from eotune.core.seeds import generator
from eotune.data.instruction_placeholders import PLACEHOLDER

# Beside the marks of images, anything in angle brackets without a space: tasks, parts of answers and coordinates, such
# as </p> and <40>. Words may stand glued to one.
_MARK = rf"{PLACEHOLDER.pattern}|<[^<>\s]+>"
# Scripts written without blanks, where each letter is a word: Thai, Lao; Myanmar; Khmer; Han, Hiragana, Katakana.
_BLOCKS = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F), (0x1780, 0x17FF))
_UNSPACED = "".join(f"{chr(first)}-{chr(last)}" for first, last in _BLOCKS) + (
    "\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U000323af"
)
_STACKS = "\u1039\u17d2"  # what puts the next letter below the one before
_COMBINING = "\u0300-\u036f\u3099\u309a\ufe00-\ufe0f\uff9e\uff9f\U000e0100-\U000e01ef" + "".join(
    one
    for first, last in _BLOCKS
    for one in map(chr, range(first, last + 1))
    if unicodedata.category(one)[0] == "M" and one not in _STACKS
)
_LETTER = rf"[{_UNSPACED}][{_COMBINING}]*(?:[{_STACKS}][{_UNSPACED}]?[{_COMBINING}]*)*"
_PIECE = re.compile(rf"(?P<placeholder>{_MARK})|(?P<letter>{_LETTER})|(?P<word>(?:(?!{_MARK})[^\s{_UNSPACED}])+)")
_BLANKS = " \t\u00a0\u3000"


def word_spans(text: str) -> list[tuple[int, int]]:
    """Return the (start, end) of every word: what stands between blanks and placeholders and has a letter or digit.

    Punctuation by itself is no word. In scripts written without blanks (Chinese, Japanese, Thai, Lao, Khmer, Myanmar)
    each letter is one, with the marks that combine with it.

    Example:
        >>> [("<image>Is it a port ?")[start:end] for start, end in word_spans("<image>Is it a port ?")]
        ['Is', 'it', 'a', 'port']
        >>> [("这是海港。")[start:end] for start, end in word_spans("这是海港。")]
        ['这', '是', '海', '港']
    """
    return [
        match.span()
        for match in _PIECE.finditer(text)
        if match.lastgroup != "placeholder" and any(letter.isalnum() for letter in match.group())
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
        text = _joined(text[:start], text[end:], letter=re.match(_LETTER, text[start:end]) is not None)
    return text


def _joined(before: str, after: str, *, letter: bool) -> str:
    """Join what is left of a deleted word, with the blanks of one side only; words round a letter stay apart."""
    stripped = after.lstrip(_BLANKS)
    if stripped[:1] in ("", "\n", "\r"):
        return before.rstrip(_BLANKS) + stripped
    if letter and re.search(rf"[^\s{_UNSPACED}{_COMBINING}]$", before) and re.match(rf"[^{_UNSPACED}]", stripped):
        return f"{before} {stripped}"
    return before + stripped
