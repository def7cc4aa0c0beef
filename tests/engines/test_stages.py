import errno
import os
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from stage_workers import Careless, Hashes, Unwilling, contents, samples

from eotune.core.errors import EotuneError, InputError, InterruptedRunError
from eotune.core.files import held
from eotune.engines.by_name import engine
from eotune.engines.pieces import HOPELESS
from eotune.engines.shards import RowFailure, read_columns, row_failures, shard_path
from eotune.engines.stages import Stage, map_shards, take_over, write_rows

LOCAL = engine("local")


class Copies(Careless):
    def __call__(self, table):
        return table


def interrupted(*tables):
    yield from tables
    raise KeyboardInterrupt


@pytest.mark.parametrize("cuts", [[100], [1] * 100, [3, 0, 50, 47]])
def test_rows_are_cut_the_same_however_they_come(tmp_path, cuts):
    tables, begin = [], 0
    for rows in cuts:
        tables.append(samples(rows, start=begin))
        begin += rows
    result = write_rows(tables, Stage("samples", tmp_path / "s"), rows_per_shard=30)
    read = list(read_columns(tmp_path / "s", ["id", "text"]))
    assert (result.shards, result.rows, result.kept) == (4, 100, 0)
    assert [len(table) for table in read] == [30, 30, 30, 10]
    assert pa.concat_tables(read).equals(samples(100))


def test_an_interrupted_first_stage_goes_on_where_it_was(tmp_path):
    stage = Stage("samples", tmp_path / "s")
    with pytest.raises(InterruptedRunError, match="go on with --resume"):
        write_rows(interrupted(samples(65)), stage, rows_per_shard=30)
    with pytest.raises(InputError, match="not finished"):
        list(read_columns(stage.out, ["id"]))
    before = shard_path(stage.out, 1).stat().st_ino
    assert write_rows([samples(100)], stage, rows_per_shard=30).kept == 2
    assert shard_path(stage.out, 1).stat().st_ino == before


def test_a_finished_first_stage_is_not_read_again(tmp_path):
    stage = Stage("samples", tmp_path / "s")
    write_rows([samples(5)], stage)
    assert write_rows(interrupted(), stage).kept == 1


@pytest.mark.parametrize("damage", [b"", None])
def test_a_damaged_shard_of_the_first_stage_is_written_again(made, damage):
    source, _ = made
    before, path = contents(source), shard_path(source, 3)
    path.write_bytes(damage) if damage is not None else path.unlink()
    assert write_rows([samples(100)], Stage("samples", source), rows_per_shard=10).kept == 9
    assert contents(source) == before


def test_no_rows_are_a_stage_too(tmp_path):
    write_rows([], Stage("samples", tmp_path / "s"))
    result = map_shards(LOCAL, Hashes, {}, tmp_path / "s", Stage("embed", tmp_path / "e"))
    assert (result.shards, result.rows) == (0, 0)
    assert list(read_columns(tmp_path / "e", ["vector"])) == []


def test_wrong_rows_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"rows without an id \(columns key\)"):
        write_rows([pa.table({"key": [1]})], Stage("samples", tmp_path / "s"))
    with pytest.raises(InputError, match="rows_per_shard=0"):
        write_rows([], Stage("samples", tmp_path / "s"), rows_per_shard=0)


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_compute_row_for_row(made, undisturbed, workers):
    source, stage = made
    result = map_shards(engine("local", workers=workers), Hashes, {}, source, stage)
    assert (result.rows, result.failed, result.shards, result.kept) == (100, 0, 10, 0)
    assert contents(stage.out) == undisturbed
    ids = pa.concat_tables(read_columns(stage.out, ["id"]))
    assert ids.equals(samples(100).select(["id"]))


def test_a_stage_that_is_there_is_not_computed(made):
    source, stage = made
    map_shards(LOCAL, Hashes, {}, source, stage)
    assert map_shards(LOCAL, Careless, None, source, stage).kept == 10


def test_rows_that_fail_are_reported_and_the_rest_is_finished(made):
    source, stage = made
    settings = {"unreadable": ["s0003", "s0099"], "raises_at": "s0055"}
    result = map_shards(LOCAL, Hashes, settings, source, stage)
    assert (result.rows, result.failed) == (100, 3)
    assert list(row_failures(stage.out)) == [
        RowFailure("s0003", "s0003.png: cannot be read"),
        RowFailure("s0055", "ValueError: a value of two lines"),
        RowFailure("s0099", "s0099.png: cannot be read"),
    ]
    assert sum(map(len, read_columns(stage.out, ["vector"]))) == 97
    after = replace(stage, out=stage.out.parent / "after")
    assert map_shards(LOCAL, Copies, None, stage.out, after).rows == 97  # the next stage does not see them


