import numpy as np
import pytest

from eotune.data.scenes import BANDS, CLASSES, multispectral, render
from eotune.data.scenes.materials import NAMES


def index(values, first, second):
    """Normalised difference of two bands."""
    a, b = (values[BANDS.index(name)].astype(np.float64) for name in (first, second))
    return (a - b) / (a + b)


def where(scene, material):
    return scene.materials() == NAMES.index(material)


@pytest.mark.parametrize("label", CLASSES)
def test_bands_are_reflectance_and_the_seed_decides_them(label):
    scene = render(label, 1, size=48)
    first, again, other = multispectral(scene), multispectral(scene), multispectral(scene, seed=1)
    assert first.shape == (13, 48, 48)
    assert first.dtype == np.uint16
    assert first.min() >= 1  # 0 stands for no data
    assert first.max() < 16_000
    assert first.tobytes() == again.tobytes()
    assert not np.array_equal(first, other)


def test_vegetation_has_a_red_edge():
    for label, material in (("Forest", "forest"), ("Residential", "grass"), ("Farmland", "crop")):
        for seed in range(12):
            scene = render(label, seed, size=64)
            chosen = where(scene, material)
            if chosen.sum() < 50:
                continue
            values = multispectral(scene)
            assert np.median(index(values, "B08", "B04")[chosen]) > 0.4, (label, seed)
            assert np.median(values[BANDS.index("B06")][chosen]) > 2 * np.median(values[BANDS.index("B04")][chosen])


@pytest.mark.parametrize("label", ["Beach", "Harbour", "River"])
@pytest.mark.parametrize("seed", range(4))
def test_water_absorbs_near_infrared(label, seed):
    scene = render(label, seed, size=64)
    values, is_water = multispectral(scene), where(scene, "water")
    assert np.median(index(values, "B03", "B08")[is_water]) > 0.3
    assert (index(values, "B03", "B08")[is_water] > 0).mean() > 0.9  # not below boats and banks, blurred together
    assert np.median(index(values, "B08", "B04")[is_water]) < 0


def test_soil_and_roofs_are_brighter_in_short_wave_infrared_than_vegetation():
    scene = render("Residential", 1, size=64)
    moisture = index(multispectral(scene), "B11", "B08")
    assert np.median(moisture[where(scene, "roof")]) > 0
    assert np.median(moisture[where(scene, "soil") | where(scene, "roof")]) > 0


def test_the_visible_follows_the_paint():
    red = next(s for s in range(20) if render("Residential", s, size=8).facts["colour"] == "red")
    scene = render("Residential", red, size=96)
    values = multispectral(scene)[:, scene.fractions()[NAMES.index("roof")] == 1]
    assert np.median(values[BANDS.index("B04")]) > 2 * np.median(values[BANDS.index("B02")])


def test_coarse_bands_are_blurred():
    scene = render("Parking", 0, size=96)
    values = multispectral(scene, noise=0.0).astype(np.float64)

    def roughness(name):
        band = values[BANDS.index(name)]
        return np.abs(np.diff(band)).mean() / band.mean()

    assert roughness("B08") > 1.5 * roughness("B8A") > 1.5 * roughness("B09")


def test_cirrus_sees_no_ground():
    assert multispectral(render("Beach", 0, size=48))[BANDS.index("B10")].max() < 200
