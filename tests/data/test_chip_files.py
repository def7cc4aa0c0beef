import numpy as np
import pytest
from PIL import ExifTags, Image

from eotune.core.errors import InputError
from eotune.data.chip_files import Cutter
from eotune.data.footprints import footprint
from eotune.data.images import read_image
from eotune.data.rasters import band_names, read_bands
from eotune.data.scenes import Georeference, write_geotiff

AREA = np.array([3, 5, 13, 9])


def cut(path, folder):
    with Cutter(path) as cutter:
        target = folder / "chips" / f"chip{cutter.suffix}"
        cutter.write(AREA, target)
    return target


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P"])
def test_pictures_give_png_with_the_same_pixels(tmp_path, picture, mode):
    source = tmp_path / "a.png"
    image = Image.fromarray(picture(0))
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(picture(1)[..., 0]))
    image.convert(mode).save(source)
    chip = cut(source, tmp_path)
    assert chip.suffix == ".png"
    np.testing.assert_array_equal(read_image(chip), read_image(source)[5:9, 3:13])
    assert [one.name for one in chip.parent.iterdir()] == ["chip.png"]


def test_a_jpeg_is_not_compressed_again(tmp_path, picture):
    Image.fromarray(picture(0)).save(tmp_path / "a.jpg")
    chip = read_image(cut(tmp_path / "a.jpg", tmp_path)).astype(int)
    # GDAL's and PIL's decoders may round differently.
    assert np.abs(chip - read_image(tmp_path / "a.jpg")[5:9, 3:13]).max() <= 3


def test_other_rasters_keep_values_names_nodata_and_place(tmp_path):
    values = np.random.default_rng(0).normal(size=(2, 20, 30)).astype(np.float32)
    values[:, 6] = np.nan
    write_geotiff(tmp_path / "a.tif", values, Georeference(), names=("VV", "VH"), nodata=float("nan"))
    chip = cut(tmp_path / "a.tif", tmp_path)
    assert (chip.suffix, band_names(chip)) == (".tif", band_names(tmp_path / "a.tif"))
    np.testing.assert_array_equal(read_bands(chip), values[:, 5:9, 3:13])
    assert footprint(tmp_path / "a.tif").buffer(1e-9).contains(footprint(chip))
    assert footprint(chip).area / footprint(tmp_path / "a.tif").area == pytest.approx(40 / 600, rel=1e-3)


def test_rasters_without_a_place_and_with_scales(geotiff, tmp_path):
    values = np.arange(600, dtype=np.uint16).reshape(1, 20, 30)
    source = geotiff(values, tags={"scales": (0.1,), "offsets": (-5.0,)}, nodata=0)
    chip = cut(source, tmp_path)
    np.testing.assert_array_equal(read_bands(chip), read_bands(source)[:, 5:9, 3:13])


def test_a_chip_that_is_there_is_left(tmp_path, picture):
    Image.fromarray(picture(0)).save(tmp_path / "a.png")
    chip = cut(tmp_path / "a.png", tmp_path)
    chip.write_bytes(b"mine")
    assert cut(tmp_path / "a.png", tmp_path).read_bytes() == b"mine"


def test_damaged_images_are_refused_by_name(tmp_path, picture):
    source = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)).save(source)
    source.write_bytes(source.read_bytes()[:2000])
    with pytest.raises(InputError, match="a.png: cannot be read"), Cutter(source) as cutter:
        cutter.write(np.array([0, 150, 50, 200]), tmp_path / "b.png")
    assert [one.name for one in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(InputError, match="none.png: no such image"), Cutter(tmp_path / "none.png"):
        pass


def test_a_palette_with_a_place_keeps_its_colours(tmp_path):
    import rasterio
    from affine import Affine

    source = tmp_path / "a.tif"
    profile = {"count": 1, "height": 20, "width": 30, "dtype": "uint8", "crs": "EPSG:32633"}
    with rasterio.open(source, "w", driver="GTiff", transform=Affine(10, 0, 5e5, 0, -10, 5e6), **profile) as target:
        target.write(np.indices((1, 20, 30)).sum(0).astype(np.uint8) % 2)
        target.write_colormap(1, {0: (200, 10, 10, 255), 1: (10, 200, 10, 255)})
    chip = cut(source, tmp_path)
    assert chip.suffix == ".tif"
    np.testing.assert_array_equal(read_image(chip), read_image(source)[5:9, 3:13])


def test_ground_control_points_move_along(tmp_path):
    import rasterio
    from rasterio.control import GroundControlPoint

    corners = [
        GroundControlPoint(row, column, 15 + column / 1e3, 48 - row / 1e3) for row in (0, 20) for column in (0, 30)
    ]
    profile = {"count": 1, "height": 20, "width": 30, "dtype": "uint8", "crs": "EPSG:4326", "gcps": corners}
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", **profile) as target:
        target.write(np.ones((1, 20, 30), np.uint8))
    chip = cut(tmp_path / "a.tif", tmp_path)
    assert chip.suffix == ".tif"
    np.testing.assert_allclose(footprint(chip).bounds, (15.003, 48 - 0.009, 15.013, 48 - 0.005), atol=1e-7)


def test_black_and_white_stays(tmp_path, picture):
    Image.fromarray(picture(0)).convert("1").save(tmp_path / "a.png")
    np.testing.assert_array_equal(
        read_image(cut(tmp_path / "a.png", tmp_path)), read_image(tmp_path / "a.png")[5:9, 3:13]
    )


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_a_picture_that_is_shown_turned_is_refused(tmp_path, picture, name):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(picture(0)).save(tmp_path / name, exif=exif)
    with pytest.raises(InputError, match=f"{name}: its EXIF data turn it; turn the pixels themselves"):
        cut(tmp_path / name, tmp_path)
