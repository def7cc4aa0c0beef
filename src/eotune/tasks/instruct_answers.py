"""Answers judged: what kind of question it was, whether the answer matches, and figures with intervals."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eotune.metrics.intervals import bootstrap_ratios, percentile_interval

YES_NO, CLASS, SHORT, OPEN = "yes_no", "class", "short", "open"
_SHORT_WORDS = 4  # a longer reference is a description, which hardly any answer matches word for word
_OPTIONS = 3  # a list of fewer is a choice, not a set of classes
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def check_kinds(kinds: Mapping[str, str]) -> None:
    """Refuse names and patterns that are none.

    Raises:
        ValueError: One is wrong.
    """
    for name, pattern in kinds.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"kind {name!r} is no name of small letters, digits and underscores")
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"kind {name}: {pattern!r} is no regular expression ({error})") from None


def kind_of_question(question: str, answer: str, kinds: Mapping[str, str] | None = None) -> str:
    """Return the kind of a question: one of the user's, else by its reference answer.

    ``yes_no``: the answer begins with one of these, and is short; ``class``: the question lists at least three options
    and the answer is one; ``short``: at most four words; ``open``: longer.

    Args:
        question: As it is asked.
        answer: The reference.
        kinds: Names with patterns that are looked for in the question, case aside.

    Example:
        >>> kind_of_question("Is there a river?", "Yes."), kind_of_question("How many?", "12")
        ('yes_no', 'short')
        >>> kind_of_question("Which one of: forest, dense houses, or port?", "Dense houses")
        'class'
        >>> kind_of_question("How many?", "12", {"count": "how many"})
        'count'
    """
    for name, pattern in (kinds or {}).items():
        if re.search(pattern, question, re.IGNORECASE):
            return name
    words = normalised(answer).split()
    if words[:1] in (["yes"], ["no"]) and len(words) <= _SHORT_WORDS:
        return YES_NO
    if any(compact(answer) in options for options in _lists(question)):
        return CLASS
    return SHORT if len(words) <= _SHORT_WORDS else OPEN


def _lists(question: str) -> Iterator[set[str]]:
    """Yield what each part of a question lists, where that is at least :data:`_OPTIONS` options."""
    for part in re.split(r"[:?]|(?<=[^\W\d]{2})\.(?=\s|$)", question):  # the dot of "A. forest" ends no sentence
        pieces = re.split(r"[,;\n|.]|\bor\b", part, flags=re.IGNORECASE)
        options = {compact(re.sub(r"^\W*and\b", "", one)) for one in pieces} - {""}
        if len(options) >= _OPTIONS:
            yield options


def normalised(text: str) -> str:
    """Return an answer without case, punctuation at words' ends, articles beside other words, and repeated space.

    Example:
        >>> normalised(" The  answer: 1,000 trees. "), normalised("A.")
        ('answer 1,000 trees', 'a')
    """
    words = [word.strip(".,;:!?\"'()[]") for word in text.lower().split()]
    return " ".join([word for word in words if word not in ("", "a", "an", "the")] or filter(None, words))


def compact(text: str) -> str:
    """Return the letters and digits of a text: classes are written with and without space.

    Example:
        >>> compact("Dense Residential") == compact("dense_residential")
        True
    """
    return "".join(letter for letter in text.lower() if letter.isalnum())


def matches(answer: str, reference: str, kind: str) -> bool:
    """Return whether an answer is the reference, up to how it is written; of ``yes_no`` the first word counts.

    ``kind`` is what :func:`kind_of_question` tells of the reference; a user's name for it has no rule of its own.

    Example:
        >>> matches("Yes, there is one.", "yes", "yes_no"), matches("two ships", "Two", "short")
        (True, False)
    """
    if kind == YES_NO:
        return normalised(answer).split()[:1] == normalised(reference).split()[:1]
    if kind == CLASS:
        return compact(answer) == compact(reference)
    return normalised(answer) == normalised(reference)


@dataclass(frozen=True)
class Judged:
    """Answers to one set of questions, judged.

    Attributes:
        correct: Bool ``(n,)``.
        kinds: Of each question.
        groups: Number of each question's image, ``(n,)``, from 0 on.
    """

    correct: np.ndarray
    kinds: Sequence[str]
    groups: np.ndarray

    def names(self) -> list[str]:
        """Return the names of its figures: all together, the mean over kinds, and each kind."""
        return ["accuracy", "mean_accuracy", *(f"accuracy_{kind}" for kind in _order(self.kinds))]

    def values(self) -> dict[str, float]:
        """Return its figures, shares from 0 to 1.

        ``accuracy`` is over all questions but open ones, unless there are none but these; ``mean_accuracy`` over their
        kinds.
        """
        figures = self._figures(*(part.sum(0, keepdims=True) for part in self._sums()))
        return dict(zip(self.names(), figures[0].tolist(), strict=True))

    def samples(self, *, resamples: int = 1000, seed: int = 0) -> dict[str, np.ndarray]:
        """Return its figures in each resample of images ``(b,)``: questions about one image are drawn together.

        The draws depend on the number of images and the seed alone. Where a resample has no question of a kind, the
        kind's figure is not a number.
        """
        sums, sizes = self._sums()
        with np.errstate(invalid="ignore"):
            # Means over images, whose ratio is the share.
            whole = bootstrap_ratios(np.concatenate([sums, sizes], 1), np.ones((len(sums), 2 * sums.shape[1])),
                                     resamples=resamples, seed=seed)  # fmt: skip
            figures = self._figures(*np.split(whole, 2, axis=1))
        return dict(zip(self.names(), figures.T, strict=True))

    def _sums(self) -> tuple[np.ndarray, np.ndarray]:
        """Return right answers and questions by image and kind, ``(images, kinds)`` each."""
        order = _order(self.kinds)
        sums, sizes = (np.zeros((int(self.groups.max()) + 1, len(order))) for _ in range(2))
        columns = np.array([order.index(kind) for kind in self.kinds])
        np.add.at(sizes, (self.groups, columns), 1.0)
        np.add.at(sums, (self.groups, columns), self.correct.astype(float))
        return sums, sizes

    def _figures(self, sums: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        order = _order(self.kinds)
        counted = [column for column, kind in enumerate(order) if kind != OPEN] or [0]
        each = sums / sizes
        overall = sums[:, counted].sum(1) / sizes[:, counted].sum(1)
        present = sizes[:, counted] > 0
        mean = np.where(present, each[:, counted], 0).sum(1) / present.sum(1)
        return np.column_stack([overall, mean, each])


def interval(samples: np.ndarray) -> tuple[float, float] | None:
    """Return the 95 % interval of a figure's resamples; None where most have no figure."""
    numbers = samples[np.isfinite(samples)]
    return percentile_interval(numbers) if len(numbers) > len(samples) / 2 else None


