"""The stages of a selection on disk, and what later steps read of them as arrays."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eotune.core.errors import InputError
from eotune.core.files import read_json, replaced, write_json
from eotune.core.progress import say
from eotune.data.instructions import InstructionSource
from eotune.engines.base import Engine, WorkerClass
from eotune.engines.shards import MANIFEST, read_columns, row_failures
from eotune.engines.stages import Stage, StageResult, map_shards, take_over, usable, write_rows
from eotune.methods.adapted import model_mark
from eotune.selection.clusters import SAMPLE, Separation, assign, choose_k, fit_centres, possible_clusters, sample_rows
from eotune.selection.config import SelectionConfig
from eotune.selection.perturb import word_spans
from eotune.selection.samples import (
    SCHEMA,
    open_targets,
    refuse_splits,
    sample_tables,
    source_checksums,
    text_digest,
)
from eotune.selection.vectors import read_rows, write_vectors
from eotune.selection.workers import EmbedTexts, ReadImages, ScoreConfig, ScorePairs

SHARD_SIZE = 4096
SCORES = frozenset({"perturbation", "similarity"})  # columns that an encoder of pairs gives
_REDRAWN = "redrawn"
_TARGETS = "target-records"
_WORDS = (1, 2, 3, 4)  # numbers of words that the ranking is looked at with
_SEPARATIONS = ("silhouette", "davies_bouldin")


@dataclass(frozen=True)
class Samples:
    """What is known of the readable records, in the order of the file.

    Attributes:
        ids: Arrow array.
        rows: ``(n,)`` their numbers in the file.
    """

    ids: pa.ChunkedArray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Clusters:
    """Groups of texts.

    Attributes:
        labels: ``(n,)`` -1 where a text has no embedding.
        table: What each K was worth; empty where K was given.
    """

    labels: np.ndarray
    table: tuple[Separation, ...]


class Stages:
    """The folder in which a selection keeps what it has computed.

    Args:
        config: Of the selection.
        source: Its set, opened.
        folder: Where stages go.
        engine: Where workers run.
        shard_size: Records that a worker is given at a time, and that an interruption costs at most.
        others: Such folders of other selections; what they hold of the same rows and settings is copied.

    Attributes:
        taken_over: From which of them, by step, and how much of what it computed, 0 to 1.
    """

    def __init__(
        self,
        config: SelectionConfig,
        source: InstructionSource,
        folder: Path,
        engine: Engine,
        shard_size: int = SHARD_SIZE,
        others: Sequence[Path] = (),
    ) -> None:
        self.config = config
        self.source = source
        self.folder = folder
        self.engine = engine
        self.shard_size = shard_size
        self.others = others
        self.taken_over: dict[str, tuple[Path, float]] = {}

    def samples(self) -> Samples:
        """Read the set, once.

        Raises:
            InputError: No record can be used.
        """
        self._read("samples", self.source, self.config.split)
        read = list(read_columns(self.folder / "samples", ["id", "row"]))
        if not read:
            first = next(row_failures(self.folder / "samples"), None)
            raise InputError(f"{self.source.path}: no record can be used ({first.id}: {first.error})" if first else
                             f"{self.source.path}: holds no record", remedy="see docs/instructions.md")  # fmt: skip
        table = pa.concat_tables(read)
        return Samples(table["id"], table["row"].to_numpy())

    def digests(self, n: int) -> list[bytes | None]:
        """Return a digest of each sample's images; None where they cannot be read."""
        root = str(self.source.root.absolute())
        self._mapped("images", ReadImages, root, {"root": root})
        found: list[bytes | None] = [None] * n
        for table in read_columns(self.folder / "images", ["position", "digest"]):
            for position, digest in zip(table["position"].to_pylist(), table["digest"].to_pylist(), strict=True):
                found[position] = digest
        return found

    def text_digests(self) -> Iterator[bytes]:
        """Yield a digest of all that each record says, letter case and spaces aside."""
        for table in read_columns(self.folder / "samples", ["text", "beside"]):
            for text, beside in zip(table["text"].to_pylist(), table["beside"].to_pylist(), strict=True):
                yield text_digest(text) + (beside or b"")

    def beside(self, n: int) -> np.ndarray:
        """Return numbers ``(n,)``, equal where records say the same beside what is embedded of them; 0 for nothing."""
        numbers: dict[bytes | None, int] = {None: 0}
        tables = read_columns(self.folder / "samples", ["beside"])
        found = (numbers.setdefault(one, len(numbers)) for table in tables for one in table["beside"].to_pylist())
        return np.fromiter(found, np.int64, n)

    def lengths(self) -> np.ndarray:
        """Return how many words the perturbed text of each sample has: parts between blanks, or letters, ``(n,)``."""
        tables = read_columns(self.folder / "samples", ["words"])
        texts = (text for table in tables for text in table["words"].to_pylist())
        return np.array([max(len(text.split()), len(word_spans(text))) for text in texts], np.int64)

    def unscored(self, column: str) -> int:
        """Return how many samples have no score that did not fail: no word of theirs can be deleted."""
        return sum(table[column].null_count for table in read_columns(self.folder / column, [column]))

    def vectors(self, n: int) -> np.ndarray:
        """Return the texts' embeddings ``(n, d)`` float16 on disk; NaN where there is none.

        Raises:
            InputError: No text could be embedded.
        """
        name = self.config.sentence_encoder
        self._mapped("texts", EmbedTexts, name, _embedding_settings(name))
        path = self.folder / "vectors.npy"
        if not path.is_file():
            with replaced(path) as temporary:
                texts = read_columns(self.folder / "texts", ["position", "embedding"])
                parts = ((table["position"].to_numpy(), _embeddings(table)) for table in texts)
                if not write_vectors(temporary, parts, n):
                    self._refuse_all("texts")
        return np.load(path, mmap_mode="r", allow_pickle=False)

    def cut(self, name: str, n: int) -> np.ndarray:
        """Return of whose text the encoder reads the beginning only, ``(n,)``.

        Args:
            name: The stage: ``texts``, or a score.
            n: Samples.
        """
        found = np.zeros(n, bool)
        for table in read_columns(self.folder / name, ["position", "cut"]):
            found[table["position"].to_numpy()] = table["cut"].to_numpy()
        return found

    def targets(self) -> np.ndarray:
        """Return embeddings ``(m, d)`` float16 of the texts that the model shall become good at.

        Raises:
            InputError: They cannot be read, are of several splits, or none can be used.
        """
        source = open_targets(self.config)
        refuse_splits(source)
        read = self._read(_TARGETS, source, self.config.targets_split)
        if read.failed:
            say(f"{source.path}: {read.failed:,} of {read.rows:,} records are no targets")
        if read.failed == read.rows:
            first = next(row_failures(read.out))
            raise InputError(f"{source.path}: no record can be a target ({first.id}: {first.error})",
                             remedy="see docs/instructions.md")  # fmt: skip
        name = self.config.sentence_encoder
        self._mapped("targets", EmbedTexts, name, _embedding_settings(name), source=_TARGETS)
        parts = [_embeddings(table) for table in read_columns(self.folder / "targets", ["embedding"])]
        if not parts:
            self._refuse_all("targets")
        return np.concatenate(parts)

    def clusters(self, vectors: np.ndarray, usable: np.ndarray) -> Clusters:
        """Return the cluster of each text: k-means fitted on a sample, all assigned in a second pass.

        Args:
            vectors: ``(n, d)``.
            usable: ``(n,)`` whose text has an embedding.
        """
        path, described = self.folder / "clusters.npy", self.folder / "clusters.json"
        if not described.is_file():
            config, rows = self.config, np.flatnonzero(usable)
            sample = read_rows(vectors, rows[sample_rows(len(rows), SAMPLE, config.seed)])
            possible, table = possible_clusters(config.clusters, len(rows)), list[Separation]()
            k = possible[0]
            if len(possible) > 1:
                table, k = choose_k(sample, possible, seed=config.seed)
            labels = np.full(len(usable), -1, np.int32)
            labels[rows], _ = assign(_Rows(vectors, rows), fit_centres(sample, k, seed=config.seed))
            with replaced(path) as temporary, temporary.open("wb") as stream:
                np.save(stream, labels, allow_pickle=False)
            write_json(described, [{name: _number(value) for name, value in asdict(one).items()} for one in table])
        table = [_separation(one) for one in read_json(described)]
        return Clusters(np.load(path, allow_pickle=False), tuple(table))

    def scores(self, column: str, available: np.ndarray) -> np.ndarray:
        """Return a score ``(n,)`` float32 of the samples that passed the first cut; NaN elsewhere, and where none is.

        Raises:
            InputError: The encoder of pairs cannot be read.
        """
        self._write_part("candidates", available)
        return self._scored(column, "candidates", score_config(self.config, self.source, column), len(available))

    def several_images(self) -> int:
        """Return how many of the samples that are scored have more than one image."""
        lists = (table["images"] for table in read_columns(self.folder / "candidates", ["images"]))
        return sum(int(pc.sum(pc.greater(pc.list_value_length(one), 1)).as_py() or 0) for one in lists)

    def rescored(self, available: np.ndarray) -> dict[str, np.ndarray]:
        """Return perturbation scores ``(n,)`` of some samples with other numbers of words, and with other seeds.

        Raises:
            InputError: The encoder of pairs cannot be read.
        """
        config = self.config
        drawn = np.flatnonzero(available)
        drawn = drawn[sample_rows(len(drawn), config.stability or 0, config.seed)]
        part = np.zeros(len(available), bool)
        part[drawn] = True
        self._write_part(_REDRAWN, part)
        score = score_config(config, self.source, "perturbation")
        return {
            name: self._scored(f"{_REDRAWN}-{name.replace(' ', '-')}", _REDRAWN, one, len(available))
            for name, one in redrawn_scores(score).items()
        }

    def failures(self) -> Iterator[tuple[str, str, str]]:
        """Yield (stage, id, reason) of every row that a stage could not compute."""
        for stage in sorted(path for path in self.folder.glob("[!.]*") if path.is_dir()):
            which = "target " if stage.name in ("targets", _TARGETS) else ""  # else ids could be those of samples
            yield from ((stage.name, f"{which}{one.id}", one.error) for one in row_failures(stage))

    def _read(self, name: str, source: InstructionSource, split: str | None) -> StageResult:
        """Write the records of a set as a stage."""
        settings = {"files": source_checksums(source.path), "text": self.config.text, "split": split,
                    "ids": self.config.ids, "columns": SCHEMA.names, "without": sorted(source.without)}  # fmt: skip
        stage = Stage(name, self.folder / name, settings)
        return write_rows(sample_tables(source, self.config.text), stage, rows_per_shard=self.shard_size)

    def _write_part(self, name: str, which: np.ndarray) -> None:
        """Write some samples as a stage of their own."""
        stage = Stage(name, self.folder / name, {"samples": _mark(which)})
        write_rows(self._part(which), stage, rows_per_shard=self.shard_size)

    def _scored(self, name: str, source: str, score: ScoreConfig, n: int) -> np.ndarray:
        settings = asdict(score) | {"weights": model_mark(score.encoder), "columns": [score.column, "cut"]}
        del settings["encoder"]  # by another path they are the same
        self._mapped(name, ScorePairs, score, settings, source=source)
        found = np.full(n, np.nan, np.float32)
        for table in read_columns(self.folder / name, ["position", score.column]):
            found[table["position"].to_numpy()] = table[score.column].to_numpy()
        failure = next(row_failures(self.folder / name), None)
        if failure is not None and np.isnan(found).all():
            raise InputError(f"no pair could be scored ({failure.id}: {failure.error})", remedy="try another encoder")
        if source == "candidates" and np.isnan(found).all() and self.unscored(name):
            raise InputError("no text has two words, and one must stay", remedy="choose another strategy")
        return found

    def _mapped(
        self, name: str, worker: WorkerClass, config: Any, settings: Mapping[str, Any], *, source: str = "samples"
    ) -> StageResult:
        stage = Stage(name, self.folder / name, settings)
        rows = self.folder / source
        worth = {other: share for other in self.others if (share := usable(stage, other / name, rows))}
        if worth:
            made = max(worth, key=lambda other: worth[other])
            take_over(stage, made / name)
            self.taken_over["stability" if source == _REDRAWN else name] = made, worth[made]
        # An image that another selection could not read may have been copied again since.
        again = name == "images" and name in self.taken_over
        return map_shards(self.engine, worker, config, rows, stage, retry_failed=again)

    def _refuse_all(self, name: str) -> NoReturn:
        first = next(row_failures(self.folder / name))
        raise InputError(f"no text could be embedded ({first.id}: {first.error})", remedy="try another encoder")

    def _part(self, which: np.ndarray) -> Iterator[pa.Table]:
        for table in read_columns(self.folder / "samples", ["id", "position", "images", "text", "words"]):
            yield table.filter(pa.array(which[table["position"].to_numpy()]))


