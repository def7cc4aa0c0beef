"""An index of a few tiles, and an application that serves it."""

import pytest

from eotune.search.index import Index
from eotune.search.tiles import TileConfig

pytest.importorskip("fastapi", reason="the web extra is not installed")
pytest.importorskip("httpx2", reason="starlette's test client needs it")

HOST = "http://127.0.0.1"


@pytest.fixture(scope="session")
def places(tmp_path_factory):
    """An archive on two sides of the Earth, with its index."""
    import numpy as np
    from PIL import Image

    from eotune.data.scenes.georeference import Georeference, write_geotiff

    folder = tmp_path_factory.mktemp("places")
    archive = folder / "archive"
    archive.mkdir()
    random = np.random.default_rng(0)
    values = random.integers(0, 255, (3, 96, 144), dtype=np.uint8)
    write_geotiff(archive / "utm_20240131.tif", values, Georeference("EPSG:32633", (500_000, 5_000_000), 10))
    write_geotiff(archive / "fiji_20200101.tif", values[:, :40, :40], Georeference("EPSG:4326", (179.8, -17), 0.01))
    Image.new("RGB", (48, 48), (200, 20, 20)).save(archive / "red.png")
    Index.build(archive, folder / "index", encoder="tiny", tiles=TileConfig(size=48))
    return folder / "index"


@pytest.fixture(scope="session")
def client(places):
    """Return a function that makes a client of an application."""
    from starlette.testclient import TestClient

    from eotune.search.server.app import create_app

    def make(index=places, base_url=HOST, **options):
        return TestClient(create_app(index, **options), base_url=base_url, raise_server_exceptions=False)

    return make
