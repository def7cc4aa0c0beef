import json
import shutil
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from eotune.core.errors import InputError
from eotune.search.index import Index
from eotune.search.server.app import create_app
from eotune.search.server.limits import ServerLimits

SMALL = ServerLimits(max_k=5, max_text=40, max_image_bytes=200_000, max_image_pixels=1_000_000, max_body_bytes=2_000)


@pytest.fixture(scope="module")
def plain(client):
    """A client of an application with its own limits."""
    return client()


@pytest.fixture(scope="module")
def ask(client):
    """Return a function that searches, and checks that every refusal is JSON with a reason and without paths."""
    connected = client(limits=SMALL)

    def post(path="/api/search", status=200, **how):
        answer = connected.post(path, **how)
        assert answer.status_code == status, answer.text
        if status >= 400:
            assert list(answer.json()) == ["error"]
            assert answer.json()["error"]
            assert "/tmp" not in answer.text
            assert "Traceback" not in answer.text
        return answer

    return post


def png(side=32, colour=(200, 20, 20)):
    stream = BytesIO()
    Image.new("RGB", (side, side), colour).save(stream, "PNG")
    return stream.getvalue()


def test_a_search_answers_as_the_index_does(ask, places):
    found = ask(json={"text": "a storage tank", "k": 4, "bbox": [10, 40, 20, 50], "since": "2024-01-31"}).json()["hits"]
    from eotune.search.filters import make_filter

    expected = Index.open(places).search("a storage tank", k=4, where=make_filter((10, 40, 20, 50), "2024-01-31"))
    assert [hit["id"] for hit in found] == [hit.id for hit in expected]
    assert [hit["score"] for hit in found] == pytest.approx([hit.score for hit in expected], abs=1e-5)
    assert found[0]["time"] == "2024-01-31T00:00:00Z"
    assert found[0]["footprint"]["type"] == "Polygon"
    west, south, east, north = found[0]["bounds"]
    assert 14.9 < west < east < 15.1
    assert 45 < south < north < 45.2


def test_a_box_across_the_antimeridian(ask):
    hits = ask(json={"text": "sea", "bbox": [179, -20, -179, -10]}).json()["hits"]
    assert [hit["path"] for hit in hits] == ["fiji_20200101.tif"]
    assert hits[0]["footprint"]["type"] == "MultiPolygon"
    assert hits[0]["bounds"][0] == pytest.approx(179.8)
    assert hits[0]["bounds"][2] == pytest.approx(-179.8)


def test_more_like_a_tile_leaves_it_out(ask):
    first = ask(json={"text": "a red field", "k": 1}).json()["hits"][0]["id"]
    more = [hit["id"] for hit in ask(json={"like": first, "k": 5}).json()["hits"]]
    assert len(more) == 5
    assert first not in more
    assert ask(json={"like": 10_000}, status=404).json()["error"].startswith("there is no tile 10000")


def test_least_score_leaves_out(ask):
    hits = ask(json={"text": "a red field", "k": 5}).json()["hits"]
    least = hits[2]["score"] - 1e-6
    assert len(ask(json={"text": "a red field", "k": 5, "min_score": least}).json()["hits"]) == 3


def test_an_image_finds_its_like(ask):
    hits = ask("/api/search/image", content=png(), params={"k": 2}).json()["hits"]
    assert hits[0]["path"] == "red.png"
    assert hits[0]["score"] > 0.99
    within = ask("/api/search/image", content=png(), params={"bbox": "179,-20,-179,-10", "text": "sea"}).json()["hits"]
    assert [hit["path"] for hit in within] == ["fiji_20200101.tif"]