@dataclass(frozen=True)
class Begun:
    """What a folder of stages was begun with: the set's checksums, and records a shard."""

    checksums: Mapping[str, str]
    shard_size: int


def begun_with(folder: Path) -> Begun | None:
    """Return what a folder of stages was begun with; None where none was."""
    manifest = folder / "samples" / MANIFEST
    if not manifest.is_file():
        return None
    settings = read_json(manifest)["settings"]
    return Begun(settings["files"], settings["rows_per_shard"])


def score_config(config: SelectionConfig, source: InstructionSource, column: str) -> ScoreConfig:
    """Return what the workers that fill a column are told."""
    if config.encoder is None:
        raise ValueError("scores without an encoder")
    root = str(source.root.absolute())
    return ScoreConfig(
        column, root, config.encoder, config.pool, config.normalize, config.precision, config.words, config.repeats,
        config.seed,
    )  # fmt: skip


def redrawn_scores(score: ScoreConfig) -> dict[str, ScoreConfig]:
    """Return the scores, by name, that tell how far a ranking is chance: other numbers of words, and other seeds."""
    by_words = {f"n={words}": replace(score, words=words) for words in _WORDS}
    return by_words | {f"seed {score.seed + more}": replace(score, seed=score.seed + more) for more in (1, 2)}


class _Rows:
    """Some rows of vectors on disk, as if they were all."""

    def __init__(self, vectors: np.ndarray, rows: np.ndarray) -> None:
        self._vectors, self._rows = vectors, rows
        self.shape = (len(rows), vectors.shape[1])
        self.base = vectors.base  # the map, whose pages are released

    def __getitem__(self, which: Any, /) -> np.ndarray:
        return self._vectors[self._rows[which]]


def _embedding_settings(name: str) -> dict[str, Any]:
    return {"weights": model_mark(name), "columns": ["embedding", "cut"]}


def _embeddings(table: pa.Table) -> np.ndarray:
    flat: np.ndarray = table["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(table), -1)


def _mark(available: np.ndarray) -> str:
    return hashlib.sha256(np.packbits(available).tobytes()).hexdigest()


def _number(value: float) -> float | None:
    return None if isinstance(value, float) and np.isnan(value) else value


def _separation(values: Mapping[str, Any]) -> Separation:
    """Return what JSON, which has no NaN, kept."""
    return Separation(values["k"], *(np.nan if values[name] is None else values[name] for name in _SEPARATIONS))
