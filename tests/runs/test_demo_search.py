import json

import numpy as np
import rasterio
from PIL import Image

from eotune.runs import demo_search
from eotune.runs.demo_search import ARCHIVE, INDEX, PLACES, QUERIES, search_chapter, write_archive
from eotune.search.index import Index


def test_a_chapter_searches_an_archive(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_search, "PLACES", {name: PLACES[name] for name in ("freiburg_20230514", "fiji_20240811")})
    Image.new("RGB", (8, 8)).save(tmp_path / "serve.png")
    monkeypatch.setattr(demo_search, "SCREENSHOT", tmp_path / "serve.png")
    rows = search_chapter(tmp_path / "chapter", {"zero-shot": "tiny", "again": "tiny"}, asked=1)
    assert [row["method"] for row in rows] == ["zero-shot", "again"]
    assert {row["tiles"] for row in rows} == {40}
    assert rows[0]["words"] == rows[1]["words"]
    assert rows[0]["examples"] > 10  # by chance: 4 of 40
    assert json.loads((tmp_path / "chapter/metrics.json").read_text()) == rows
    index = Index.open(tmp_path / "chapter" / INDEX)
    (best,) = index.search(next(iter(QUERIES)), k=1)
    page = (tmp_path / "chapter/report.html").read_text()
    assert f"{best.score:.2f}" in page
    assert page.count('class="tile"') == 40
    assert page.count('class="tile found"') == 4
    assert 'alt="eotune serve"' in page
    features = json.loads((tmp_path / "chapter/found.geojson").read_text())["features"]
    assert len(features) == 4


def test_the_archive_lies_where_it_says(tmp_path):
    truth = write_archive(tmp_path / ARCHIVE, seed=0, asked=1)
    files = sorted((tmp_path / ARCHIVE).iterdir())
    assert [path.stem for path in files] == sorted(PLACES)
    assert sum(path.stat().st_size for path in files) < 2**21
    systems = set()
    for path in files:
        with rasterio.open(path) as source:
            systems.add(source.crs.to_string())
            assert source.read().std() > 5
    assert systems == {place.crs for place in PLACES.values()}
    labels, counts = np.unique(list(truth.labels.values()), return_counts=True)
    assert counts.tolist() == [len(truth.labels) // len(labels)] * len(labels)
    assert len(truth.words) == len(truth.examples) == len(labels)
