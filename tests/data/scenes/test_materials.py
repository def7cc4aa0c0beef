"""Materials keep the orders that make real images readable; the numbers themselves are round ones."""

import numpy as np
import pytest

from eotune.data.scenes.materials import MATERIALS, NAMES, backscatters, colours, reflectances
from eotune.data.scenes.multispectral import BANDS


def band(name):
    return dict(zip(NAMES, reflectances()[:, BANDS.index(name)], strict=True))


def test_tables_are_whole_and_in_range():
    assert reflectances().shape == (len(MATERIALS), len(BANDS))
    assert 0 < reflectances().min() <= reflectances().max() < 1
    assert colours().shape == (len(MATERIALS), 3)
    assert backscatters().shape == (len(MATERIALS), 2)
    np.testing.assert_allclose(10 * np.log10(backscatters()[0]), MATERIALS[NAMES[0]].backscatter, rtol=1e-5)


def test_vegetation_stands_out_by_ndvi_and_water_by_ndwi():
    red, green, infrared = band("B04"), band("B03"), band("B08")
    ndvi = {name: (infrared[name] - red[name]) / (infrared[name] + red[name]) for name in NAMES}
    ndwi = {name: (green[name] - infrared[name]) / (green[name] + infrared[name]) for name in NAMES}
    assert min(ndvi[name] for name in ("grass", "crop", "forest")) > 0.7
    assert max(value for name, value in ndvi.items() if name not in ("grass", "crop", "forest")) < 0.4
    assert [name for name in NAMES if ndwi[name] > 0.2] == ["water"]


def test_smooth_grounds_are_dark_to_a_radar_and_built_ones_bright():
    power = dict(zip(NAMES, backscatters(), strict=True))
    rising = ("water", "asphalt", "soil", "forest", "metal")
    for polarisation in (0, 1):
        levels = [power[name][polarisation] for name in rising]
        assert levels == sorted(levels)
    assert all(vv > vh for vv, vh in backscatters())


@pytest.mark.parametrize("name", NAMES)
def test_the_visible_bands_order_as_the_colour_does(name):
    """Blue, green and red reflectance lead to the same brightest band as the colour, where it is clearly coloured."""
    colour = np.array(MATERIALS[name].colour)
    visible = np.array(MATERIALS[name].reflectance)[[3, 2, 1]]
    if np.ptp(colour) > 30 and name != "water":
        assert colour.argmax() == visible.argmax()
    else:
        assert np.ptp(visible) < 6.5
