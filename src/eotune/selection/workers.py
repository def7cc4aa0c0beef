"""What engines run for a selection: images to digests, texts to embeddings, pairs to scores."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from eotune.core.device import on_best_device
from eotune.core.errors import InputError
from eotune.data.duplicates import pixel_digest
from eotune.data.images import read_image
from eotune.encoders.multimodal import DualPairEncoder, PairEncoder, load_pairs
from eotune.encoders.sentence import load_sentence
from eotune.methods.adapted import load_model
from eotune.selection.perturb import delete_words, word_spans

_DIGEST = 16  # bytes: two of 10**8 images are taken for equal with a chance of 1e-23
_BATCH = 32
_NOT_FINITE = "its vectors are not finite numbers; use precision fp32"


class ReadImages:
    """Reads images and takes a digest of their pixels; those that cannot be read fail with the reason.

    Args:
        root: Folder that their paths start at.
    """

    runs_model = False

    def __init__(self, root: str) -> None:
        self.root = Path(root)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Return ``digest`` of the rows."""
        known: dict[str, bytes | InputError] = {}  # of this shard: samples of one image mostly stand together

        def digest(path: str) -> bytes:
            if path not in known:
                try:
                    known[path] = pixel_digest(read_image(self.root / path))[:_DIGEST]
                except InputError as error:
                    known[path] = error
            found = known[path]
            if isinstance(found, InputError):
                raise found
            return found

        return _rows(table, "digest", pa.binary(), lambda row: b"".join(map(digest, row["images"])))


class EmbedTexts:
    """Embeds the texts of samples, equal ones of a shard once.

    Args:
        name: Of the sentence encoder.
    """

    runs_model = True

    def __init__(self, name: str) -> None:
        self.encoder: Any = on_best_device(load_sentence(name, load_dual=load_model))

    def __call__(self, table: pa.Table) -> pa.Table:
        """Return ``embedding``, float16 of unit length, and ``cut``: whether a text's end is not read."""
        texts = table["text"].to_pylist()
        places = {text: place for place, text in enumerate(dict.fromkeys(texts))}  # instruction sets repeat themselves
        vectors = self.encoder.embed(list(places), batch_size=_BATCH)[[places[text] for text in texts]]
        read = dict(zip(places, self.encoder.characters_read(list(places)).tolist(), strict=True))
        cut = pa.array([read[text] < len(text) for text in texts], pa.bool_())
        finite = np.isfinite(vectors).all(axis=1)
        kind = pa.list_(pa.float16(), vectors.shape[1])
        stored = np.where(finite[:, None], vectors, 0).astype(np.float16)
        array = pa.FixedSizeListArray.from_arrays(pa.array(stored.ravel()), vectors.shape[1])
        errors = pa.array([None if good else _NOT_FINITE for good in finite], pa.string())
        found = table.select(["id", "position"]).append_column("embedding", array.cast(kind))
        return found.append_column("cut", cut).append_column("error", errors)


@dataclass(frozen=True)
class ScoreConfig:
    """What scores pairs of an image and a text.

    Attributes:
        column: ``perturbation``, or ``similarity`` of image and text.
        root: Folder that image paths start at.
        encoder: Name of the pair encoder.
        pool: See :func:`~eotune.encoders.multimodal.load_pairs`.
        normalize: Likewise.
        precision: Likewise.
        words: Number of words to delete, or share of them below 1.
        repeats: How many perturbations the score is the mean of.
        seed: Of the perturbations.
    """

    column: str
    root: str
    encoder: str
    pool: str | None = None
    normalize: bool = False
    precision: str = "fp32"
    words: float = 2
    repeats: int = 1
    seed: int = 0