def test_a_geotiff_is_searched_by_as_the_index_shows_it(ask, places):
    path = places.parent / "archive" / "fiji_20200101.tif"
    hit = ask("/api/search/image", content=path.read_bytes(), params={"k": 1}).json()["hits"][0]
    assert (hit["path"], hit["score"] > 0.99) == ("fiji_20200101.tif", True)


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        [],
        "text",
        {"text": ""},
        {"text": "  "},
        {"text": "a" * 41},
        {"text": 5},
        {"text": "a", "k": 6},
        {"text": "a", "k": 0},
        {"text": "a", "k": "5"},
        {"text": "a", "k": 10**40},
        {"text": "a", "k": True},
        {"text": "a", "bbox": [1, 2, 3]},
        {"text": "a", "bbox": [1, 20, 3, 10]},
        {"text": "a", "bbox": [-181, 2, 3, 4]},
        {"text": "a", "bbox": "1,2,3,4"},
        {"text": "a", "bbox": ["1", "2", "3", "4"]},
        {"text": "a", "since": "yesterday"},
        {"text": "a", "since": "2024-02-31"},
        {"text": "a", "since": "2024-05-01", "until": "2024-04-01"},
        {"text": "a", "min_score": 2},
        {"text": "a", "path": "../../etc/passwd"},
        {"like": -1},
        {"like": "../1"},
        {"like": 2**63},
    ],
    ids=lambda wanted: json.dumps(wanted)[:40],
)
def test_what_has_no_meaning_is_refused(ask, wanted):
    ask(json=wanted, status=422)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b'{"text": "a", "k": 1' + b"0" * 1500, b"[" * 1900, b'{"text": "a"}}'], ids=repr
)
def test_what_is_no_json_is_refused(ask, body):
    answer = ask(content=body, headers={"content-type": "application/json"}, status=422 if body == b"" else 400)
    assert answer.json()["error"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_are_finite(ask, number):
    for field in ('"min_score": %s', '"bbox": [%s, 0, 1, 1]', '"k": %s'):
        body = '{"text": "a", ' + field % number + "}"
        ask(content=body, headers={"content-type": "application/json"}, status=422)


@pytest.mark.parametrize(
    "text",
    [
        "'; DROP TABLE tiles; --",
        '" OR 1=1 --',
        "${7*7} {{7*7}}",
        "<script>alert(1)</script>",
        "тайга 北京 🛰️ \u202e",
        "\0",
    ],
)
def test_any_words_are_only_words(ask, text):
    assert len(ask(json={"text": text, "k": 3}).json()["hits"]) == 3


def test_half_a_character_is_refused(ask):
    ask(content=rb'{"text": "\ud800"}', headers={"content-type": "application/json"}, status=422)


def test_bodies_that_are_too_large(ask):
    ask(content=b" " * 3_000, headers={"content-type": "application/json"}, status=413)
    ask("/api/search/image", content=b"a" * 200_001, status=413)


def test_a_body_without_a_length_is_counted_while_it_comes(ask):
    sent = []

    def endless():
        for _ in range(1000):
            sent.append(1)
            yield b" " * 1000

    assert "larger than 2,000 bytes" in ask(content=endless(), status=413).json()["error"]
    ask("/api/search/image", content=(b"a" * 50_000 for _ in range(5)), status=413)


def bomb(width, height):
    """A PNG whose header claims many pixels."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(width * 3 + 1))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(1001, 1000), (60_000, 60_000), (2**31 - 1, 1)])
def test_decompression_bombs_are_refused_unread(ask, width, height, monkeypatch):
    from eotune.search.server import pictures

    monkeypatch.setattr(pictures, "read_image", lambda *arguments, **options: pytest.fail("was decoded"))
    body = bomb(min(width, 20_000), height) if width < 2**31 - 1 else bomb(10, 10).replace(
        struct.pack(">II", 10, 10), struct.pack(">II", width, height)
    )  # fmt: skip
    assert "pixels" in ask("/api/search/image", content=body, status=422).json()["error"] or width == 2**31 - 1


def test_a_tiff_that_claims_too_much_is_refused(ask, tmp_path):
    import rasterio

    path = tmp_path / "large.tif"
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "sparse_ok": True, "tiled": True}
    with rasterio.open(path, "w", width=40_000, height=40_000, compress="deflate", blockxsize=4096, blockysize=4096,
                       crs="EPSG:32633", transform=rasterio.Affine(9, 0, 0, 0, -9, 0), **profile):  # fmt: skip
        pass
    assert path.stat().st_size < 200_000
    assert "at most" in ask("/api/search/image", content=path.read_bytes(), status=422).json()["error"]


@pytest.mark.parametrize(
    "body", [b"", b"not an image", png()[:60], b"II*\0" + bytes(20), b"<svg/>", b"GIF89a" + bytes(9)]
)
def test_what_is_no_image_is_refused(ask, body):
    ask("/api/search/image", content=body, status=422)


@pytest.mark.parametrize(
    "query",
    ["k=6", "k=x", "bbox=1,2,3", "bbox=nan,0,1,1", "since=never", "other=1", "min_score=nan", "text=" + "a" * 41],
)
def test_options_of_an_image_search_are_checked(ask, query):
    ask(f"/api/search/image?{query}", content=png(), status=422)


@pytest.mark.parametrize(
    "path",
    [
        "/api/thumbnail/..%2f..%2fetc%2fpasswd",
        "/api/thumbnail/../../etc/passwd",
        "/api/tile/%2e%2e",
        "/page/..%2fapp.py",
        "/page/%2e%2e/%2e%2e/app.py",
        "/page//etc/passwd",
        "/page/vendor",
        "/etc/passwd",
        "/api/thumbnail/999",
        "/api/tile/1/x",
    ],
)
def test_no_request_names_a_file(plain, path):
    answer = plain.get(path)
    assert answer.status_code in (404, 422)
    assert list(answer.json()) == ["error"]


def test_a_thumbnail_shows_its_window(plain):
    hit = next(
        hit for hit in plain.post("/api/search", json={"text": "a", "k": 9}).json()["hits"] if hit["path"] == "red.png"
    )
    answer = plain.get(hit["thumbnail"])
    assert answer.headers["content-type"] == "image/jpeg"
    picture = np.asarray(Image.open(BytesIO(answer.content)))
    np.testing.assert_allclose(picture.reshape(-1, 3).mean(axis=0), (200, 20, 20), atol=4)
    again = plain.get(hit["thumbnail"], headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    details = plain.get(f"/api/tile/{hit['id']}").json()
    assert details == {key: value for key, value in hit.items() if key != "score"}


def test_an_image_that_is_gone_has_no_thumbnail(client, places, tmp_path):
    shutil.copytree(places, tmp_path / "index")
    manifest = tmp_path / "index" / "index.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"folder": str(tmp_path / "elsewhere")}))
    answer = client(tmp_path / "index").get("/api/thumbnail/0")
    assert answer.status_code == 404
    assert str(tmp_path) not in answer.text


def test_what_the_index_holds(client, places):
    summary = client(tiles_url="https://tile.example/{z}/{x}/{y}.png", attribution="me").get("/api/index").json()
    assert (summary["images"], summary["tiles"], summary["encoder"]) == (3, 8, "tiny")
    assert summary["bounds"][0] == pytest.approx(15, abs=0.1)
    assert (summary["first"][:10], summary["last"][:10]) == ("2020-01-01", "2024-01-31")
    assert summary["limits"]["max_k"] == 200
    assert summary["tiles_url"] == "https://tile.example/{z}/{x}/{y}.png"


def test_a_new_version_is_taken_up(client, places, tmp_path):
    shutil.copytree(places, tmp_path / "index")
    connected = client(tmp_path / "index")
    assert connected.get("/api/index").json()["tiles"] == 8
    before = connected.post("/api/search", json={"text": "a", "k": 20}).json()["hits"]
    Index.open(tmp_path / "index").delete("utm*")
    assert connected.get("/api/index").json()["tiles"] == 2
    after = connected.post("/api/search", json={"text": "a", "k": 20}).json()["hits"]
    assert {hit["id"] for hit in after} < {hit["id"] for hit in before}
    gone = next(hit["id"] for hit in before if hit["path"].startswith("utm"))
    assert connected.get(f"/api/thumbnail/{gone}").status_code == 404


def test_a_damaged_new_version_leaves_the_old_one(client, places, tmp_path, capsys):
    shutil.copytree(places, tmp_path / "index")
    connected = client(tmp_path / "index")
    (tmp_path / "index" / "index.json").write_text("{")
    assert len(connected.post("/api/search", json={"text": "a"}).json()["hits"]) == 8
    assert "the old one stays" in capsys.readouterr().err


def test_other_methods_and_addresses_are_refused_as_json(plain):
    answer = plain.get("/api/search")
    assert (answer.status_code, answer.headers["allow"], list(answer.json())) == (405, "POST", ["error"])
    assert plain.get("/docs").status_code == 404


def test_a_defect_is_told_without_its_trace(plain, monkeypatch, capsys):
    monkeypatch.setattr(Index, "search", lambda *arguments, **options: 1 / 0)
    answer = plain.post("/api/search", json={"text": "a"})
    assert (answer.status_code, answer.json()) == (500, {"error": "the server failed at this request"})
    assert "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize(
    "url",
    [
        "tile.example/{z}/{x}/{y}",
        "https://tile.example/",
        "file:///{z}/{x}/{y}",
        "https://{s}.a.b/{z}/{x}/{y}",
        "https://a; script-src b/{z}{x}{y}",
    ],
)
def test_templates_of_tiles_are_checked(places, url):
    with pytest.raises(InputError, match="no address of map tiles"):
        create_app(places, tiles_url=url)


def test_images_that_a_stac_file_names_elsewhere_are_not_shown(client, tmp_path):
    pytest.importorskip("pystac", reason="needs the geo extra")
    Image.new("RGB", (48, 48), (200, 20, 20)).save(tmp_path / "elsewhere.png")
    item = {
        "type": "Feature", "stac_version": "1.0.0", "stac_extensions": [], "id": "a", "links": [], "bbox": [1, 2, 3, 4],
        "geometry": {"type": "Polygon", "coordinates": [[[1, 2], [3, 2], [3, 4], [1, 4], [1, 2]]]},
        "properties": {"datetime": "2021-05-06T07:08:09Z"},
        "assets": {"visual": {"href": str(tmp_path / "elsewhere.png"), "roles": ["data"]}},
    }  # fmt: skip
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/catalog.json").write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
    Index.build(tmp_path / "archive/catalog.json", tmp_path / "index", encoder="tiny")
    connected = client(tmp_path / "index")
    (hit,) = connected.post("/api/search", json={"text": "red"}).json()["hits"]
    assert hit["bounds"] == [1, 2, 3, 4]
    answer = connected.get(hit["thumbnail"])  # an index from elsewhere may name any file
    assert answer.status_code == 404
    assert "outside the archive" in answer.json()["error"]
    assert str(tmp_path) not in answer.text
