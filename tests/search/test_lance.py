import fnmatch
import shutil

import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from eotune.core.errors import InputError
from eotune.search import lance
from eotune.search.filters import Filter, bounds, make_filter
from eotune.search.index import Index
from eotune.search.store import SOURCES, Manifest, Snapshot, table_of, writing
from eotune.search.tiles import TileConfig

pytest.importorskip("lancedb", reason="needs the lance extra")

DIM, N = 16, 3000
FILTERS = [
    None, make_filter("0,-40,90,40"), make_filter("170,-60,-170,60"), make_filter(since="2020-03-01"),
    make_filter(until="2020-01-31", path="19/*"), make_filter("-180,-90,180,90", since="2020-01-05"),
    make_filter(path="1[0-4]/it's_?*.tif"), make_filter("179.5,-90,-179.5,90"), make_filter("3,3,3,3"),
]  # fmt: skip


def unit(random, n):
    values = random.normal(size=(n, DIM))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float16)


def rows(n, seed=0):
    """Tiles anywhere, some across the antimeridian, of diamond shape, some without position or time."""
    random = np.random.default_rng(seed)
    values = []
    for number in range(n):
        x, y = random.uniform(-179, 179), random.uniform(-80, 80)
        area = shapely.Polygon([(x - 1, y), (x, y - 1), (x + 1, y), (x, y + 1)])
        if number % 10 == 1:
            area = shapely.MultiPolygon([shapely.box(179, y, 180, y + 1), shapely.box(-180, y, -178, y + 1)])
        area = None if number % 7 == 0 else area
        west, south, east, north = bounds(area)
        values.append(
            {"path": f"{number % 20}/it's_{number // 2}.tif", "column": number % 2, "row": 0, "width": 9, "height": 9,
             "west": west, "south": south, "east": east, "north": north,
             "time": None if number % 5 == 0 else (1_577_836_800 + number * 3600) * 10**6,
             "geometry": None if area is None else shapely.to_wkb(area)}
        )  # fmt: skip
    table = pa.Table.from_pylist(values, schema=pa.schema([field for field in lance.COLUMNS if field.name != "id"]))
    return table, unit(random, n)


def commit(folder, store, drop, added):
    with writing(folder) as writer:
        if writer.manifest is None:
            writer.begin(
                Manifest(folder="/a", encoder="e", fingerprint="f", dim=DIM, tiles=TileConfig(), table=table_of(store))
            )
        writer.commit(drop, added, SOURCES.empty_table())
        return writer.manifest


