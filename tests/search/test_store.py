import multiprocessing

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eotune.core.errors import InputError
from eotune.search import segments, store
from eotune.search.store import SOURCES, Manifest, Snapshot, read_manifest, writing
from eotune.search.tiles import TileConfig

DIM = 4


def begun():
    return Manifest(folder="/archive", encoder="tiny", fingerprint="f", dim=DIM, tiles=TileConfig())


def rows(paths, value):
    n = len(paths)
    columns = {"path": paths, **{name: [0] * n for name in ("column", "row", "width", "height")}}
    columns |= {name: [float(value)] * n for name in ("west", "south", "east", "north")}
    columns |= {"time": pa.nulls(n, pa.timestamp("us", "UTC")), "geometry": pa.nulls(n, pa.binary())}
    return pa.table(columns), np.full((n, DIM), value, np.float16)


def sources(paths):
    return pa.table({"path": paths, "size": [0] * len(paths), "modified": [0] * len(paths), "tiles": [1] * len(paths)})


def commit(folder, drop, added):
    with writing(folder) as writer:
        if writer.manifest is None:
            writer.begin(begun())
        paths = sorted({path for table, _ in added for path in table["path"].to_pylist()})
        writer.commit(drop, added, sources(paths).cast(SOURCES))


def content(snapshot):
    return [
        (key, path, float(vector[0]))
        for segment in snapshot.rows.segments
        for key, path, vector in zip(
            segment.column("id").to_pylist(), segment.column("path").to_pylist(), segment.vectors, strict=True
        )
    ]


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(segments, "SEGMENT_ROWS", 6)
    monkeypatch.setattr(segments, "_GROUP", 2)


def test_any_changes_equal_a_list_of_rows(tmp_path, small):
    random = np.random.default_rng(0)
    expected, following = [], 0
    for step in range(25):
        drop = {f"{number}" for number in random.integers(0, 12, 2)} if step else set()
        added = [
            rows([f"{number}" for number in random.integers(0, 12, random.integers(0, 9))], step) for _ in range(2)
        ]
        commit(tmp_path / "index", drop, added)
        expected = [row for row in expected if row[1] not in drop]
        for table, _ in added:
            expected += [(following + n, path, float(step)) for n, path in enumerate(table["path"].to_pylist())]
            following += len(table)
        snapshot = Snapshot(tmp_path / "index")
        assert content(snapshot) == expected
        # No more files than the manifest names, and few small segments.
        names = {info.name for info in snapshot.manifest.segments}
        assert {path.stem for path in (tmp_path / "index/segments").iterdir()} == names
        assert len(names) <= 2 * len(expected) / 3 + 1


def test_rows_by_number(tmp_path, small):
    commit(tmp_path / "index", set(), [rows(list("abcde"), 1)])
    (segment,) = Snapshot(tmp_path / "index").rows.segments
    assert [tile["path"] for tile in segment.tiles([4, 0, 3])] == ["e", "a", "d"]


def test_a_reader_keeps_the_index_it_opened(tmp_path, small):
    commit(tmp_path / "index", set(), [rows(list("abc"), 1)])
    before = Snapshot(tmp_path / "index")
    commit(tmp_path / "index", {"a", "b", "c"}, [rows(list("xy"), 2)])
    assert content(before) == [(0, "a", 1.0), (1, "b", 1.0), (2, "c", 1.0)]
    assert before.rows.segments[0].tiles([2])[0]["path"] == "c"
    assert content(Snapshot(tmp_path / "index")) == [(3, "x", 2.0), (4, "y", 2.0)]


def test_a_reader_that_comes_between_takes_the_newer_index(tmp_path, small, monkeypatch):
    commit(tmp_path / "index", set(), [rows(list("abc"), 1)])
    old = read_manifest(tmp_path / "index")
    commit(tmp_path / "index", {"a"}, [])
    answers = iter([old])
    monkeypatch.setattr(store, "read_manifest", lambda folder: next(answers, None) or read_manifest(folder))
    assert [path for _, path, _ in content(Snapshot(tmp_path / "index"))] == ["b", "c"]


@pytest.mark.parametrize("name", ["index.json", "sources-000002.parquet", "000002-0000.f16", "000002-0000.parquet"])
def test_a_commit_that_fails_leaves_the_old_index(tmp_path, small, monkeypatch, name):
    commit(tmp_path / "index", set(), [rows(list("abc"), 1)])
    real = store.replaced

    def full(path):
        if path.name == name:
            raise OSError(28, "No space left on device", str(path))
        return real(path)

    with monkeypatch.context() as patched:
        patched.setattr(store, "replaced", full)
        patched.setattr(segments, "replaced", full)
        patched.setattr("eotune.core.files.replaced", full)
        with pytest.raises(OSError, match="No space"):
            commit(tmp_path / "index", {"a"}, [rows(list("d"), 2)])
    assert [path for _, path, _ in content(Snapshot(tmp_path / "index"))] == list("abc")
    commit(tmp_path / "index", {"a"}, [rows(list("d"), 2)])
    assert [path for _, path, _ in content(Snapshot(tmp_path / "index"))] == list("bcd")
    assert (
        len([path for path in (tmp_path / "index").rglob("*") if path.is_file()]) == 5
    )  # lock, manifest, sources, one segment's two files


def _second(folder, answers):
    try:
        with writing(folder):
            answers.put("in")
    except InputError as error:
        answers.put(str(error))


def test_the_second_writer_is_refused(tmp_path):
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    with writing(tmp_path / "index"):
        process = context.Process(target=_second, args=(tmp_path / "index", answers))
        process.start()
        assert "another process is writing there" in answers.get(timeout=100)
        process.join()


def test_what_is_no_index_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="holds no index"), writing(tmp_path):
        pass
    with pytest.raises(InputError, match="holds no index"):
        Snapshot(tmp_path)
    with writing(tmp_path / "index") as writer:
        writer.begin(begun())
    with pytest.raises(InputError, match="not finished"):
        Snapshot(tmp_path / "index")
    (tmp_path / "index" / "index.json").write_text('{"format": 99}')
    with pytest.raises(InputError, match="format 1"):
        Snapshot(tmp_path / "index")


def test_damaged_segments_are_named(tmp_path):
    commit(tmp_path / "index", set(), [rows(list("abc"), 1)])
    path = next((tmp_path / "index/segments").glob("*.f16"))
    path.write_bytes(b"short")
    with pytest.raises(InputError, match="damaged"):
        Snapshot(tmp_path / "index")
    path.unlink()
    with pytest.raises(InputError, match="damaged"):
        Snapshot(tmp_path / "index")


def test_segments_are_geoparquet(tmp_path):
    commit(tmp_path / "index", set(), [rows(list("abc"), 1)])
    metadata = pq.read_metadata(next((tmp_path / "index/segments").glob("*.parquet"))).metadata
    assert b'"primary_column": "geometry"' in metadata[b"geo"]
