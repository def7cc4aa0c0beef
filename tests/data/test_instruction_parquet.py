import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eotune.core.errors import InputError
from eotune.data.instruction_parquet import copy_rows, count_rows, parquet_files, parquet_rows


@pytest.fixture
def table():
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [
            pa.field("id", pa.dictionary(pa.int32(), pa.string())),
            pa.field("image", image),
            pa.field("captions", pa.large_list(pa.string()), metadata={"about": "captions"}),
            pa.field("when", pa.timestamp("ms", tz="UTC")),
        ],
        metadata={"huggingface": '{"info": {}}'},
    )
    rows = [
        {"id": f"r{n}", "image": {"bytes": b"\x89", "path": f"{n}.png"}, "captions": ["a", "b", f"{n}"], "when": n}
        for n in range(10)
    ]
    rows[4]["image"] = None
    return pa.Table.from_pylist(rows, schema)


@pytest.fixture
def file(tmp_path, table):
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=3, compression={"id": "zstd", "when": "none"})
    return tmp_path / "a.parquet"


def test_rows_of_a_folder_in_the_order_of_the_names(tmp_path, file, table):
    pq.write_table(table.slice(0, 1), tmp_path / "0.parquet")
    (tmp_path / ".hidden.parquet").touch()
    assert [one.name for one in parquet_files(tmp_path)] == ["0.parquet", "a.parquet"]
    assert count_rows(tmp_path) == 11
    found = list(parquet_rows(tmp_path, ["id", "image", "nothing"]))
    assert [row["id"] for row in found] == ["r0", *(f"r{n}" for n in range(10))]
    assert found[1]["image"] == {"bytes": b"\x89", "path": "0.png"}
    assert set(found[5]) == {"id"}  # a null is a key that is absent


@pytest.mark.parametrize("kept", [set(), {0}, {1, 2, 5, 9}, {3, 4, 5}, set(range(10))])
def test_copied_rows_equal_those_of_the_table(tmp_path, file, table, kept):
    numbers = iter(range(10))
    copy_rows(file, tmp_path / "b.parquet", lambda row: {} if next(numbers) in kept else None, ())
    found = pq.read_table(tmp_path / "b.parquet")
    assert found.schema.equals(pq.read_schema(file), check_metadata=True)
    assert found.to_pylist() == [row for n, row in enumerate(table.to_pylist()) if n in kept]
    for group in range(pq.ParquetFile(tmp_path / "b.parquet").num_row_groups):
        columns = pq.ParquetFile(tmp_path / "b.parquet").metadata.row_group(group)
        codecs = {columns.column(at).path_in_schema: columns.column(at).compression for at in range(5)}
        assert (codecs["id"], codecs["when"]) == ("ZSTD", "UNCOMPRESSED")


def test_lists_named_as_older_files_name_them_stay_compressed(tmp_path, table):
    file = tmp_path / "a.parquet"
    pq.write_table(table, file, compression="zstd", use_compliant_nested_type=False)
    copy_rows(file, tmp_path / "b.parquet", lambda _: {}, [])
    layouts = []
    for one in (file, tmp_path / "b.parquet"):
        columns = pq.ParquetFile(one).metadata.row_group(0)
        every = (columns.column(at) for at in range(columns.num_columns))
        layouts.append([(column.path_in_schema, column.compression) for column in every])
    assert layouts[0] == layouts[1]
    assert {codec for _, codec in layouts[0]} == {"ZSTD"}


def test_a_column_of_some_rows_is_changed(tmp_path, file, table):
    changes = {"r1": {"captions": ["b"]}, "r2": {}, "r7": {"captions": []}}
    copy_rows(file, tmp_path / "b.parquet", lambda row: changes.get(row["id"]), ["id", "captions"])
    found = pq.read_table(tmp_path / "b.parquet")
    assert found.schema.equals(pq.read_schema(file), check_metadata=True)
    assert found["captions"].to_pylist() == [["b"], ["a", "b", "2"], []]
    assert found.drop_columns("captions").equals(pq.read_table(file).take([1, 2, 7]).drop_columns("captions"))


def test_a_file_without_rows(tmp_path, table):
    pq.write_table(table.slice(0, 0), tmp_path / "a.parquet")
    copy_rows(tmp_path / "a.parquet", tmp_path / "b.parquet", lambda row: {}, ())
    assert pq.read_schema(tmp_path / "b.parquet").equals(pq.read_schema(tmp_path / "a.parquet"), check_metadata=True)
    assert list(parquet_rows(tmp_path / "b.parquet", ["id"])) == []


def test_damage_is_named_with_its_row_group(tmp_path, file):
    data = bytearray(file.read_bytes())
    start = pq.ParquetFile(file).metadata.row_group(1).column(0).dictionary_page_offset
    data[start : start + 40] = bytes(40)
    file.write_bytes(data)
    for read in (
        lambda: list(parquet_rows(file, ["id"])),
        lambda: copy_rows(file, tmp_path / "b.parquet", lambda row: {}, ()),
    ):
        with pytest.raises(InputError, match=r"a.parquet: cannot be read as Parquet \(row group 1\)"):
            read()


def test_files_that_are_cut_or_not_there(tmp_path, file):
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        count_rows(file)
    with pytest.raises(InputError, match="no such file"):
        count_rows(tmp_path / "gone.parquet")
    file.unlink()
    with pytest.raises(InputError, match=r"no .parquet file in it"):
        parquet_files(tmp_path)
