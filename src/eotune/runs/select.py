"""A selection and the directory that it fills: the subset, why each sample was kept, a report."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from eotune.core.errors import InputError
from eotune.core.files import held, read_json, replaced, write_json, write_text
from eotune.core.progress import say
from eotune.data.instruction_files import dataset_info, write_subset, write_xcomposer
from eotune.data.instructions import InstructionSource
from eotune.encoders.sources import absolute_name
from eotune.engines.base import Engine
from eotune.engines.by_name import engine as engine_by_name
from eotune.runs.directory import recipe_differences
from eotune.runs.run_files import REPORT
from eotune.runs.select_report import write_selection_report
from eotune.runs.step_clock import StepClock
from eotune.selection.config import SelectionConfig
from eotune.selection.pipeline import Chosen, choose
from eotune.selection.result import Reason
from eotune.selection.samples import open_samples, source_checksums
from eotune.selection.stages import SHARD_SIZE, Stages, begun_with

CONFIG, SUMMARY, TABLE = "selection.yaml", "summary.json", "selection.parquet"
XCOMPOSER = "xcomposer.json"
STAGES = "stages"
_LISTED = 1000  # failures in the summary; the stages hold all of them


def select(
    config: SelectionConfig,
    out: Path,
    *,
    engine: str | Engine = "local",
    workers: int | None = None,
    shard_size: int = SHARD_SIZE,
    resume: bool = False,
    xcomposer: bool = False,
    reuse: Sequence[Path] = (),
) -> dict[str, Any]:
    """Choose the samples of a set that are worth training on, and write them in the set's own format.

    Args:
        config: What determines the choice.
        out: Directory to fill: the subset, selection.parquet (id, row, cluster, score, kept, reason, duplicate_of),
            report.html, summary.json, and what resuming needs.
        engine: ``local``, ``ray``, or an engine.
        workers: Of an engine that is named, how many processes or actors; its own choice where not given.
        shard_size: Records that a worker is given at a time, and that an interruption costs at most; a selection that
            was begun goes on with its own.
        resume: Go on with a selection that was interrupted.
        xcomposer: Also write the subset as InternLM-XComposer reads it.
        reuse: Directories of other selections: embeddings that they hold of the same samples, with the same settings,
            are not computed again, nor scores up to the first shard that another first cut changed.

    Returns:
        The summary: counts by reason, files, seconds of each step, failures.

    Raises:
        InputError: The set, the settings or the directory are wrong. Nothing is lost.
        InterruptedRunError: Stopped by a signal; ``resume`` continues.
    """
    for other in reuse:
        if not (other / CONFIG).is_file():
            raise InputError(f"{other}: holds no selection", remedy="name the --out of another `eotune select`")
    source, config = open_samples(config), _absolute(config)
    _refuse_outputs_over_input(source, out)
    with _opened(config, out, resume=resume):
        checksums = source_checksums(source.path)
        if (out / SUMMARY).is_file() and (found := _finished(source, out, checksums, xcomposer=xcomposer)):
            return found
        for other in reuse:
            if not (other / STAGES).is_dir():
                say(f"warning: {other}: has no {STAGES}/, so that nothing can be taken over")
        begun = begun_with(out / STAGES)
        if begun is not None:
            _refuse_changed(source, out, begun.checksums, checksums)
            shard_size = begun.shard_size
        where = engine_by_name(engine, workers=workers) if isinstance(engine, str) else engine
        others = [other / STAGES for other in reuse]
        stages = Stages(config, source, out / STAGES, where, shard_size, others)
        clock = StepClock(out / STAGES, stages.taken_over)
        chosen = choose(config, stages, clock)
        with clock("write"):
            files = _write(source, chosen, out, xcomposer=xcomposer)
        failures = list(stages.failures())
        summary = {
            "samples": len(chosen.rows) + sum(1 for stage, *_ in failures if stage == "samples"),
            "readable": chosen.readable(),
            "asked": chosen.total,
            "kept": int(chosen.result.kept.sum()),
            "counts": chosen.counts(),
            "clusters": int(chosen.clusters.max(initial=-1)) + 1,
            "images": int(chosen.images.max(initial=-1)) + 1,
            "images_kept": chosen.images_kept(),
            "files": files,
            "checksums": checksums,
            "seconds": clock.seconds,
            "rankings": _rankings(chosen),
            "length_correlation": _rounded(chosen.length_correlation),
            "cut": dict(chosen.cut),
            "warnings": list(chosen.warnings),
            "failed": len({name for _, name, _ in failures}),
            "failures": [{"stage": stage, "id": name, "error": error} for stage, name, error in failures[:_LISTED]],
        }
        write_selection_report(out, config, source, chosen, summary)
        write_json(out / SUMMARY, summary)  # comes last: with it, the selection is finished
        return summary


def _finished(
    source: InstructionSource, out: Path, checksums: dict[str, str], *, xcomposer: bool
) -> dict[str, Any] | None:
    """Return the summary of a finished selection; a file that is wanted and is not there is written.

    None where what the others are made from is gone: the choice is made again.

    Raises:
        InputError: The set has changed since.
    """
    summary: dict[str, Any] = read_json(out / SUMMARY)
    _refuse_changed(source, out, summary.get("checksums"), checksums)
    gone = [name for name in (TABLE, REPORT) if not (out / name).is_file()]
    if TABLE in gone or (gone and (out / STAGES).is_dir()):
        say(f"{out}: {' and '.join(gone)} is gone; the choice is made again")
        return None
    wanted = {**summary["files"], **({"xcomposer": XCOMPOSER} if xcomposer else {})}
    if any(not (out / name).exists() for name in wanted.values()):
        table = pq.read_table(out / TABLE, columns=["row", "kept"])
        rows = np.sort(table.filter(table["kept"])["row"].to_numpy())
        summary["files"] = _write_subset(source, rows, out, xcomposer="xcomposer" in wanted, keep=True)
        write_json(out / SUMMARY, summary)
    return summary


def _refuse_changed(source: InstructionSource, out: Path, before: Any, now: dict[str, str]) -> None:
    if before != now:
        raise InputError(
            f"{out}: {source.path} is not as it was when the selection was made, or an earlier version made it",
            remedy="put the set back, or choose another --out",
        )


def _write(source: InstructionSource, chosen: Chosen, out: Path, *, xcomposer: bool) -> dict[str, str]:
    """Write the table and the subset; return their names."""
    result = chosen.result
    ids = chosen.ids.combine_chunks() if isinstance(chosen.ids, pa.ChunkedArray) else chosen.ids
    behind = pa.array(chosen.duplicate_of, mask=chosen.duplicate_of < 0)
    names = pa.array([one.label for one in Reason])
    table = pa.table(
        {
            "id": ids,
            "row": chosen.rows,
            "cluster": chosen.clusters,
            "score": pa.array(result.score, mask=np.isnan(result.score)),
            "kept": result.kept,
            "reason": names.take(pa.array(result.reason, pa.int64())),
            "duplicate_of": pa.array(ids).take(behind),
        }
    )
    with replaced(out / TABLE) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    return _write_subset(source, np.sort(chosen.rows[result.kept]), out, xcomposer=xcomposer)


def _write_subset(
    source: InstructionSource, rows: np.ndarray, out: Path, *, xcomposer: bool, keep: bool = False
) -> dict[str, str]:
    """Write the subset in all formats that are wanted, with ``keep`` those that are not there; return all names."""
    name = f"subset{source.path.suffix}"
    if not (keep and (out / name).exists()):
        if (out / name).is_dir():  # of a folder of files, left by a process that was interrupted after it
            shutil.rmtree(out / name)
        write_subset(source, rows, out / name)
    files = {"table": TABLE, "subset": name}
    try:
        write_json(out / "dataset_info.json", dataset_info(source, name, "subset"))
        files["dataset_info"] = "dataset_info.json"
    except InputError:  # a layout that LLaMA-Factory does not read
        pass
    if xcomposer:
        if not (keep and (out / XCOMPOSER).exists()):
            write_xcomposer(source, rows, out / XCOMPOSER)
        files["xcomposer"] = XCOMPOSER
    return files


def _rankings(chosen: Chosen) -> dict[str, Any] | None:
    """Return how alike the rankings are, for JSON."""
    found = chosen.rankings
    if found is None:
        return None
    spearman = [[_rounded(value) for value in row] for row in found.spearman]
    return {"names": found.names, "samples": found.n, "spearman": spearman, "overlap": found.overlap.round(4).tolist()}


def _rounded(value: float | None) -> float | None:
    """Return a number for JSON, which has no NaN."""
    return None if value is None or np.isnan(value) else round(float(value), 4)


def _refuse_outputs_over_input(source: InstructionSource, out: Path) -> None:
    if out.resolve() == source.path.resolve() or (
        source.path.is_dir() and source.path.resolve() in out.resolve().parents
    ):
        raise InputError(f"{out}: lies in the set that is read", remedy="choose another --out")


@contextmanager
def _opened(config: SelectionConfig, out: Path, *, resume: bool) -> Iterator[None]:
    """Hold the directory, new or that of the same selection."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    file = out / CONFIG
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file", remedy="choose another --out")
    if out.is_dir() and any(out.iterdir()):
        if not file.is_file() and not (out / ".lock").is_file():
            raise InputError(f"{out}: is not empty and holds no selection", remedy="choose another --out")
        if not resume:
            raise InputError(f"{out}: holds a selection already", remedy="go on with --resume, or choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    with held(out):
        if file.is_file() and (changed := recipe_differences(file.read_text(encoding="utf-8"), text)):
            raise InputError(
                f"{out}: was begun with other settings ({', '.join(changed[:5])})",
                remedy=f"resume with those of {file}, or choose another --out (with `eotune select --reuse {out}`)",
            )
        write_text(file, text)
        for torn in (out / STAGES).glob(".*"):  # of a process that was killed
            shutil.rmtree(torn) if torn.is_dir() else torn.unlink()
        yield


def _absolute(config: SelectionConfig) -> SelectionConfig:
    """Return the settings with paths that mean the same in another folder, and to a worker elsewhere."""
    paths = {key: getattr(config, key) for key in ("samples", "images", "targets")}
    names = {key: getattr(config, key) for key in ("encoder", "sentence_encoder")}
    changed = {key: path.absolute() for key, path in paths.items() if path is not None}
    return config.model_copy(update=changed | {key: absolute_name(name) for key, name in names.items() if name})