class ScorePairs:
    """Scores samples by an encoder of their image and text.

    Args:
        config: Which score, by what.

    Raises:
        InputError: The encoder cannot be read.
    """

    runs_model = True

    def __init__(self, config: ScoreConfig) -> None:
        self.config = config
        self.encoder: PairEncoder = on_best_device(
            load_pairs(
                config.encoder,
                pool=config.pool,
                normalize=config.normalize,
                precision=config.precision,
                load_dual=load_model,
            )
        )

    def __call__(self, table: pa.Table) -> pa.Table:
        """Return the score of the rows, and ``cut``: whether a text's end is not read.

        A text of which no word can be deleted has no perturbation score: null, and no error.
        """
        rows = table.to_pylist()
        name = "words" if self.config.column == "perturbation" else "text"
        read = self.encoder.characters_read([row[name] for row in rows]).tolist()
        cut = pa.array([len(row[name]) > end for row, end in zip(rows, read, strict=True)], pa.bool_())
        if name == "words":  # else some would be deleted to no effect
            rows = [row | {name: row[name][:end]} for row, end in zip(rows, read, strict=True)]
        scored = [place for place, row in enumerate(rows) if name == "text" or len(word_spans(row[name])) > 1]
        scores: list[float | InputError | None] = [None] * len(rows)
        for start in range(0, len(scored), _BATCH):
            places = scored[start : start + _BATCH]
            for place, score in zip(places, self._scored([rows[place] for place in places]), strict=True):
                scores[place] = score
        numbers = iter(scores)
        found = _rows(table, self.config.column, pa.float32(), lambda _: _raised(next(numbers)))
        return found.append_column("cut", cut)

    def _scored(self, rows: list[dict[str, Any]]) -> list[float | InputError]:
        """Score a batch; an image that cannot be read takes nothing else along."""
        found: list[float | InputError] = [InputError("") for _ in rows]
        read: dict[str, np.ndarray] = {}  # samples of one image mostly stand together; the encoder takes it once
        images, good = [], []
        for place, row in enumerate(rows):
            name = row["images"][0]
            try:
                if name not in read:
                    read[name] = read_image(Path(self.config.root) / name)
            except InputError as error:
                found[place] = error
                continue
            images.append(read[name])
            good.append(place)
        if good:
            for place, value in zip(good, self._values(images, [rows[place] for place in good]), strict=True):
                found[place] = value
        return found

    def _values(self, images: list[np.ndarray], rows: list[dict[str, Any]]) -> list[float | InputError]:
        """Score pairs; one that the encoder refuses is found by halves, and the others are scored."""
        score = self._similarities if self.config.column == "similarity" else self._moved
        try:
            values = score(images, rows).tolist()
        except InputError as error:
            if len(rows) == 1:
                return [error]
            half = len(rows) // 2
            return self._values(images[:half], rows[:half]) + self._values(images[half:], rows[half:])
        return [value if np.isfinite(value) else InputError(_NOT_FINITE) for value in values]

    def _moved(self, images: list[np.ndarray], rows: list[dict[str, Any]]) -> np.ndarray:
        config = self.config
        perturbed = [
            [
                delete_words(row["words"], config.words, id=row["id"], seed=config.seed, repeat=repeat)
                for repeat in range(config.repeats)
            ]
            for row in rows
        ]
        texts = [row["words"] for row in rows]
        return self.encoder.perturbed_distances(images, texts, perturbed, batch_size=_BATCH).mean(axis=1)

    def _similarities(self, images: list[np.ndarray], rows: list[dict[str, Any]]) -> np.ndarray:
        encoder = self.encoder
        if not isinstance(encoder, DualPairEncoder):
            raise TypeError("similarity without a dual encoder")
        return encoder.similarities(images, [row["text"] for row in rows], batch_size=_BATCH)


def _rows(table: pa.Table, column: str, kind: pa.DataType, value: Callable[[dict[str, Any]], Any]) -> pa.Table:
    """Return id, position, a column of values, and the reasons of the rows that have none."""
    values: list[Any] = []
    errors: list[str | None] = []
    for row in table.to_pylist():
        try:
            values.append(value(row))
            errors.append(None)
        except InputError as error:
            values.append(None)
            errors.append(str(error))
    found = table.select(["id", "position"]).append_column(column, pa.array(values, kind))
    return found.append_column("error", pa.array(errors, pa.string()))


def _raised(value: float | InputError | None) -> float | None:
    if isinstance(value, InputError):
        raise value
    return value
