import contextlib
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from eotune.core.errors import InputError
from eotune.data import images
from eotune.data.images import BandConfig, read_image
from eotune.data.scenes import render
from eotune.data.scenes.dataset import write_scene


def saved(tmp_path, picture, name, **options):
    picture.save(tmp_path / name, **options)
    return tmp_path / name


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "a.webp"])
def test_rgb_is_read_as_it_is(tmp_path, picture, name):
    pixels = picture(0)
    options = {"lossless": True} if name.endswith("webp") else {}
    read = read_image(saved(tmp_path, Image.fromarray(pixels), name, **options))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, pixels)


def test_jpeg(tmp_path, picture):
    read = read_image(saved(tmp_path, Image.fromarray(picture(0)), "a.jpg", quality=95))
    assert np.abs(read.astype(int) - picture(0)).mean() < 5


def test_exif_orientation_is_applied(tmp_path, picture):
    pixels = picture(0, (20, 30))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    read = read_image(saved(tmp_path, Image.fromarray(pixels), "a.png", exif=exif))
    np.testing.assert_array_equal(read, np.rot90(pixels, -1))


def test_palette_transparency_grey_and_black_and_white(tmp_path):
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putdata([0, 1])
    assert read_image(saved(tmp_path, palette, "p.png")).tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert read_image(saved(tmp_path, palette, "t.png", transparency=1)).tolist() == [[[10, 20, 30], [0, 0, 0]]]
    half = Image.new("RGBA", (1, 1), (200, 100, 0, 0))
    half.putpixel((0, 0), (200, 100, 50, 128))
    assert read_image(saved(tmp_path, half, "h.png"))[0, 0].tolist() == [100, 50, 25]  # over black
    assert read_image(saved(tmp_path, Image.new("LA", (1, 1), (90, 0)), "la.png"))[0, 0].tolist() == [0, 0, 0]
    assert read_image(saved(tmp_path, Image.new("L", (1, 1), 90), "l.png"))[0, 0].tolist() == [90, 90, 90]
    assert read_image(saved(tmp_path, Image.new("1", (1, 1), 1), "1.png"))[0, 0].tolist() == [255, 255, 255]
    assert read_image(saved(tmp_path, Image.new("CMYK", (1, 1), (0, 0, 0, 0)), "c.jpg")).min() > 250


def test_a_program_of_ones_own_is_not_told_what_pil_leaves_to_rasterio(tmp_path):
    scene = render("Forest", 0, size=16)
    write_scene(tmp_path / "a.tif", scene, spectrum="multispectral")
    program = f"from eotune.data.images import read_image; read_image({str(tmp_path / 'a.tif')!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_sixteen_bit_png_uses_the_whole_range(tmp_path):
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    assert read_image(saved(tmp_path, Image.fromarray(values), "a.png"))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_max_side_caps_the_shorter_side(tmp_path, picture):
    pixels = picture(0, (300, 400))
    for name in ("a.png", "a.jpg"):
        path = saved(tmp_path, Image.fromarray(pixels), name)
        small = read_image(path, max_side=60)
        assert small.shape == (60, 80, 3)
        reference = np.asarray(Image.fromarray(pixels).resize((80, 60), Image.Resampling.BICUBIC)).astype(int)
        assert np.abs(small - reference).mean() < 4
        assert read_image(path, max_side=1000).shape == (300, 400, 3)


