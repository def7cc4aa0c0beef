"""What a selection will cost, from a count and a short probe."""

import time
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from eotune.data.instructions import BadRecord
from eotune.runs.figures import duration
from eotune.selection.config import SelectionConfig
from eotune.selection.pipeline import checked_strategy, checked_total, embeds_texts
from eotune.selection.samples import open_samples, sample_tables
from eotune.selection.stages import SCORES, redrawn_scores, score_config
from eotune.selection.workers import EmbedTexts, ReadImages, ScorePairs

_PROBE = 32  # samples that are timed
_TEXT_BYTES = 400  # of a record in the first stage, compressed
_SLOWER = 2e-6  # seconds a sample and dimension for clusters and duplicates, about


def plan(config: SelectionConfig) -> dict[str, Any]:
    """Count the samples and time a few of them; nothing is written.

    Duplicates are not known yet: the costly stage is planned for all samples, and takes less.

    Returns:
        ``samples``, ``keep``, ``bad`` (records that cannot be used), ``steps`` (each with ``step``, ``rows``,
        ``passes`` of a model, ``seconds`` and ``time``), ``seconds`` of all, and ``disk_mb``.

    Raises:
        InputError: The set or the encoders cannot be read.
    """
    strategy, source = checked_strategy(config), open_samples(config)
    n = bad = 0
    for found in source.samples():
        bad += isinstance(found, BadRecord)
        n += not isinstance(found, BadRecord)
    probe = next(
        (good for table in sample_tables(source, config.text) if len(good := table.filter(pc.is_null(table["error"])))),
        None,
    )
    steps: list[dict[str, Any]] = []

    def add(step: str, each: float, passes: int = 0, rows: int = n) -> None:
        seconds = each * rows
        steps.append({"step": step, "rows": rows, "passes": passes, "seconds": seconds, "time": duration(seconds)})

    dim = 0
    if probe is not None:
        probe = probe.drop_columns(["error"])
        add("images", _seconds_each(ReadImages(str(source.root)), probe))
        if embeds_texts(config, strategy):
            texts = EmbedTexts(config.sentence_encoder)
            add("texts", _seconds_each(texts, probe), n)
            dim = texts.encoder.dim
            add("clusters", _SLOWER * dim)
        redrawn = config.stability is not None and config.encoder is not None
        each = {
            column: _seconds_each(ScorePairs(score_config(config, source, column)), probe)
            for column in sorted((strategy.needs & SCORES) | ({"perturbation"} if redrawn else set()))
        }
        for column in sorted(strategy.needs & SCORES):
            add(column, each[column], n * (1 + config.repeats) if column == "perturbation" else n)
        if config.stability is not None and redrawn:
            rows = len(redrawn_scores(score_config(config, source, "perturbation"))) * min(config.stability, n)
            add("stability", each["perturbation"], rows * (1 + config.repeats), rows)
    disk = n * (_TEXT_BYTES + 2 * 2 * dim + 100) / 2**20  # embeddings stand in shards and in one matrix
    return {
        "samples": n, "bad": bad, "keep": checked_total(config, n), "steps": steps,
        "seconds": sum(step["seconds"] for step in steps), "disk_mb": round(disk, 1),
    }  # fmt: skip


def _seconds_each(worker: Any, probe: pa.Table) -> float:
    """Return the time of one row, after a first call that warms up."""
    small = probe.slice(0, min(_PROBE, len(probe)))
    worker(small.slice(0, 2))
    start = time.perf_counter()
    worker(small)
    return (time.perf_counter() - start) / len(small)
