import json

import pyarrow.parquet as pq
import pytest
import shapely
from PIL import Image

from eotune.core.errors import InputError
from eotune.search.answers import write_answers
from eotune.search.index import Index
from eotune.search.tiles import TileConfig


@pytest.fixture
def found(archive, tmp_path):
    Index.build(archive, tmp_path / "index", encoder="tiny", tiles=TileConfig(size=64))
    index = Index.open(tmp_path / "index")
    return index, index.search("a river", k=100)


def test_every_format_has_every_hit(found, archive, tmp_path):
    index, hits = found
    for name in ("a.geojson", "a.parquet", "a.png"):
        write_answers(index, hits, tmp_path / name)
    features = json.loads((tmp_path / "a.geojson").read_text())["features"]
    table = pq.read_table(tmp_path / "a.parquet")
    assert b"WKB" in table.schema.metadata[b"geo"]
    assert [one["id"] for one in features] == table["id"].to_pylist() == [hit.id for hit in hits]
    for one, geometry, hit in zip(features, table["geometry"].to_pylist(), hits, strict=True):
        assert one["properties"]["path"] == hit.path
        if hit.footprint is None:
            assert one["geometry"] is geometry is None
        else:
            assert shapely.geometry.shape(one["geometry"]).equals(hit.footprint)
            assert shapely.from_wkb(geometry).equals(hit.footprint)
    place = next(number for number, hit in enumerate(hits) if hit.path == "plain/red.png")
    with Image.open(tmp_path / "a.png") as sheet:
        colours = sheet.getcolors(2**20)
        assert (224 * 224, (200, 20, 20)) in colours
        assert place < len(hits) <= 5 * round(sheet.height / 264)


def test_other_programs_open_the_footprints(found, tmp_path):
    """As QGIS does: GeoJSON through GDAL, GeoParquet (which pyogrio's own GDAL lacks) through geopandas."""
    pandas = pytest.importorskip("pandas")
    pyogrio, geopandas = pytest.importorskip("pyogrio"), pytest.importorskip("geopandas")
    index, hits = found
    for name in ("a.geojson", "a.parquet"):
        write_answers(index, hits, tmp_path / name)
    segment = next((index.folder / "segments").glob("*.parquet"))
    by_gdal = pyogrio.read_dataframe(tmp_path / "a.geojson")
    by_geopandas = geopandas.read_parquet(tmp_path / "a.parquet")
    whole = geopandas.read_parquet(segment)
    assert len(by_gdal) == len(by_geopandas) == len(whole) == len(hits)
    for frame in (by_gdal, by_geopandas, whole):
        assert frame.crs.to_authority() in (("EPSG", "4326"), ("OGC", "CRS84"))
        assert {"id", "path", "time", "geometry"} <= {*frame.columns}
    for frame in (by_gdal, by_geopandas, whole.set_index("id").loc[[hit.id for hit in hits]]):
        for area, path, time, hit in zip(frame.geometry, frame["path"], frame["time"], hits, strict=True):
            assert (area is None) == (hit.footprint is None)
            assert area is None or area.normalize().equals_exact(hit.footprint.normalize(), 1e-9)
            assert path == hit.path
            assert (None if time is pandas.NaT else time) == hit.time
    assert by_gdal["score"].to_list() == pytest.approx([hit.score for hit in hits], abs=1e-6)
    assert [[*one] for one in by_geopandas[["column", "row", "width", "height"]].to_numpy()] == [
        [*hit.window] for hit in hits
    ]


def test_an_image_that_is_gone_leaves_a_grey_square(found, archive, tmp_path):
    index, hits = found
    (archive / "plain/red.png").unlink()
    write_answers(index, [hit for hit in hits if hit.path == "plain/red.png"], tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.crop((8, 8, 232, 232)).getcolors() == [(224 * 224, (128, 128, 128))]


def test_unknown_formats_are_refused(found, tmp_path):
    with pytest.raises(InputError, match="geojson"):
        write_answers(*found, tmp_path / "a.shp")
