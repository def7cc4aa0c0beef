"""From a set and a share to the samples worth training on: embed, cluster, cut, score, truncate (arXiv 2409.13345)."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np
import pyarrow as pa

from eotune.core.errors import InputError
from eotune.core.progress import say
from eotune.encoders.multimodal import check_pair_encoder, is_vlm
from eotune.encoders.sentence import check_sentence
from eotune.selection.clusters import Separation, possible_clusters
from eotune.selection.config import SelectionConfig
from eotune.selection.duplicates import exact_duplicates, near_duplicates
from eotune.selection.order import id_ranks
from eotune.selection.quotas import share, total_kept
from eotune.selection.result import Columns, Reason, SelectionResult
from eotune.selection.samples import open_targets
from eotune.selection.stability import Stability, stability
from eotune.selection.stages import SCORES, Clusters, Stages
from eotune.selection.strategies.base import Strategy
from eotune.selection.strategies.by_name import create

_MANY = 0.05  # share of texts without a score that is warned of


@dataclass(frozen=True)
class Chosen:
    """What a selection says of all records but bad ones, in the order of the file.

    Attributes:
        ids: Arrow array.
        rows: ``(n,)`` numbers in the file.
        clusters: ``(n,)``; -1 where there is none.
        images: ``(n,)`` the same number where samples show the same images; -1 where there is none.
        duplicate_of: ``(n,)`` position of the sample that a duplicate stands behind; -1 for all others.
        result: What was kept, and why.
        total: How many were asked for.
        rankings: How alike the perturbation's rankings are by other seeds and numbers of words; None where not asked.
        separation: What each number of clusters was worth.
        length_correlation: Spearman's of an encoder's score and the number of words; None where no encoder scored, NaN
            where all scores or all lengths are equal.
        cut: How many texts an encoder reads only the beginning of, by stage: ``texts``, and each score.
        warnings: What the reader of the choice should know.
    """

    ids: pa.ChunkedArray
    rows: np.ndarray
    clusters: np.ndarray
    images: np.ndarray
    duplicate_of: np.ndarray
    result: SelectionResult
    total: int
    separation: tuple[Separation, ...]
    rankings: Stability | None = None
    length_correlation: float | None = None
    cut: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def readable(self) -> int:
        """Return how many samples have images that can be read, and a text that can be embedded where it must."""
        return int(np.count_nonzero(self.result.reason != Reason.UNREADABLE))

    def images_kept(self) -> int:
        """Return how many different images the samples kept show."""
        return len(np.unique(self.images[self.result.kept & (self.images >= 0)]))

    def counts(self) -> dict[str, int]:
        """Return how many samples each reason holds."""
        numbers, counts = np.unique(self.result.reason, return_counts=True)
        return {Reason(number).label: int(count) for number, count in zip(numbers, counts, strict=True)}


def choose(config: SelectionConfig, stages: Stages, clock: Callable[[str], AbstractContextManager[None]]) -> Chosen:
    """Run the stages that are not done, and decide.

    Args:
        config: What to choose by.
        stages: Where stages are kept.
        clock: Called with the name of each step, which runs inside what it returns.

    Raises:
        InputError: The set, the encoders or the strategy are wrong.
        InterruptedRunError: Ctrl-C; finished shards are kept.
    """
    strategy = checked_strategy(config)
    wants_texts = embeds_texts(config, strategy)
    with clock("read"):
        samples = stages.samples()
    n, targets = len(samples), None
    checked_total(config, n)  # before anything costs; damaged images are found later
    if wants_texts:
        possible_clusters(config.clusters, n)  # before hours of embedding
    if "targets" in strategy.needs:
        with clock("targets"):
            targets = stages.targets()
    with clock("images"):
        digests = stages.digests(n)
    with clock("texts"):
        vectors = stages.vectors(n) if wants_texts else None
    embedded = np.ones(n, bool) if vectors is None else ~np.isnan(vectors[:, 0])
    readable = np.array([digest is not None for digest in digests]) & embedded
    with clock("clusters"):
        clusters = Clusters(np.zeros(n, np.int32), ()) if vectors is None else stages.clusters(vectors, embedded)
        labels = np.where(readable, clusters.labels, -1).astype(np.int32)
    ranks, images = id_ranks(samples.ids), _numbered(digests)
    with clock("first cut"):
        dropped, duplicate_of = _first_cut(config, stages, digests, images, vectors, labels, ranks)
    dropped[~readable] = Reason.UNREADABLE
    available = dropped == Reason.KEPT
    if not available.any():
        _refuse_nothing_left(dropped, config, stages)
    scores: dict[str, np.ndarray] = {}
    for column in sorted(strategy.needs & SCORES):
        with clock(column):
            scores[column] = stages.scores(column, available)
    with clock("choose"):
        columns = Columns(
            ranks=ranks,
            available=available,
            clusters=labels,
            images=images,
            text_embeddings=vectors,
            targets=targets,
            **scores,
        )
        total = checked_total(config, int(readable.sum()))
        result = strategy.choose(columns, total, config.seed)
    rankings, redrawn = None, config.stability is not None and config.encoder is not None
    if redrawn:
        with clock("stability"):
            rankings = _compared(stages.rescored(available), float(share(config.keep)))
    reason = np.where(result.reason == Reason.CUT, dropped, result.reason).astype(np.uint8)
    result = SelectionResult(result.kept, reason, result.score)
    cut = {name: int(stages.cut(name, n).sum()) for name in [*(["texts"] if wants_texts else []), *scores]}
    several = stages.several_images() if scores else 0
    warnings = [
        *([_fewer(reason, total)] if result.kept.sum() < total else []),
        *([f"{several:,} samples have several images: they are scored by the first of them"] if several else []),
        *(f"{name}: {count:,} texts are longer than the encoder reads; their ends count for nothing"
          for name, count in cut.items() if count),
        *(["clusters: all texts have the same embedding, so that they are one cluster"]
          if clusters.table and all(np.isnan(one.silhouette) for one in clusters.table) else []),
        *_warnings_of_scores(scores, stages),
        *(["stability: fewer than two samples have a score, so that no ranking is compared"]
          if redrawn and rankings is None else []),
    ]  # fmt: skip
    for warning in warnings:
        say(f"warning: {warning}")
    by_length = _length_correlation(result.score, stages) if scores else None
    return Chosen(
        samples.ids, samples.rows, labels, images, duplicate_of, result, total, clusters.table, rankings, by_length,
        cut, tuple(warnings),
    )  # fmt: skip


def checked_strategy(config: SelectionConfig) -> Strategy:
    """Return the strategy, after all checks that need no sample: they come before hours of reading.

    Raises:
        InputError: The strategy or an encoder is wrong, or the strategy lacks what it needs.
    """
    strategy = create(config.strategy)
    unknown = strategy.needs - {"clusters", "images", "text_embeddings", "targets", *SCORES}
    if unknown:
        raise InputError(
            f"strategy {config.strategy['name']!r} needs {', '.join(sorted(unknown))}, which no encoder here gives",
            remedy="choose it from Python, with a column of your own (docs/selection_strategies.md)",
        )
    if "targets" in strategy.needs and config.targets is None:
        raise InputError(f"strategy {config.strategy['name']!r} needs targets", remedy="name a set: --set targets=FILE")
    if "targets" in strategy.needs:
        open_targets(config)
    if strategy.needs & SCORES and config.encoder is None:
        raise InputError(
            f"strategy {config.strategy['name']!r} needs an encoder of images with texts",
            remedy="name one: --encoder vlm:ID_OR_DIR, or a dual encoder (hf:..., composed:..., run:...)",
        )
    if config.encoder is not None:
        check_pair_encoder(config.encoder, config.pool, config.precision, normalize=config.normalize)
        if "similarity" in strategy.needs and is_vlm(config.encoder):
            raise InputError(f"{config.encoder}: has no similarity of image and text", remedy="name a dual encoder")
    if embeds_texts(config, strategy):
        check_sentence(config.sentence_encoder)
    return strategy


def checked_total(config: SelectionConfig, n: int) -> int:
    """Return how many of n readable records are kept.

    Raises:
        InputError: None would be.
    """
    total = total_kept(config.keep, n)
    if not total:
        remedy = f"keep at least 1/{n}" if n else "correct the set"
        raise InputError(f"keep {config.keep} of {n:,} readable records is none", remedy=remedy)
    return total


def embeds_texts(config: SelectionConfig, strategy: Strategy) -> bool:
    """Return whether a selection embeds the texts of all samples: exact duplicates are found without."""
    cuts_by_texts = config.first_cut and (config.near is not None or config.smallest_cluster > 1)
    return cuts_by_texts or bool(strategy.needs & {"clusters", "text_embeddings", "targets"})


def _warnings_of_scores(scores: Mapping[str, np.ndarray], stages: Stages) -> Iterator[str]:
    """Yield why scores may rank nothing: all are equal, or many texts lose no word."""
    for column, values in scores.items():
        known = values[~np.isnan(values)]
        if len(known) > 1 and np.ptp(known) == 0:
            yield f"{column}: all {len(known):,} scores are equal, so that ids alone decide"
        without = stages.unscored(column)
        if without > _MANY * (without + len(known)):
            yield f"{column}: {without:,} texts have a single word, which cannot be deleted; they have no score"


def _fewer(reason: np.ndarray, total: int) -> str:
    """Return why fewer are kept than were asked for."""
    without = np.count_nonzero(reason == Reason.UNSCORED)
    scored = f" but {without:,} that have no score" if without else ""
    kept = np.count_nonzero(reason == Reason.KEPT)
    return f"{kept:,} samples are kept of the {total:,} asked for: the first cut leaves no more{scored}"


def _compared(scores: Mapping[str, np.ndarray], keep: float) -> Stability | None:
    """Return how alike rankings are; None where fewer than two samples have all scores."""
    if np.count_nonzero(~np.isnan(np.stack(list(scores.values()))).any(axis=0)) < 2:
        return None
    return stability(scores, keep=keep)


def _length_correlation(score: np.ndarray, stages: Stages) -> float | None:
    """Return how far a ranking follows the length of texts; None where fewer than two have a score."""
    if np.count_nonzero(~np.isnan(score)) < 2:
        return None
    return float(stability({"score": score, "words": stages.lengths()}, keep=1.0).spearman[0, 1])


def _refuse_nothing_left(dropped: np.ndarray, config: SelectionConfig, stages: Stages) -> NoReturn:
    if (dropped == Reason.UNREADABLE).all():
        _, name, error = next(stages.failures())
        raise InputError(f"none of {len(dropped):,} samples can be used ({name}: {error})", remedy="correct the set")
    counts = ", ".join(f"{np.count_nonzero(dropped == one):,} {one.label}" for one in Reason if (dropped == one).any())
    raise InputError(
        f"smallest_cluster={config.smallest_cluster}: the first cut leaves none of {len(dropped):,} samples ({counts})",
        remedy="give a smaller one",
    )


def _first_cut(
    config: SelectionConfig,
    stages: Stages,
    digests: list[bytes | None],
    images: np.ndarray,
    vectors: np.ndarray | None,
    labels: np.ndarray,
    ranks: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return why each sample is dropped (``KEPT`` where it is not), and what a duplicate stands behind."""
    n = len(labels)
    dropped, behind = np.full(n, Reason.KEPT, np.uint8), np.full(n, -1, np.int64)
    if not config.first_cut:
        return dropped, behind
    exact = exact_duplicates(_keys(config, stages, digests), ranks)
    dropped[exact >= 0] = Reason.EXACT_DUPLICATE
    behind[exact >= 0] = exact[exact >= 0]
    if config.near is not None and vectors is not None:
        # Texts alone are compared: a record that says something else beside its text is no duplicate.
        groups = _grouped(labels, stages.beside(n), *([] if config.duplicates_of == "any" else [images]))
        # Nor is a text that the encoder read the beginning of: equal ones are exact duplicates already.
        which = (exact < 0) & (labels >= 0) & ~stages.cut("texts", n)
        near = near_duplicates(vectors, groups, ranks, threshold=config.near, which=which, compared=config.compared)
        dropped[near >= 0] = Reason.NEAR_DUPLICATE
        behind[near >= 0] = near[near >= 0]
        ends = behind[exact]  # what an exact duplicate stands behind may stand behind another
        behind = np.where((exact >= 0) & (ends >= 0), ends, behind)
    left = np.bincount(labels[(dropped == Reason.KEPT) & (labels >= 0)], minlength=int(labels.max(initial=0)) + 1)
    small = (labels >= 0) & (left[np.maximum(labels, 0)] < config.smallest_cluster) & (dropped == Reason.KEPT)
    dropped[small] = Reason.SMALL_CLUSTER
    return dropped, behind


def _keys(config: SelectionConfig, stages: Stages, digests: list[bytes | None]) -> Iterator[bytes | None]:
    """Yield what is equal for exact duplicates; None for a sample without images."""
    anywhere = config.duplicates_of == "any"
    for digest, text in zip(digests, stages.text_digests(), strict=True):
        yield None if digest is None else text if anywhere else digest + text


def _grouped(labels: np.ndarray, *columns: np.ndarray) -> np.ndarray:
    """Return a number for what is equal in cluster and all columns (-1 and above); -1 where there is no cluster."""
    found = labels.astype(np.int64)
    for column in columns:
        if column.any():
            found = np.unique(found * (column.max(initial=0) + 2) + column + 1, return_inverse=True)[1]
    return np.where(labels >= 0, found, -1)


def _numbered(digests: list[bytes | None]) -> np.ndarray:
    """Return the number of each sample's images ``(n,)``, in the order of the file; -1 where it has none."""
    numbers: dict[bytes | None, int] = {}
    found = (numbers.setdefault(digest, len(numbers)) if digest else -1 for digest in digests)
    return np.fromiter(found, np.int64, len(digests))
