import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stage_workers import samples

from eotune.core.errors import InputError
from eotune.core.files import write_json
from eotune.engines.shards import (
    RowFailure,
    fingerprint,
    read_columns,
    read_shard,
    row_failures,
    shard_info,
    shard_path,
    shard_paths,
    write_shard,
)


def stage(folder, *tables, shards=None):
    for index, table in enumerate(tables):
        write_shard(shard_path(folder, index), table, fingerprint="f")
    write_json(folder / "stage.json", {"name": "s", "settings": {}, "shards": shards or len(tables)})
    return folder


def partly_failed():
    return pa.table({"id": ["a", "b"], "score": [None, 2.0], "error": pa.array(["no image", None])})


def test_what_is_written_is_read(tmp_path):
    table = samples(7)
    assert write_shard(tmp_path / "s.parquet", table, fingerprint="f", source="d")
    assert read_shard(tmp_path / "s.parquet").equals(table)
    info = shard_info(tmp_path / "s.parquet")
    assert (info.rows, info.failed, info.fingerprint, info.source) == (7, 0, "f", "d")
    assert pq.read_table(tmp_path / "s.parquet").column_names == ["id", "text"]  # any reader of Parquet can


def test_equal_rows_give_equal_bytes_however_they_were_cut(tmp_path):
    whole = samples(50)
    in_parts = pa.concat_tables([samples(50).slice(10, 20), samples(50).slice(30)])
    write_shard(tmp_path / "a.parquet", whole.slice(10), fingerprint="f")
    write_shard(tmp_path / "b.parquet", in_parts, fingerprint="f")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_the_digest_is_that_of_the_rows_alone(tmp_path):
    def digest(table, **made):
        write_shard(tmp_path / "s.parquet", table, **{"fingerprint": "f", **made})
        return shard_info(tmp_path / "s.parquet").digest

    same = {digest(samples(5)), digest(samples(5), fingerprint="other"), digest(samples(5), source="other")}
    renamed = samples(5).rename_columns(["id", "words"])
    assert len(same) == 1
    assert len({*same, digest(samples(5, start=1)), digest(renamed), digest(samples(4))}) == 4


def test_a_shard_that_is_there_is_not_written_again(tmp_path):
    path = tmp_path / "s.parquet"
    write_shard(path, samples(5), fingerprint="f")
    before = path.stat().st_ino
    assert not write_shard(path, samples(5), fingerprint="f")
    assert path.stat().st_ino == before
    assert write_shard(path, samples(5), fingerprint="g")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"x" * 40 + b"PAR1"])
def test_damaged_and_foreign_files_are_no_shards(tmp_path, content):
    (tmp_path / "s.parquet").write_bytes(content)
    pq.write_table(samples(3), tmp_path / "foreign.parquet")
    assert shard_info(tmp_path / "s.parquet") is None
    assert shard_info(tmp_path / "foreign.parquet") is None
    with pytest.raises(InputError, match="cannot be read"):
        read_shard(tmp_path / "s.parquet")


def test_columns_are_streamed_without_the_rows_that_failed(tmp_path):
    rows = pa.table({"id": ["c"], "score": [3.0], "error": pa.nulls(1, pa.string())})
    lost = pa.table({"id": ["d"], "error": ["killed"]})  # whole shards that failed know no other columns
    folder = stage(tmp_path, partly_failed(), lost, rows)
    tables = list(read_columns(folder, ["score", "id"]))
    assert [table.to_pylist() for table in tables] == [[{"score": 2.0, "id": "b"}], [{"score": 3.0, "id": "c"}]]
    assert list(row_failures(folder)) == [RowFailure("a", "no image"), RowFailure("d", "killed")]


def test_an_unknown_column_is_named_with_those_there_are(tmp_path):
    with pytest.raises(InputError, match="no column 'scor'; it has id, score, error"):
        list(read_columns(stage(tmp_path, partly_failed()), ["scor"]))


def test_only_finished_stages_are_read(tmp_path):
    with pytest.raises(InputError, match="holds no stage"):
        shard_paths(tmp_path)
    with pytest.raises(InputError, match="not finished"):
        shard_paths(stage(tmp_path, samples(3), shards=2))
    write_json(tmp_path / "stage.json", {"shards": None})
    with pytest.raises(InputError, match="not finished"):
        list(read_columns(tmp_path, ["id"]))


def test_fingerprints_tell_values_apart_and_not_their_order():
    values = [{"a": 1}, {"a": 1.5}, {"a": "1"}, {"a": None}, {}, {"a": [1]}]
    assert len({fingerprint(value) for value in values}) == len(values)
    assert fingerprint({"a": {"b": 1, "c": 2}}) == fingerprint({"a": {"c": 2, "b": 1}})
