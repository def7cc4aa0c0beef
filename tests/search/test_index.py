import os
import shutil

import numpy as np
import pytest
from PIL import Image
from shapely import box

from eotune import encoders
from eotune.core.errors import InputError
from eotune.data.images import read_image
from eotune.engines.shards import shard_paths
from eotune.search import build as build_module
from eotune.search.build import Speed
from eotune.search.filters import make_filter
from eotune.search.index import Index
from eotune.search.store import Snapshot
from eotune.search.tiles import TileConfig, find_tiles

TILES = TileConfig(size=48)


def build(archive, out, **options):
    return Index.build(archive, out, encoder="tiny", tiles=TILES, **options)


def content(folder):
    """Path, window and vector of every tile."""
    return {
        (row["path"], row["column"], row["row"]): vector.tobytes()
        for segment in Snapshot(folder).rows.segments
        for row, vector in zip(segment.tiles(range(segment.rows)), segment.vectors, strict=True)
    }


def same(found, expected):
    """Vectors depend in the last bit on what else was in their batch."""
    assert found.keys() == expected.keys()
    for key, vector in expected.items():
        np.testing.assert_allclose(np.frombuffer(found[key], np.float16), np.frombuffer(vector, np.float16), atol=2e-3)


@pytest.fixture(scope="module")
def tiny():
    return encoders.load("tiny")


@pytest.fixture
def index(archive, tmp_path):
    build(archive, tmp_path / "index")
    return Index.open(tmp_path / "index")


def test_every_tile_is_there_with_its_vector(archive, index, tiny):
    utm = archive / "utm_20240131.tif"
    expected = {("utm_20240131.tif", *tile.window[:2]) for tile in find_tiles(utm, TILES)}
    expected |= {("fiji_20200101.tif", 0, 0)} | {(f"plain/{name}.png", 0, 0) for name in ("red", "green", "blue")}
    stored = content(index.folder)
    assert stored.keys() == expected
    assert len(index) == len(expected)
    crop = read_image(utm)[0:48, 48:96]
    vector = np.frombuffer(stored["utm_20240131.tif", 48, 0], np.float16)
    np.testing.assert_allclose(vector, tiny.embed_images([crop])[0], atol=1e-3)


def test_answers_equal_a_plain_product(archive, index, tiny):
    vectors = {key: np.frombuffer(value, np.float16).astype(np.float32) for key, value in content(index.folder).items()}
    queries = {"text": tiny.embed_texts(["a storage tank"])[0],
               "image": tiny.embed_images([read_image(archive / "plain/green.png")])[0]}  # fmt: skip
    asked = {"text": {"text": "a storage tank"}, "image": {"image": archive / "plain/green.png"}}
    for kind, query in queries.items():
        expected = sorted((float(vector @ query) for vector in vectors.values()), reverse=True)
        hits = index.search(**asked[kind], k=5)
        np.testing.assert_allclose([hit.score for hit in hits], expected[:5], atol=1e-5)
        for hit in hits:
            assert hit.score == pytest.approx(float(vectors[hit.path, *hit.window[:2]] @ query), abs=1e-5)
    assert index.search(image=archive / "plain/green.png", k=1)[0].path == "plain/green.png"


def test_text_and_image_together_seek_the_mean_direction(archive, index, tiny):
    image = read_image(archive / "plain/red.png")
    both = tiny.embed_texts(["a river"])[0] + tiny.embed_images([image])[0]
    (hit,) = index.search("a river", image=image, k=1)
    stored = np.frombuffer(content(index.folder)[hit.path, *hit.window[:2]], np.float16).astype(np.float32)
    assert hit.score == pytest.approx(float(stored @ both / np.linalg.norm(both)), abs=1e-4)


def test_more_like_this_leaves_itself_out(index):
    (first,) = index.search("a river", k=1)
    hits = index.search(like=first.id, k=100)
    assert len(hits) == len(index) - 1
    assert first.id not in {hit.id for hit in hits}


def test_filters(index):
    west, south, east, north = 15.0, 45.1, 15.005, 45.15  # of the UTM raster, its western side
    found = index.search("a river", k=100, where=make_filter((west, south, east, north)))
    everything = index.search("a river", k=100)
    placed = [hit for hit in everything if hit.footprint is not None]
    expected = {hit.id for hit in placed if hit.footprint.intersects(box(west, south, east, north))}
    assert {hit.id for hit in found} == expected
    assert 0 < len(expected) < len(placed)
    assert [hit.path for hit in index.search("x", where=make_filter("179,-20,-179,-10"))] == ["fiji_20200101.tif"]
    assert index.search("x", where=make_filter("0,-20,10,-10")) == []
    assert {hit.path for hit in index.search("x", where=make_filter(since="2024-01-31"), k=50)} == {"utm_20240131.tif"}
    assert {hit.path for hit in index.search("x", where=make_filter(until="2024-01-30"), k=50)} == {"fiji_20200101.tif"}
    assert {hit.path for hit in index.search("x", where=make_filter(until="2024-01-31", since="2024-01-31"))} == {
        "utm_20240131.tif"
    }
    assert {hit.path for hit in index.search("x", where=make_filter(path="plain/*e*.png"))} == {
        f"plain/{name}.png" for name in ("red", "green", "blue")
    }
    best = everything[2].score
    assert [hit.score for hit in index.search("a river", minimum=best, k=100)] == [hit.score for hit in everything[:3]]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({}, "nothing is asked for"),
        ({"text": " "}, "text is empty"),
        ({"text": "x", "k": 0}, "k=0"),
        ({"like": 10**9}, "no tile"),
    ],
)
def test_questions_without_meaning(index, query, message):
    with pytest.raises(InputError, match=message):
        index.search(**query)