def test_failed_rows_are_kept_or_retried(made, undisturbed):
    source, stage = made
    map_shards(LOCAL, Hashes, {"unreadable": ["s0003"]}, source, stage)
    assert map_shards(LOCAL, Hashes, {}, source, stage).failed == 1
    result = map_shards(LOCAL, Hashes, {}, source, stage, retry_failed=True)
    assert (result.failed, result.kept) == (0, 9)
    assert contents(stage.out) == undisturbed


def test_a_call_without_room_is_made_smaller(made, undisturbed):
    source, stage = made
    assert map_shards(LOCAL, Hashes, {"room": 3}, source, stage).failed == 0
    assert contents(stage.out) == undisturbed


def test_other_settings_are_refused_or_redone(made):
    source, stage = made
    map_shards(LOCAL, Hashes, {}, source, stage)
    other = replace(stage, settings={"encoder": "other", "pool": "mean"})
    says = r"stage 'embed' was begun with other settings \(encoder: 'hash', now 'other', pool: None, now 'mean'\)"
    with pytest.raises(InputError, match=says):
        map_shards(LOCAL, Hashes, {}, source, other)
    assert map_shards(LOCAL, Hashes, {}, source, other, redo=True).kept == 0
    assert map_shards(LOCAL, Hashes, {}, source, other, redo=True).kept == 10  # nothing to redo any more


def test_only_what_changed_in_the_source_is_computed_again(made, tmp_path):
    source, stage = made
    map_shards(LOCAL, Hashes, {}, source, stage)
    changed = [samples(50), samples(50, start=1000)]
    write_rows(changed, Stage("samples", source, {"file": "new"}), rows_per_shard=10, redo=True)
    assert map_shards(LOCAL, Hashes, {}, source, stage).kept == 5
    write_rows([samples(25)], Stage("samples", source, {"file": "short"}), rows_per_shard=10, redo=True)
    result = map_shards(LOCAL, Hashes, {}, source, stage)
    assert (result.kept, result.shards, result.rows) == (2, 3, 25)
    assert len(contents(stage.out)) == 4


def test_a_source_that_is_not_finished_is_refused(made):
    source, stage = made
    shard_path(source, 4).unlink()
    with pytest.raises(InputError, match="not finished"):
        map_shards(LOCAL, Hashes, {}, source, stage)
    shard_path(source, 4).write_bytes(b"")
    with pytest.raises(InputError, match=r"shard-00004.parquet: is not a shard, or is damaged"):
        map_shards(LOCAL, Hashes, {}, source, stage)


def test_folders_of_something_else_are_left_alone(made):
    source, stage = made
    stage.out.write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        map_shards(LOCAL, Hashes, {}, source, stage)
    stage.out.unlink()
    stage.out.mkdir()
    (stage.out / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty and holds no stage"):
        map_shards(LOCAL, Hashes, {}, source, stage)
    assert [path.name for path in stage.out.iterdir()] == ["mine.txt"]


def test_two_writers_at_once_are_one_too_many(made):
    source, stage = made
    map_shards(LOCAL, Hashes, {}, source, stage)
    with held(stage.out), pytest.raises(InputError, match="another process is writing there"):
        map_shards(LOCAL, Hashes, {}, source, stage)


@pytest.mark.parametrize("damage", [b"", b"PAR1", None])
def test_a_damaged_shard_is_computed_again(made, undisturbed, damage):
    source, stage = made
    map_shards(LOCAL, Hashes, {}, source, stage)
    path = shard_path(stage.out, 3)
    path.write_bytes(damage) if damage is not None else path.unlink()
    assert map_shards(LOCAL, Hashes, {}, source, stage).kept == 9
    assert contents(stage.out) == undisturbed


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_cannot_start_says_why(made, workers):
    source, stage = made
    run = engine("local", workers=workers)
    with pytest.raises(InputError, match="embed: m.safetensors: no such file; check the path"):
        map_shards(run, Unwilling, InputError("m.safetensors: no such file", remedy="check the path"), source, stage)
    with pytest.raises(EotuneError, match=r"a worker cannot be started \(RuntimeError: no driver\)") as caught:
        map_shards(run, Unwilling, RuntimeError("no driver"), source, stage)
    assert not isinstance(caught.value, InputError)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (None, "returned None, not a table"),
        (pa.table({"x": [1]}), "not a table with an 'id' column"),
        (samples(3), "other ids than it was given"),
    ],
)
def test_a_wrong_worker_is_told_after_some_rows(made, answer, says):
    source, stage = made
    with pytest.raises(EotuneError, match=rf"embed: {HOPELESS} rows failed .*{says}"):
        map_shards(LOCAL, Careless, answer, source, stage)
    assert not shard_path(stage.out, 3).exists()