def prior_answers(
    questions: Sequence[tuple[str, str]], seen: Sequence[tuple[str, str]], kinds: Mapping[str, str] | None = None
) -> list[str]:
    """Return what knowing the training answers alone gives: the most frequent to the question, else to its kind.

    Args:
        questions: Questions to answer, with the reference, of which only the kind is used.
        seen: Questions and answers of training.
        kinds: As for :func:`kind_of_question`.

    Example:
        >>> prior_answers([("Many?", "2"), ("How?", "3")], [("Many?", "1"), ("What?", "ship"), ("Who?", "ship")])
        ['1', 'ship']
    """
    by_question, by_kind = dict[str, Counter[str]](), dict[str, Counter[str]]()
    for question, answer in seen:
        by_question.setdefault(normalised(question), Counter())[answer] += 1
        by_kind.setdefault(kind_of_question(question, answer, kinds), Counter())[answer] += 1
    found = []
    for question, reference in questions:
        counts = by_question.get(normalised(question)) or by_kind.get(kind_of_question(question, reference, kinds))
        found.append(counts.most_common(1)[0][0] if counts else "")
    return found


def _order(kinds: Sequence[str]) -> list[str]:
    """Return the kinds that there are, open questions last."""
    return sorted(set(kinds), key=lambda kind: (kind == OPEN, kind))