def test_an_update_equals_a_build_from_nothing(archive, index, tmp_path, monkeypatch):
    (archive / "plain/red.png").unlink()
    Image.new("RGB", (48, 48), (9, 9, 9)).save(archive / "plain/green.png")
    Image.new("RGB", (60, 48), (90, 90, 9)).save(archive / "plain/new.png")
    ids = {hit.path: hit.id for hit in index.search("x", k=100)}
    opened = []
    monkeypatch.setattr(
        build_module, "find_tiles", lambda path, config: opened.append(path.name) or find_tiles(path, config)
    )
    summary = index.update()
    assert sorted(opened) == ["green.png", "new.png"]  # nothing else is read again
    assert (summary["added"], summary["failed"]) == (3, 0)
    build(archive, tmp_path / "fresh")
    same(content(index.folder), content(tmp_path / "fresh"))
    after = {hit.path: hit.id for hit in index.search("x", k=100)}
    assert after["plain/blue.png"] == ids["plain/blue.png"]
    assert index.update()["added"] == 0


def test_deleted_images_come_back_with_an_update(index):
    before = content(index.folder)
    assert index.delete("plain/*") == 3
    assert not index.search("x", where=make_filter(path="plain/*"))
    assert index.update()["added"] == 3
    same(content(index.folder), before)


def test_a_moved_archive_is_not_embedded_again(archive, index, tmp_path):
    shutil.move(archive, tmp_path / "elsewhere")
    assert build(tmp_path / "elsewhere", index.folder)["added"] == 0
    assert Index.open(index.folder).manifest.folder == str(tmp_path / "elsewhere")


def test_images_that_cannot_be_read_are_named_and_tried_again(archive, tmp_path):
    (archive / "broken.tif").write_bytes(b"II*\0 no raster")
    (archive / "broken.png").write_bytes(b"\x89PNG no picture")
    os.utime(archive / "broken.png", (0, 0))
    (archive / "gone.png").symlink_to("nowhere.png")
    summary = build(archive, tmp_path / "index")
    assert {one["id"] for one in summary["failures"]} == {"broken.tif", "broken.png", "gone.png"}
    assert build(archive, tmp_path / "index")["failed"] == 3
    (archive / "gone.png").unlink()
    Image.new("RGB", (48, 48)).save(archive / "broken.png")
    (archive / "broken.tif").unlink()
    summary = build(archive, tmp_path / "index")
    assert (summary["failed"], summary["added"]) == (0, 1)


def test_an_interrupted_build_goes_on(archive, tmp_path, monkeypatch):
    real = build_module.EmbedTiles.__call__
    calls = []

    def interrupted(self, table):
        calls.append(len(table))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, table)

    monkeypatch.setattr(build_module.EmbedTiles, "__call__", interrupted)
    with pytest.raises(Exception, match="interrupted"):
        build(archive, tmp_path / "index", speed=Speed(shard_size=4))
    with pytest.raises(InputError, match="not finished"):
        Index.open(tmp_path / "index")
    with pytest.raises(InputError, match="--resume"):
        build(archive, tmp_path / "index")
    del calls[:]
    calls += [0] * 10
    build(archive, tmp_path / "index", speed=Speed(shard_size=4), resume=True)
    monkeypatch.undo()
    build(archive, tmp_path / "undisturbed", speed=Speed(shard_size=4))
    assert content(tmp_path / "index") == content(tmp_path / "undisturbed")
    with pytest.raises(InputError, match="holds no stage"):
        shard_paths(tmp_path / "index/work/tiles")


def test_another_encoder_is_refused(archive, index, monkeypatch):
    with pytest.raises(InputError, match=r"other settings \(tiles.size: \d+, now 64\)"):
        Index.build(archive, index.folder, encoder="tiny", tiles=TileConfig(size=64))
    monkeypatch.setattr(encoders.base.Encoder, "fingerprint", lambda self: "another")
    with pytest.raises(InputError, match="fingerprint"):
        Index.open(index.folder).search("x")
    with pytest.raises(InputError, match="other settings"):
        build(archive, index.folder)


def test_a_tile_by_its_id_and_the_extent_of_all(index):
    hit = index.search("a storage tank", k=1)[0]
    found = index.tile(hit.id)
    assert (found.path, found.window, found.time) == (hit.path, hit.window, hit.time)
    extent = index.extent()
    assert (extent.images, extent.tiles) == (5, len(index))
    assert str(extent.first)[:10] == "2020-01-01"
    assert str(extent.last)[:10] == "2024-01-31"
    west, south, east, north = extent.bounds
    assert 14.9 < west < 15.1  # from the UTM raster eastwards to the one across the antimeridian
    assert east == -180
    assert south < -17
    assert north > 45
    with pytest.raises(InputError, match="has no tile 999"):
        index.tile(999)


def test_an_encoder_may_be_called_otherwise_now(index):
    assert Index.open(index.folder, encoder="tiny").encoder.dim == index.manifest.dim
    with pytest.raises(InputError, match="nosuch"):
        Index.open(index.folder, encoder="nosuch").encoder  # noqa: B018
