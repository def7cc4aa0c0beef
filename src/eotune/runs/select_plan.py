"""What a selection will cost, from a count and a short probe."""

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from eotune.data.instruction_parquet import parquet_files
from eotune.data.instructions import InstructionSource
from eotune.runs.figures import duration
from eotune.selection.clusters import SAMPLE
from eotune.selection.config import SelectionConfig
from eotune.selection.pipeline import checked_strategy, checked_total, embeds_texts
from eotune.selection.quotas import share
from eotune.selection.samples import open_samples, open_targets, refuse_splits, sample_tables
from eotune.selection.stages import SCORES, redrawn_scores, score_config
from eotune.selection.strategies.base import Strategy
from eotune.selection.workers import EmbedTexts, ReadImages, ScorePairs

_PROBE = 32  # samples that are timed
_ROW_BYTES = 24  # of a row that has its id and a number, compressed
_HALF = 2  # bytes of a number of an embedding
# Seconds on one core, about; see docs/results.md, Speed.
_EACH = 1e-7  # a sample and dimension: assignment and near duplicates
_FIT, _FIT_EACH = 2.0, 2e-4  # k-means: each number of clusters tried; each cluster and dimension
_FITTED = SAMPLE // 10  # samples from which on k-means takes no longer
_PRODUCT = 1e-10  # a multiplication with its addition


def plan(config: SelectionConfig) -> dict[str, Any]:
    """Count the samples and time a few of them; nothing is written.

    Duplicates are not known yet: the costly stage is planned for all samples, and takes less. Times are those of one
    process that takes over nothing.

    Returns:
        ``samples``, ``keep``, ``bad`` (records that cannot be used), ``steps`` (each with ``step``, ``rows``,
        ``passes`` of a model, ``seconds`` and ``time``), ``seconds`` of all and their ``time``, ``disk_mb``, and
        ``warnings``: what failed of the samples that were timed.

    Raises:
        InputError: The set or the encoders cannot be read, or ``keep`` is none of the records.
    """
    strategy, source = checked_strategy(config), open_samples(config)
    counted = _counted(source, config)
    targets = _counted_targets(config) if "targets" in strategy.needs else None
    keep = checked_total(config, counted.good)
    texts = EmbedTexts(config.sentence_encoder) if counted.good and embeds_texts(config, strategy) else None
    warnings: list[str] = []
    steps = list(_steps(config, strategy, source, counted, targets, texts, warnings))
    seconds = sum(step["seconds"] for step in steps)
    disk = _disk(config, strategy, source, counted, targets, _dim(texts))
    return {
        "samples": counted.good, "bad": counted.bad, "keep": keep, "steps": steps, "seconds": seconds,
        "time": duration(seconds), "disk_mb": round(disk / 2**20, 3), "warnings": warnings,
    }  # fmt: skip


@dataclass(frozen=True)
class _Counted:
    """What a set holds: records that are good and bad, bytes of all in the first stage, some good ones."""

    good: int
    bad: int
    size: float
    probe: pa.Table | None


def _counted(source: InstructionSource, config: SelectionConfig) -> _Counted:
    good, bad, plain, packed, probe = 0, 0, 0, None, None
    for table in sample_tables(source, config.text):
        usable = table.filter(pc.is_null(table["error"]))
        good, bad, plain = good + len(usable), bad + len(table) - len(usable), plain + table.nbytes
        packed = _compressed(table) if packed is None else packed  # of the first; the rest is taken to be like it
        probe = usable.drop_columns(["error"]).slice(0, _PROBE) if probe is None and len(usable) else probe
    return _Counted(good, bad, plain * (packed or 0.0), probe)


def _counted_targets(config: SelectionConfig) -> _Counted:
    source = open_targets(config)
    refuse_splits(source)
    return _counted(source, config)


def _compressed(table: pa.Table) -> float:
    """Return how large a table is in a shard, as a share of its size in memory."""
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd", use_dictionary=False)
    return stream.tell() / max(table.nbytes, 1)


