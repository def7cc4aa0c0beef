import json
import shutil
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image
from shapely.geometry import box, mapping

from eotune.core.errors import InputError
from eotune.search.filters import make_filter
from eotune.search.index import Index
from eotune.search.stac import stac_images
from eotune.search.tiles import TileConfig

pystac = pytest.importorskip("pystac", reason="needs the geo extra")

AREA = box(10, 20, 11, 21)


def item(name, assets, area=AREA, time="2021-05-06T07:08:09Z"):
    """Assets as {key: (href, roles)}."""
    return {
        "type": "Feature", "stac_version": "1.0.0", "stac_extensions": [], "id": name, "links": [],
        "geometry": None if area is None else mapping(area), **({"bbox": list(area.bounds)} if area else {}),
        "properties": {"datetime": time},
        "assets": {key: {"href": href, "roles": list(roles)} for key, (href, *roles) in assets.items()},
    }  # fmt: skip


def written(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))
    return path


def collection(*items):
    return {"type": "FeatureCollection", "features": list(items)}


def picture(path, colour=(9, 90, 9)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (48, 48), colour).save(path)
    return path


def micros(*when):
    return int(datetime(*when, tzinfo=UTC).timestamp() * 10**6)


def names(images):
    return [one.path.name for one in images]


@pytest.fixture
def files(tmp_path):
    for name in ("a", "b", "thumbnail", "red"):
        picture(tmp_path / f"images/{name}.png")
    return tmp_path


def test_an_item_gives_path_footprint_and_time(files):
    path = written(files / "items/a.json", item("a", {"visual": ["../images/a.png"]}))
    (image,) = stac_images(path)
    assert image.path.samefile(files / "images/a.png")
    assert image.footprint.equals(AREA)
    assert image.time == micros(2021, 5, 6, 7, 8, 9)


@pytest.mark.parametrize(
    ("assets", "wanted", "expected"),
    [
        ({"visual": ["a.png"], "x": ["b.png", "visual"]}, None, ["a.png"]),
        ({"x": ["b.png", "visual", "overview"], "y": ["a.png", "data"]}, None, ["b.png"]),
        ({"x": ["b.png", "data"], "y": ["a.png", "data"], "z": ["thumbnail.png"]}, None, ["a.png", "b.png"]),
        ({"only": ["a.png"], "metadata": ["a.xml"]}, None, ["a.png"]),
        ({"visual": ["a.png"], "red": ["red.png", "reflectance"]}, "red", ["red.png"]),
        ({"visual": ["a.png"], "red": ["red.png", "reflectance"]}, "reflectance", ["red.png"]),
    ],
)
def test_assets_by_key_and_by_role(files, assets, wanted, expected):
    path = written(files / "images/items.json", collection(item("a", assets)))
    assert names(stac_images(path, wanted)) == expected


def test_a_static_catalog_is_followed(files):
    catalog = pystac.Catalog("all", "everything")
    child = pystac.Collection(
        "some", "some", pystac.Extent(pystac.SpatialExtent([[0, 0, 1, 1]]), pystac.TemporalExtent([[None, None]]))
    )
    catalog.add_child(child)
    for name in ("a", "b"):
        one = pystac.Item.from_dict(item(name, {}))
        one.add_asset("visual", pystac.Asset(str(files / f"images/{name}.png")))
        child.add_item(one)
    catalog.normalize_and_save(str(files / "catalog"), pystac.CatalogType.SELF_CONTAINED)
    assert names(stac_images(files / "catalog/catalog.json")) == ["a.png", "b.png"]
    assert names(stac_images(files / "catalog/some/collection.json")) == ["a.png", "b.png"]
    shutil.rmtree(files / "catalog/some/b")
    with pytest.raises(InputError, match="links to what is not there"):
        stac_images(files / "catalog/catalog.json")


@pytest.mark.parametrize(
    ("values", "asset", "message"),
    [
        (collection(item("a", {"visual": ["gone.png"]})), None, "gone.png: asset of item 'a' is not there"),
        (collection(item("a", {"visual": ["https://example.org/a.tif"]})), None, "not on this machine.*download it"),
        (collection(item("a", {"visual": ["s3://bucket/a.tif"]})), None, "not on this machine"),
        (collection(item("a", {"visual": ["a.png"], "b4": ["b.png", "data"]})), "b5", "'b5'.*visual, b4 .data."),
        (collection(item("a", {"x": ["a.png"], "y": ["b.png"]})), None, "--asset: x, y"),
        (collection(), None, "names no item"),
        (collection({"type": "Feature", "id": "a"}), None, "is no STAC"),
        ({"type": "Feature", "id": "a"}, None, "is no STAC"),
        ([1, 2], None, "is no STAC"),
        ({"features": 3, "type": "FeatureCollection"}, None, "is no STAC"),
        ({"type": "Catalog", "stac_version": "1.0.0", "id": "c", "description": "d",
          "links": [{"rel": "item", "href": "https://example.org/item.json"}]}, None, "a link is not on this machine"),
    ],
)  # fmt: skip
def test_errors_say_what_and_where(files, values, asset, message):
    path = written(files / "images/stac.json", values)
    with pytest.raises(InputError, match=message):
        stac_images(path, asset)


def test_an_archive_by_its_items(files, geotiff):
    placed = geotiff(
        np.full((3, 48, 48), 80, np.uint8), "images/c_20240131.tif", crs="EPSG:4326", transform=(0.1, 0, 5, 0, -0.1, 50)
    )
    items = [item(name, {"visual": [f"{name}.png"], "thumbnail": ["thumbnail.png"]}) for name in ("a", "b")]
    items.append(item("c", {"visual": [placed.name]}))
    items[1] |= {"geometry": None}
    path = written(files / "images/items.json", collection(*items))
    summary = Index.build(path, files / "index", encoder="tiny", tiles=TileConfig(size=48))
    assert (summary["images"], summary["tiles"], summary["failed"]) == (3, 3, 0)
    index = Index.open(files / "index")
    hits = {hit.path: hit for hit in index.search("x")}
    assert hits["a.png"].footprint.equals(AREA)
    assert hits["a.png"].time == datetime(2021, 5, 6, 7, 8, 9, tzinfo=UTC)
    assert hits["b.png"].footprint is None
    # The raster's own position and time come first.
    assert hits["c_20240131.tif"].footprint.bounds == pytest.approx((5, 45.2, 9.8, 50))
    assert hits["c_20240131.tif"].time.year == 2024
    assert [hit.path for hit in index.search("x", where=make_filter("10.5,20,12,21"))] == ["a.png"]
    assert index.update()["added"] == 0
    items[0]["properties"]["datetime"] = "2022-01-01T00:00:00Z"
    written(path, collection(items[0], items[2]))
    summary = index.update()
    assert (summary["added"], summary["images"], summary["tiles"]) == (1, 2, 2)
    assert {hit.path for hit in index.search("x", where=make_filter(since="2022-01-01"))} == set(hits) - {"b.png"}
    with pytest.raises(InputError, match="other settings"):
        Index.build(path, files / "index", encoder="tiny", tiles=TileConfig(size=48), asset="thumbnail")
    with pytest.raises(InputError, match="is a folder"):
        Index.build(path.parent, files / "other", encoder="tiny", asset="visual")
