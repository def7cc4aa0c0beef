"""Question-answer pairs about scenes, with known shares of duplicates, paraphrases, wrong answers and rare kinds."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from eotune.core.errors import InputError
from eotune.core.files import write_json, write_text
from eotune.core.lookup import unknown_name
from eotune.core.seeds import derive_seed, generator
from eotune.data.scenes.dataset import write_scene
from eotune.data.scenes.questions import KINDS, Question, questions
from eotune.data.scenes.render import CLASSES, render

_BARREN = 20  # scenes of each class that may have nothing to ask before the search is given up


@dataclass(frozen=True)
class Redundancy:
    """Shares of all records; what is left is plain: asked once, in a common kind, and answered truly.

    Attributes:
        exact: Records that repeat another one word for word.
        paraphrase: Records that ask what another one asks, in other words.
        noise: Records with a wrong answer.
        rare: Records of the rare kinds, each asked once and answered truly.
        rare_kinds: Kinds that occur nowhere else.

    Raises:
        InputError: A share is negative, a kind is not known, or there is too little to repeat.
    """

    exact: float = 0.2
    paraphrase: float = 0.15
    noise: float = 0.1
    rare: float = 0.05
    rare_kinds: tuple[str, ...] = ("comparison", "position")

    def __post_init__(self) -> None:
        shares = (self.exact, self.paraphrase, self.noise, self.rare)
        plain = 1 - sum(shares)
        if min(shares) < 0 or plain < 0:
            raise InputError(f"redundancy has shares {shares}", remedy="give shares from 0 that sum to at most 1")
        if self.paraphrase > plain or (self.exact > 0 and plain < 1e-9):
            raise InputError(
                f"redundancy leaves {plain:.2f} plain records, and each has at most one paraphrase",
                remedy="lower the other shares",
            )
        for kind in self.rare_kinds:
            if kind not in KINDS:
                raise unknown_name("kind of question", kind, KINDS)
        if not set(self.rare_kinds) < set(KINDS) or (self.rare > 0 and not self.rare_kinds):
            raise InputError(f"rare_kinds is {self.rare_kinds}", remedy="name some, but not all kinds")

    def counts(self, n: int) -> dict[str, int]:
        """Return how many of ``n`` records are of each sort.

        Example:
            >>> Redundancy().counts(100)
            {'exact': 20, 'paraphrase': 15, 'noise': 10, 'rare': 5, 'plain': 50}
        """
        counts = {name: round(getattr(self, name) * n) for name in ("exact", "paraphrase", "noise", "rare")}
        return counts | {"plain": n - sum(counts.values())}


@dataclass(frozen=True)
class _Record:
    """One record before it has an id: which question, how worded, and what is known about it."""

    image: str
    question: Question
    wording: int
    answer: str
    sort: str
    source: int | None = None  # position of the record that it repeats


def write_instructions(
    directory: Path,
    n: int,
    *,
    redundancy: Redundancy | None = None,
    classes: Sequence[str] = CLASSES,
    per_image: int = 4,
    seed: int = 0,
    size: int = 96,
) -> Path:
    """Write question-answer pairs in LLaVA's layout, the scenes that they are about, and what is true of each.

    Args:
        directory: Gets ``images/``, ``instructions.json`` (a list of ``id``, ``image`` and ``conversations``, a turn
            from ``human`` and one from ``gpt``), and ``truth.jsonl`` with a line a record, in the same order:
            ``id``, ``image``, ``kind``, ``duplicate_of`` (an id, or null), ``relation`` (``exact``, ``paraphrase`` or
            null), ``noisy``, ``rare``, and ``answer``, which is true even where the record's own is not.
        n: Number of records.
        redundancy: Shares of duplicates, paraphrases, wrong answers and rare kinds; exact, up to rounding to records.
        classes: Of the scenes, in turn.
        per_image: Plain and noisy questions of one scene, at most.
        seed: Of everything.
        size: Side of the scenes in pixels.

    Returns:
        The path of ``instructions.json``.

    Raises:
        InputError: ``n`` or ``per_image`` is below 1, a class is not known, ``n`` is too small for the shares, or the
            classes' scenes give rise to no question of a kind that is needed.

    Example:
        >>> import tempfile
        >>> path = write_instructions(Path(tempfile.mkdtemp()), 20, size=16)
        >>> rows = json.loads(path.read_text())
        >>> len(rows), rows[0]["conversations"][0]["value"].startswith("<image>")
        (20, True)
    """
    if n < 1 or per_image < 1 or not classes:
        raise InputError(f"{directory}: no record to write", remedy="ask for at least one record, image and class")
    redundancy = redundancy or Redundancy()
    counts = redundancy.counts(n)
    if counts["plain"] < max(counts["paraphrase"], counts["exact"] > 0, 0):
        raise InputError(f"n is {n}: too few records to have each share of them", remedy="ask for more")
    rng = generator("instructions", seed)
    records = _distinct(directory, counts, redundancy, classes, per_image=per_image, seed=seed, size=size)
    records += _repeats(records, counts, rng)
    order = rng.permutation(len(records))
    ids = {int(position): f"q{rank:06d}" for rank, position in enumerate(order)}
    write_json(directory / "instructions.json", [_row(ids[int(at)], records[at]) for at in order])
    truth = (_truth(ids[int(at)], records[at], ids) for at in order)
    write_text(directory / "truth.jsonl", "\n".join(map(json.dumps, truth)) + "\n")
    return directory / "instructions.json"


def _distinct(
    directory: Path, counts: dict[str, int], redundancy: Redundancy, classes: Sequence[str], *, per_image: int,
    seed: int, size: int,
) -> list[_Record]:  # fmt: skip
    """Render scenes until they have answered enough; return plain, noisy and rare records."""
    rng = generator("questions", seed)
    sorts = rng.permutation(["plain"] * counts["plain"] + ["noise"] * counts["noise"]).tolist()
    common: list[_Record] = []
    rare: list[_Record] = []
    number, barren = 0, 0  # scenes so far, and those in a row that had nothing new to ask
    while len(common) < len(sorts) or len(rare) < counts["rare"]:
        label = classes[number % len(classes)]
        scene = render(label, derive_seed(seed, "instructions", number) % 2**31, size=size)
        image = f"images/{label.lower()}_{number}.png"
        pool = _thinned(questions(scene), rng)
        usual = [question for question in pool if question.kind not in redundancy.rare_kinds][:per_image]
        new = [_asked(image, q, sort, rng) for q, sort in zip(usual, sorts[len(common) :], strict=False)]
        if len(rare) < counts["rare"]:
            new += [_asked(image, q, "rare", rng) for q in pool if q.kind in redundancy.rare_kinds][:1]
        if new:
            write_scene(directory / image, scene)
        common += [record for record in new if record.sort != "rare"]
        rare += [record for record in new if record.sort == "rare"]
        number, barren = number + 1, 0 if new else barren + 1
        if barren > _BARREN * len(classes):
            raise InputError(
                f"scenes of {', '.join(classes)} give rise to too few questions of the kinds needed",
                remedy="add classes, or change rare_kinds",
            )
    return common + rare


def _thinned(pool: Sequence[Question], rng: np.random.Generator) -> list[Question]:
    """Shuffle questions, and keep one a kind, but two about presence."""
    kept: list[Question] = []
    for position in rng.permutation(len(pool)):
        same = sum(question.kind == pool[position].kind for question in kept)
        if same < (2 if pool[position].kind == "presence" else 1):
            kept.append(pool[position])
    return kept


def _asked(image: str, question: Question, sort: str, rng: np.random.Generator) -> _Record:
    answers = question.wrong if sort == "noise" else question.answers
    return _Record(image, question, int(rng.integers(len(question.wordings))), str(rng.choice(answers)), sort)


def _repeats(records: Sequence[_Record], counts: dict[str, int], rng: np.random.Generator) -> list[_Record]:
    """Return exact duplicates and paraphrases of plain records."""
    plain = [position for position, record in enumerate(records) if record.sort == "plain"]
    sources = map(int, rng.choice(plain, counts["exact"]) if counts["exact"] else [])
    repeats = [replace(records[source], sort="exact", source=source) for source in sources]
    # No record twice: two paraphrases of one could be each other's exact duplicates.
    for source in map(int, rng.choice(plain, counts["paraphrase"], replace=False) if counts["paraphrase"] else []):
        question, wording = records[source].question, records[source].wording
        other = (wording + int(rng.integers(1, len(question.wordings)))) % len(question.wordings)
        answer = str(rng.choice(question.answers))
        repeats.append(replace(records[source], wording=other, answer=answer, sort="paraphrase", source=source))
    return repeats


def _row(name: str, record: _Record) -> dict[str, object]:
    asked = f"<image>\n{record.question.wordings[record.wording]}"
    turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": record.answer}]
    return {"id": name, "image": record.image, "conversations": turns}


def _truth(name: str, record: _Record, ids: dict[int, str]) -> dict[str, object]:
    return {
        "id": name,
        "image": record.image,
        "kind": record.question.kind,
        "duplicate_of": None if record.source is None else ids[record.source],
        "relation": None if record.source is None else record.sort,
        "noisy": record.sort == "noise",
        "rare": record.sort == "rare",
        "answer": record.question.answers[0],
    }
