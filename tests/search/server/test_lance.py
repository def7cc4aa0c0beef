"""A server of an index in LanceDB answers as one of the same archive in the exact store."""

import pytest

from eotune.search.index import Index
from eotune.search.tiles import TileConfig

pytest.importorskip("lancedb", reason="needs the lance extra")


@pytest.fixture(scope="module")
def both(places, client, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lance") / "index"
    Index.build(places.parent / "archive", folder, encoder="tiny", tiles=TileConfig(size=48), store="lance")
    return client(), client(folder)


def _same(first, second):
    first, second = first.json()["hits"], second.json()["hits"]
    assert len(first) > 1
    assert [hit.pop("score") for hit in first] == pytest.approx([hit.pop("score") for hit in second], abs=1e-3)
    assert first == second


def test_words_boxes_and_dates(both):
    asked = {"text": "red roofs", "k": 3, "bbox": [10, 40, 20, 50], "since": "2024-01-31"}
    _same(*(one.post("/api/search", json=asked) for one in both))


def test_more_like_this(both):
    _same(*(one.post("/api/search", json={"like": 2, "k": 5}) for one in both))


def test_what_it_holds_and_shows(both):
    for path in ("/api/index", "/api/tile/2"):
        answers = [one.get(path) for one in both]
        assert answers[0].status_code == 200
        assert answers[0].json() == answers[1].json()
    first, second = (one.get("/api/thumbnail/2").content for one in both)
    assert first == second