def test_errors_may_be_left_out_or_untyped(made):
    source, stage = made

    class Untyped(Careless):
        def __call__(self, table):
            return table if "s0000" in table["id"].to_pylist() else table.append_column("error", pa.nulls(len(table)))

    map_shards(LOCAL, Untyped, None, source, stage)
    assert list(row_failures(stage.out)) == []


def test_ctrl_c_keeps_what_is_finished(made, undisturbed, tmp_path):
    source, stage = made

    class Interrupted(Hashes):
        def __call__(self, table):
            if "s0045" in table["id"].to_pylist():
                raise KeyboardInterrupt
            return super().__call__(table)

    with pytest.raises(InterruptedRunError, match="embed: interrupted; its finished shards are kept"):
        map_shards(LOCAL, Interrupted, {}, source, stage)
    assert map_shards(LOCAL, Hashes, {}, source, stage).kept == 4
    assert contents(stage.out) == undisturbed


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_ends_the_stage_and_loses_nothing(made, undisturbed, monkeypatch, workers):
    source, stage = made
    whole = Path.write_bytes

    def half(self, data):
        if "shard-00004" not in self.name:
            return whole(self, data)
        whole(self, bytes(data)[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", half)
        with pytest.raises(OSError, match=r"No space left on device: '.*shard-00004.parquet'"):
            map_shards(engine("local", workers=workers), Hashes, {}, source, stage)
    assert not [path for path in stage.out.iterdir() if path.name.startswith(".shard")]
    assert map_shards(LOCAL, Hashes, {}, source, stage).kept >= 3
    assert contents(stage.out) == undisturbed


@pytest.mark.parametrize("workers", [1, 2])
def test_a_workers_full_disk_is_no_matter_of_rows(made, workers):
    source, stage = made
    with pytest.raises(OSError, match="No space left on device: '/scratch/cache'"):
        map_shards(engine("local", workers=workers), Hashes, {"full_disk_at": "s0045"}, source, stage)
    assert not shard_path(stage.out, 4).exists()


def test_a_stage_of_other_rows_is_taken_over_as_far_as_they_are_the_same(tmp_path):
    for name, second in (("a", 60), ("b", 90)):
        tables = [samples(60), samples(30, start=second)]
        write_rows(tables, Stage("samples", tmp_path / name / "samples"), rows_per_shard=30)
    made, wanted = (Stage("hashes", tmp_path / name / "hashes", {"size": 4}) for name in ("a", "b"))
    map_shards(LOCAL, Hashes, {}, tmp_path / "a" / "samples", made)
    assert not take_over(wanted, tmp_path / "nothing")
    assert not take_over(replace(wanted, settings={"size": 5}), made.out)
    assert not take_over(replace(wanted, name="other"), made.out)
    assert not wanted.out.exists()
    assert take_over(wanted, made.out)
    result = map_shards(LOCAL, Hashes, {}, tmp_path / "b" / "samples", wanted)
    assert (result.shards, result.kept) == (3, 2)
    fresh = replace(wanted, out=tmp_path / "fresh")
    map_shards(LOCAL, Hashes, {}, tmp_path / "b" / "samples", fresh)
    assert contents(wanted.out) == contents(fresh.out)
    assert not take_over(wanted, made.out)  # begun


def test_an_unfinished_stage_is_taken_over_too(tmp_path):
    write_rows([samples(90)], Stage("samples", tmp_path / "samples"), rows_per_shard=30)
    made = Stage("hashes", tmp_path / "a", {"size": 4})
    map_shards(LOCAL, Hashes, {}, tmp_path / "samples", made)
    shard_path(made.out, 1).unlink()
    wanted = replace(made, out=tmp_path / "b")
    assert take_over(wanted, made.out)
    assert map_shards(LOCAL, Hashes, {}, tmp_path / "samples", wanted).kept == 2