def answer(snapshot, query, k=10, where=None, minimum=-1.0):
    return [(row["id"], score) for row, score in snapshot.rows.nearest(query, k, minimum=minimum, where=where)]


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """The same rows in both stores, after a deletion and an addition."""
    folder = tmp_path_factory.mktemp("stores")
    for store in ("exact", "lance"):
        commit(folder / store, store, set(), [rows(N // 2), rows(N // 2, 1)])
        commit(folder / store, store, {"4/it's_2.tif", "no such"}, [rows(50, 2)])
    return Snapshot(folder / "exact"), Snapshot(folder / "lance")


@pytest.mark.parametrize("where", FILTERS)
def test_both_stores_give_the_same_answers(stores, where):
    exact, other = stores
    assert len(exact) == len(other) == exact.manifest.rows == other.manifest.rows
    random = np.random.default_rng(9)
    for query in unit(random, 4).astype(np.float32):
        expected, found = answer(exact, query, where=where), answer(other, query, where=where)
        assert [tile for tile, _ in found] == [tile for tile, _ in expected]
        np.testing.assert_allclose([score for _, score in found], [score for _, score in expected], atol=1e-6)
        least = expected[4][1] if len(expected) > 4 else 2.0
        assert len(answer(other, query, where=where, minimum=least)) == (5 if len(expected) > 4 else 0)


def test_rows_and_columns_are_the_same(stores):
    exact, other = stores
    for tile in (0, N + 49):
        (row, vector), (expected, wanted) = other.rows.tile(tile), exact.rows.tile(tile)
        assert row == expected
        np.testing.assert_array_equal(vector, wanted)
    assert other.rows.tile(4) is exact.rows.tile(4) is None
    names = ["id", "west", "time"]
    columns = [one.rows.columns(names).sort_by("id").combine_chunks() for one in stores]
    assert columns[0].equals(columns[1])


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    """A table with a vector index, and rows that came after it."""
    folder = tmp_path_factory.mktemp("indexed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lance, "INDEXED_FROM", 1000)
        patch.setattr(lance, "_PARTITION", 100)
        commit(folder / "lance", "lance", set(), [rows(N)])
        manifest = commit(folder / "lance", "lance", {"4/it's_2.tif"}, [rows(50, 2)])
    commit(folder / "exact", "exact", set(), [rows(N)])
    commit(folder / "exact", "exact", {"4/it's_2.tif"}, [rows(50, 2)])
    assert manifest.table.indexed == N
    return Snapshot(folder / "exact"), Snapshot(folder / "lance")


@pytest.mark.parametrize("where", FILTERS)
def test_recall_with_a_vector_index_and_filters(indexed, monkeypatch, where):
    monkeypatch.setattr(lance, "SCANNED", 20)
    exact, other = indexed
    hit, wanted = 0, 0
    for query in unit(np.random.default_rng(3), 20).astype(np.float32):
        expected, found = dict(answer(exact, query, where=where)), dict(answer(other, query, where=where))
        assert len(found) == len(expected)
        for tile in found.keys() & expected.keys():
            assert found[tile] == pytest.approx(expected[tile], abs=1e-6)
        hit, wanted = hit + len(found.keys() & expected.keys()), wanted + len(expected)
    assert hit >= 0.95 * wanted


def test_a_reader_keeps_the_version_it_opened_and_a_torn_commit_leaves_no_trace(tmp_path):
    commit(tmp_path / "index", "lance", set(), [rows(10)])
    before = Snapshot(tmp_path / "index")

    def torn():
        yield rows(5, 1)
        raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, OSError)):
        commit(tmp_path / "index", "lance", {"1/it's_0.tif"}, torn())
    assert len(Snapshot(tmp_path / "index").rows.columns(["id"])) == 10
    commit(tmp_path / "index", "lance", {"1/it's_0.tif"}, [rows(5, 1)])
    assert before.rows.columns(["id"])["id"].to_pylist() == list(range(10))
    after = Snapshot(tmp_path / "index").rows.columns(["id"])["id"].to_pylist()
    assert sorted(after) == [0, *range(2, 15)]


def test_everything_can_go_and_come_again(tmp_path):
    query = np.full(DIM, 0.25, np.float32)
    commit(tmp_path / "index", "lance", set(), [])
    assert answer(Snapshot(tmp_path / "index"), query) == []
    commit(tmp_path / "index", "lance", set(), [rows(3)])
    commit(tmp_path / "index", "lance", set(rows(3)[0]["path"].to_pylist()), [])
    assert answer(Snapshot(tmp_path / "index"), query, where=Filter(path="*")) == []
    commit(tmp_path / "index", "lance", set(), [rows(3)])
    assert sorted(tile for tile, _ in answer(Snapshot(tmp_path / "index"), query)) == [3, 4, 5]


def test_a_database_of_several_indexes_by_url(tmp_path):
    url = f"file://{tmp_path}/database"
    for name, seed in (("one", 1), ("two", 2)):
        commit(tmp_path / name, url, set(), [rows(20, seed)])
    for name, seed in (("one", 1), ("two", 2)):
        vectors = rows(20, seed)[1].astype(np.float32)
        ((tile, score),) = answer(Snapshot(tmp_path / name), vectors[7], k=1)
        assert tile == 7
        assert score == pytest.approx(1, abs=2e-3)
        assert not (tmp_path / name / "lance").exists()


def test_a_table_that_is_gone_is_named(tmp_path):
    commit(tmp_path / "index", "lance", set(), [rows(3)])
    shutil.rmtree(tmp_path / "index/lance")
    with pytest.raises(InputError, match="damaged"):
        Snapshot(tmp_path / "index")


@settings(deadline=None, max_examples=300)
@given(st.text("ab*?[]!-%_\\'/", max_size=8), st.text("ab[]!-%_\\'/", max_size=8))
def test_like_lets_through_what_fnmatch_does(pattern, path):
    import pyarrow.compute as pc

    if fnmatch.fnmatchcase(path, pattern):
        assert pc.match_like(pa.array([path]), lance._like(pattern)).to_pylist() == [True]


def test_an_archive_in_lancedb_is_built_and_brought_up_to_date(archive, tmp_path):
    tiles = TileConfig(size=48)
    for store in ("exact", "lance"):
        summary = Index.build(archive, tmp_path / store, encoder="tiny", tiles=tiles, store=store)
        assert summary["tiles"] == summary["added"] > 0
    with pytest.raises(InputError, match="other settings"):
        Index.build(archive, tmp_path / "lance", encoder="tiny", tiles=tiles, store="exact")
    (archive / "plain/red.png").unlink()
    indexes = [Index.open(tmp_path / store) for store in ("exact", "lance")]
    for where in (None, make_filter("179,-20,-179,-10"), make_filter(since="2024-01-31", path="utm*")):
        expected, found = (index.search("a river", k=5, where=where) for index in indexes)
        assert [hit.id for hit in found] == [hit.id for hit in expected]
        assert all(a.footprint == b.footprint and a.time == b.time for a, b in zip(found, expected, strict=True))
    assert indexes[0].extent() == indexes[1].extent()
    count = len(indexes[1])
    assert indexes[1].update()["tiles"] == len(indexes[1]) == count - 1
    assert indexes[1].delete("plain/*") == 2
    assert not [hit for hit in indexes[1].search("a river", k=100) if hit.path.startswith("plain")]


@pytest.mark.parametrize(("store", "message"), [("lanse", "did you mean 'lance'"), ("", "unknown store")])
def test_other_stores_are_refused(archive, tmp_path, store, message):
    with pytest.raises(InputError, match=message):
        Index.build(archive, tmp_path / "index", encoder="tiny", store=store)
    assert not (tmp_path / "index").exists()
