import json
import pickle

import numpy as np
import pytest
from PIL import Image

from eotune.core.config import parse
from eotune.core.errors import InputError
from eotune.data.band_statistics import BandInput, BandReader, BandStatistics, compute_band_statistics, read_scaled
from eotune.data.cache import ImageCache
from eotune.data.labelled import read_labelled
from eotune.data.scenes import BANDS, write_dataset

SAR = ("VV", "VH")


@pytest.fixture
def radar(geotiff):
    """Three images in dB: the second lacks data in part, the third has its bands the other way round."""
    values = np.random.default_rng(0).normal([[[-12]], [[-20]]], 3, (3, 2, 8, 10)).astype(np.float32)
    values[1, 1, :4] = np.nan
    orders = ([0, 1], [0, 1], [1, 0])
    paths = [
        geotiff(one[order], name=f"{number}.tif", tags={"descriptions": tuple(SAR[k] for k in order)})
        for number, (one, order) in enumerate(zip(values, orders, strict=True))
    ]
    return paths, values


def expected_byte(value, low, high, mean):
    share = mean if np.isnan(value) else min(1.0, max(0.0, (float(value) - low) / (high - low)))
    return round(share * 255)


@pytest.mark.parametrize("scaling", ["percentile", "sigma"])
def test_statistics_and_pixels_are_those_of_a_loop(radar, scaling):
    paths, values = radar
    config = BandInput(scaling=scaling, percentiles=(5, 90), sigmas=1.5)
    statistics = compute_band_statistics(paths, config, threads=3)
    assert statistics.names == SAR
    images = [read_scaled(path, config, statistics) for path in paths]
    for band in range(2):
        held = sorted(float(v) for v in values[:, band].ravel() if not np.isnan(v))
        if scaling == "percentile":
            low, high = (np.interp(share * (len(held) - 1), range(len(held)), held) for share in (0.05, 0.9))
        else:
            middle = sum(held) / len(held)
            spread = 1.5 * (sum((v - middle) ** 2 for v in held) / len(held)) ** 0.5
            low, high = middle - spread, middle + spread
        scaled = [min(1, max(0, (v - low) / (high - low))) for v in held]
        mean = sum(scaled) / len(scaled)
        found = (statistics.low[band], statistics.high[band], statistics.mean[band], statistics.std[band])
        assert found == pytest.approx((low, high, mean, np.std(scaled)), rel=1e-5)
        for image, one in zip(images, values, strict=True):
            wanted = np.vectorize(expected_byte)(one[band], low, high, mean)
            assert np.abs(image[..., band] - wanted).max() <= 1  # a value may lie just between two bytes
            assert (image[..., band] == wanted).mean() > 0.99


def test_images_are_uint8_rows_columns_bands(radar):
    paths, _ = radar
    image = read_scaled(paths[0], BandInput(), compute_band_statistics(paths))
    assert (image.shape, image.dtype, image.flags.c_contiguous) == ((8, 10, 2), np.uint8, True)


def test_bands_are_found_by_name_whatever_their_order(geotiff):
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    one = geotiff(values, name="a.tif", tags={"descriptions": SAR})
    turned = geotiff(values[::-1], name="b.tif", tags={"descriptions": ("vh", "VV")})
    statistics = compute_band_statistics([one])
    np.testing.assert_array_equal(
        read_scaled(one, BandInput(), statistics), read_scaled(turned, BandInput(), statistics)
    )
    only = BandInput(bands=("VH",))
    chosen = compute_band_statistics([one], only)
    assert chosen.names == ("VH",)
    np.testing.assert_array_equal(
        read_scaled(turned, only, chosen)[..., 0], read_scaled(one, BandInput(), statistics)[..., 1]
    )


def test_a_missing_band_is_refused_with_those_expected_and_found(geotiff):
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    both = geotiff(values, name="a.tif", tags={"descriptions": SAR})
    one = geotiff(values[:1], name="b.tif", tags={"descriptions": ("VV",)})
    nameless = geotiff(values, name="c.tif")
    statistics = compute_band_statistics([both])
    with pytest.raises(InputError, match=r"b.tif: no band 'VH'.* It has 1 band: VV; expected are VV, VH"):
        read_scaled(one, BandInput(), statistics)
    with pytest.raises(InputError, match=r"c.tif: no band 'VV'.* It has 2 bands: 1, 2; expected are VV, VH"):
        read_scaled(nameless, BandInput(), statistics)
    with pytest.raises(InputError, match=r"a.tif: no band 'HH'.* It has 2 bands: VV, VH"):
        compute_band_statistics([both], BandInput(bands=("HH",)))