def test_missing_empty_and_foreign_files(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "short.tif").write_bytes(b"II*\0\x08")
    for suffix in ("png", "tif"):
        (tmp_path / f"link.{suffix}").symlink_to("gone")
    for path, message in (
        (tmp_path / "link.png", "is a link to nothing"),
        (tmp_path / "link.tif", "is a link to nothing"),
        (tmp_path / "gone.png", "no such image"),
        (tmp_path / "gone.tif", "no such image"),
        (tmp_path / "empty.png", r"the image is empty \(0 bytes\)"),
        (tmp_path / "text.png", "cannot be read as an image"),
        (tmp_path / "short.tif", "cannot be read as an image"),
        (tmp_path, "cannot be read as an image"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            read_image(path)
        assert str(path) in str(caught.value)
        with pytest.raises(InputError):
            read_image(path, BandConfig())


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
def test_truncated_files(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(noise), name)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(InputError, match="cannot be read as an image"):
        read_image(path)


def test_damaged_files_never_give_a_traceback(tmp_path, picture):
    rng = np.random.default_rng(0)
    for name in ("a.jpg", "a.png", "a.tif", "a.gif"):
        whole = saved(tmp_path, Image.fromarray(picture(0)), name).read_bytes()
        for _ in range(40):
            damaged = bytearray(whole)
            for position in rng.integers(0, min(len(whole), 200), 6):
                damaged[position] = rng.integers(256)
            (tmp_path / name).write_bytes(damaged)
            with contextlib.suppress(InputError):  # anything else is a traceback for the user
                assert read_image(tmp_path / name).shape[2] == 3


def test_decompression_bombs_are_refused_unread(tmp_path, monkeypatch):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    for side in (12_000, 100_000):  # above our limit, and above PIL's
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        path = tmp_path / "bomb.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
        with pytest.raises(InputError, match="GeoTIFF"):
            read_image(path)
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    with pytest.raises(InputError, match="11 x 10 pixels, more than 100"):
        read_image(saved(tmp_path, Image.new("RGB", (11, 10)), "a.png"))


def test_large_but_honest_images_do_not_warn(tmp_path, monkeypatch):
    path = saved(tmp_path, Image.new("L", (40, 40)), "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # PIL warns from here to twice as many
    assert read_image(path, max_side=10).shape == (10, 10, 3)


def test_geotiffs_go_to_rasterio(geotiff):
    values = np.arange(16, dtype=np.uint16).reshape(1, 4, 4) * 1000
    image = read_image(geotiff(values), BandConfig(scaling="range", low=0, high=15000))
    assert image[..., 0].ravel().tolist() == [17 * i for i in range(16)]
    assert read_image(geotiff(values)).max() == 255  # percentiles
    byte = np.stack([np.full((4, 4), v, np.uint8) for v in (1, 2, 3)])
    assert read_image(geotiff(byte))[0, 0].tolist() == [1, 2, 3]
    assert read_image(geotiff(byte), BandConfig(bands=(3, 2, 1)))[0, 0].tolist() == [3, 2, 1]


def test_eight_bit_geotiff_with_nodata_is_painted_black(geotiff):
    values = np.full((3, 2, 2), 255, np.uint8)
    values[:, 0, 0] = 9
    image = read_image(geotiff(values, nodata=255))
    assert image[0, 0].tolist() == [9, 9, 9]
    assert image[1, 1].tolist() == [0, 0, 0]


def test_png_with_bands(tmp_path, picture):
    path = saved(tmp_path, Image.fromarray(picture(0)), "a.png")
    np.testing.assert_array_equal(read_image(path, BandConfig(bands=("red",)))[..., 2], picture(0)[..., 0])


def test_many_threads_read_at_once(tmp_path, picture, geotiff):
    paths = [saved(tmp_path, Image.fromarray(picture(0)), "a.png"), geotiff(np.ones((5, 8, 8), np.float32))] * 40
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(read_image, paths))) == 80


def test_a_palette_that_only_gdal_decodes(tmp_path):
    import rasterio
    from affine import Affine

    path = tmp_path / "a.tif"
    profile = {"count": 1, "height": 3, "width": 4, "dtype": "uint8", "nodata": 2, "compress": "lerc"}
    profile |= {"crs": "EPSG:32633", "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}
    with rasterio.open(path, "w", driver="GTiff", photometric="palette", **profile) as target:
        target.write(np.uint8([[[0, 1, 2, 0]] * 3]))
        target.write_colormap(1, {0: (200, 10, 10, 255), 1: (10, 200, 10, 255)})
    assert read_image(path)[0].tolist() == [[200, 10, 10], [10, 200, 10], [0, 0, 0], [200, 10, 10]]
    assert read_image(path, BandConfig(bands=(1,)))[0, :, 0].tolist() == [0, 1, 0, 0]  # asked for, the numbers