def _steps(
    config: SelectionConfig,
    strategy: Strategy,
    source: InstructionSource,
    counted: _Counted,
    targets: _Counted | None,
    texts: EmbedTexts | None,
    warnings: list[str],
) -> Iterator[dict[str, Any]]:
    """Yield the steps; add to ``warnings`` what fails."""
    n, probe, dim = counted.good, counted.probe, _dim(texts)
    if probe is None:
        return

    def each_of(name: str, worker: Any, probe: pa.Table) -> float:
        seconds, failed = _timed(worker, probe)
        if len(failed):
            first = f"{failed['id'][0].as_py()}: {failed['error'][0].as_py()}"
            warnings.append(f"{name}: {len(failed)} of {len(probe)} samples that were timed fail ({first})")
        return seconds

    def step(name: str, seconds: float, passes: int = 0, rows: int = n) -> dict[str, Any]:
        return {"step": name, "rows": rows, "passes": passes, "seconds": seconds, "time": duration(seconds)}

    if texts is not None and targets is not None and targets.probe is not None:
        m = targets.good
        yield step("targets", m * each_of("targets", texts, targets.probe), m, m)
    yield step("images", n * each_of("images", ReadImages(str(source.root)), probe))
    if texts is not None:
        yield step("texts", n * each_of("texts", texts, probe), n)
        listed = (config.clusters,) if isinstance(config.clusters, int) else config.clusters
        fits = min(1.0, n / _FITTED) * sum(_FIT + _FIT_EACH * k * dim for k in listed)
        yield step("clusters", fits + _EACH * n * dim)
    redrawn = config.stability is not None and config.encoder is not None
    each = {
        column: each_of(column, ScorePairs(score_config(config, source, column)), probe)
        for column in sorted((strategy.needs & SCORES) | ({"perturbation"} if redrawn else set()))
    }
    for column in sorted(strategy.needs & SCORES):
        yield step(column, n * each[column], n * (1 + config.repeats) if column == "perturbation" else n)
    if targets is not None:
        yield step("choose", 2 * _PRODUCT * n * targets.good * dim)
    if config.stability is not None and redrawn:
        rows = len(redrawn_scores(score_config(config, source, "perturbation"))) * min(config.stability, n)
        yield step("stability", rows * each["perturbation"], rows * (1 + config.repeats), rows)


def _disk(
    config: SelectionConfig,
    strategy: Strategy,
    source: InstructionSource,
    counted: _Counted,
    targets: _Counted | None,
    dim: int,
) -> float:
    """Return about how many bytes a selection leaves."""
    n, scores = counted.good, len(strategy.needs & SCORES)
    files = parquet_files(source.path) if source.path.is_dir() else [source.path]
    subset = float(share(config.keep)) * sum(file.stat().st_size for file in files)
    stages = counted.size + n * _ROW_BYTES  # records; digests of images
    if dim:
        stages += n * (_ROW_BYTES + 2 * _HALF * dim)  # embeddings stand in shards and in one matrix
    if scores:
        stages += counted.size + scores * n * _ROW_BYTES  # the records that are scored stand there again
    if config.stability is not None and config.encoder is not None:
        drawn = min(config.stability, n)
        again = len(redrawn_scores(score_config(config, source, "perturbation")))
        stages += drawn * (counted.size / max(n, 1) + again * _ROW_BYTES)
    if targets is not None:
        stages += targets.size + targets.good * (_ROW_BYTES + _HALF * dim)
    return subset + stages + n * _ROW_BYTES  # the table of reasons


def _dim(texts: EmbedTexts | None) -> int:
    """Return how many numbers an embedding has; 0 where texts have none."""
    return 0 if texts is None else int(texts.encoder.dim)


def _timed(worker: Any, probe: pa.Table) -> tuple[float, pa.Table]:
    """Return the time of one row, after a first call that warms up, and the rows that fail."""
    worker(probe.slice(0, 2))
    start = time.perf_counter()
    found = worker(probe)
    seconds = (time.perf_counter() - start) / len(probe)
    return seconds, found.filter(pc.is_valid(found["error"]))