def test_bands_without_names_go_by_number(geotiff):
    values = np.random.default_rng(0).normal(size=(3, 5, 5)).astype(np.float32)
    nameless = geotiff(values, name="a.tif")
    fewer = geotiff(values[:2], name="b.tif")
    named = geotiff(values, name="c.tif", tags={"descriptions": ("x", "y", "z")})
    statistics = compute_band_statistics([nameless])
    assert statistics.names == ("1", "2", "3")
    for other, found in ((fewer, "expected 3 bands without names, found 2: 1, 2"), (named, "no band '1'")):
        with pytest.raises(InputError, match=found):
            read_scaled(other, BandInput(), statistics)
    numbered = BandInput(bands=(3, 1))
    statistics = compute_band_statistics([nameless, named], numbered)
    assert statistics.names == ("3", "1")
    np.testing.assert_array_equal(read_scaled(nameless, numbered, statistics), read_scaled(named, numbered, statistics))


def test_grey_and_coloured_pictures_are_rasters_too(tmp_path, picture):
    Image.fromarray(picture(0)[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(picture(0)).convert("RGBA").save(tmp_path / "colour.png")
    grey = compute_band_statistics([tmp_path / "grey.png"])
    assert grey.names == ("1",)
    assert read_scaled(tmp_path / "grey.png", BandInput(), grey).shape == (48, 48, 1)
    with pytest.raises(InputError, match="expected 1 bands without names, found 3: red, green, blue"):
        read_scaled(tmp_path / "colour.png", BandInput(), grey)
    assert compute_band_statistics([tmp_path / "colour.png"]).names == ("red", "green", "blue")


def test_reflectance_without_data_is_left_out(geotiff):
    values = np.random.default_rng(0).integers(1, 5000, (1, 20, 20)).astype(np.uint16)
    values[0, :5], values[0, 5:8] = 0, 65535
    path = geotiff(values, nodata=0)
    config = BandInput(percentiles=(0, 100), nodata=65535)
    statistics = compute_band_statistics([path], config)
    held = values[0, 8:]
    assert (statistics.low[0], statistics.high[0]) == (held.min(), held.max())
    image = read_scaled(path, config, statistics)[..., 0]
    assert set(image[:8].ravel()) == {round(255 * statistics.mean[0])}


@pytest.mark.parametrize(("decibels", "factor"), [("power", 10), ("amplitude", 20)])
def test_linear_radar_is_taken_in_decibels(geotiff, decibels, factor):
    values = np.geomspace(0.001, 1, 400, dtype=np.float32).reshape(1, 20, 20)
    values[0, 0, 0] = 0
    config = BandInput(decibels=decibels, percentiles=(0, 100))
    path = geotiff(values)
    statistics = compute_band_statistics([path], config)
    assert statistics.low[0] == pytest.approx(factor * np.log10(values.ravel()[1]), rel=1e-5)
    assert statistics.high[0] == pytest.approx(0, abs=1e-4)
    # What is even in decibels is even after scaling; zero has none, and gets the mean.
    assert statistics.mean[0] == pytest.approx(0.5, abs=1e-3)
    assert read_scaled(path, config, statistics)[0, 0, 0] == round(255 * statistics.mean[0])


def test_of_many_pixels_some_are_drawn_and_always_the_same(geotiff):
    values = np.random.default_rng(0).normal(size=(4, 1, 64, 64)).astype(np.float32)
    paths = [geotiff(one, name=f"{number}.tif") for number, one in enumerate(values)]
    few = compute_band_statistics(paths, BandInput(percentiles=(10, 90)), pixels=4000)
    assert few == compute_band_statistics(paths, BandInput(percentiles=(10, 90)), pixels=4000, threads=3)
    low, high = np.percentile(values, (10, 90))
    assert (few.low[0], few.high[0]) == pytest.approx((low, high), abs=0.1)
    assert few.low[0] != pytest.approx(low, abs=1e-6)


def test_bands_that_tell_nothing_are_refused(geotiff):
    values = np.random.default_rng(0).normal(size=(2, 5, 5)).astype(np.float32)
    values[1] = 3
    names = {"descriptions": ("VV", "B10")}
    with pytest.raises(InputError, match="band B10 is scaled from 3 to 3: nearly all training pixels have one value"):
        compute_band_statistics([geotiff(values, tags=names)])
    values[1] = np.nan
    with pytest.raises(InputError, match="band B10 holds no data in any training image"):
        compute_band_statistics([geotiff(values, tags=names)])
    with pytest.raises(InputError, match="of no image"):
        compute_band_statistics([])


def test_every_file_that_does_not_fit_is_listed(radar, tmp_path, geotiff):
    paths, _ = radar
    (tmp_path / "empty.tif").write_bytes(b"")
    one = geotiff(np.ones((1, 4, 4), np.float32), name="one.tif", tags={"descriptions": ("VV",)})
    with pytest.raises(InputError) as caught:
        compute_band_statistics([*paths, tmp_path / "empty.tif", one, tmp_path / "gone.tif"])
    text = str(caught.value)
    assert "3 problems" in text
    for part in ("empty.tif: the image is empty", "one.tif: no band 'VH'", "gone.tif: no such image"):
        assert part in text


def test_statistics_survive_json(radar):
    statistics = compute_band_statistics(radar[0])
    assert BandStatistics.from_dict(json.loads(json.dumps(statistics.to_dict()))) == statistics
    for change, message in (
        ({"low": [0]}, "one value for each band"),
        ({"low": [0, 50]}, "low wants to be below high"),
        ({"names": None}, "'names'"),
        ({"sdt": 1}, "did you mean 'std'"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            BandStatistics.from_dict(statistics.to_dict() | change, source="bands.json")
        assert str(caught.value).startswith("bands.json: ")


@pytest.mark.parametrize(
    "values", [{"bands": []}, {"bands": ["VV", "VV"]}, {"percentiles": [98, 2]}, {"sigmas": 0}, {"band": ["VV"]}]
)
def test_settings_that_make_no_sense_are_refused(values):
    with pytest.raises(InputError):
        parse(BandInput, values)


def test_a_cache_holds_images_of_any_bands(radar):
    paths, _ = radar
    reader = BandReader(BandInput(), compute_band_statistics(paths))
    cache = ImageCache(paths, max_side=4, read=reader)
    cache.fill(threads=2)
    assert (cache.kept, cache[0].shape, cache[0].dtype) == (3, (4, 5, 2), np.uint8)
    np.testing.assert_array_equal(cache[2], reader(paths[2], max_side=4))
    copy = pickle.loads(pickle.dumps(ImageCache(paths, read=reader)))
    np.testing.assert_array_equal(copy[1], reader(paths[1]))
    with pytest.raises(ValueError, match="read-only"):
        copy[1][:] = 0


@pytest.mark.parametrize(
    ("spectrum", "names"), [("sar", SAR), ("multispectral", BANDS), ("rgb", ("red", "green", "blue"))]
)
def test_synthetic_scenes_of_every_spectrum(tmp_path, spectrum, names):
    labelled = read_labelled(
        write_dataset(tmp_path, {"train": 2}, classes=("Forest", "Harbour"), spectrum=spectrum, size=24)
    )
    statistics = compute_band_statistics(labelled.paths())
    images = np.stack([read_scaled(path, BandInput(), statistics) for path in labelled.paths()])
    assert (statistics.names, images.shape) == (names, (4, 24, 24, len(names)))
    np.testing.assert_allclose(images.mean((0, 1, 2)) / 255, statistics.mean, atol=0.01)


def test_real_radar_chips(real):
    chips = read_labelled(real("mstar/labels.jsonl"), split="train").subset(range(0, 2747, 100))
    statistics = compute_band_statistics(chips.paths())
    image = read_scaled(chips.paths()[0], BandInput(), statistics)
    assert (statistics.names, image.shape) == (("1",), (128, 128, 1))
    assert 0 < statistics.mean[0] < 0.5


@pytest.mark.parametrize("order", [("grey.png", "colour.png"), ("colour.png", "grey.png")])
def test_a_number_is_a_number_in_every_file(tmp_path, picture, order):
    Image.fromarray(picture(0)).save(tmp_path / "colour.png")
    Image.fromarray(picture(1)[..., 0]).save(tmp_path / "grey.png")
    config = BandInput(bands=(1,))
    statistics = compute_band_statistics([tmp_path / name for name in order], config)
    for name, values in (("colour.png", picture(0)[..., :1]), ("grey.png", picture(1)[..., :1])):
        expected = np.clip((values - statistics.low[0]) / (statistics.high[0] - statistics.low[0]), 0, 1) * 255
        np.testing.assert_array_equal(read_scaled(tmp_path / name, config, statistics), np.rint(expected))


@pytest.mark.parametrize("bands", [None, (1,)])
def test_a_palette_is_no_measurement(tmp_path, picture, bands):
    Image.fromarray(picture(0)[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(picture(1)).convert("P").save(tmp_path / "palette.png")
    for names in (("grey.png", "palette.png"), ("palette.png",)):
        with pytest.raises(InputError, match="palette.png: its values stand for colours of a palette"):
            compute_band_statistics([tmp_path / name for name in names], BandInput(bands=bands))
