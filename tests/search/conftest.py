import warnings

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def geotiff(tmp_path):
    """Write a GeoTIFF from (c, h, w) values."""
    import rasterio
    from affine import Affine

    def build(values, name="archive/raster.tif", *, crs=None, transform=None, tags=None, **profile):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        count, height, width = values.shape
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with rasterio.open(
                path, "w", driver="GTiff", count=count, height=height, width=width, dtype=values.dtype, crs=crs,
                transform=Affine(*transform) if transform else None, **profile,
            ) as target:  # fmt: skip
                target.write(values)
                target.update_tags(**(tags or {}))
        return path

    return build


@pytest.fixture
def archive(tmp_path, geotiff):
    """A folder of a large raster in UTM, one across the antimeridian, and pictures of one colour."""
    random = np.random.default_rng(0)
    values = random.integers(0, 255, (3, 100, 150), dtype=np.uint8)
    geotiff(values, "archive/utm_20240131.tif", crs="EPSG:32633", transform=(10, 0, 500_000, 0, -10, 5_000_000))
    geotiff(
        values[:, :40, :40], "archive/fiji_20200101.tif", crs="EPSG:4326", transform=(0.01, 0, 179.8, 0, -0.01, -17)
    )
    folder = tmp_path / "archive" / "plain"
    folder.mkdir()
    for name, colour in {"red": (200, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 200)}.items():
        Image.new("RGB", (48, 48), colour).save(folder / f"{name}.png")
    return tmp_path / "archive"
