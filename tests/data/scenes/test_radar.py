import numpy as np
import pytest

from eotune.core.errors import InputError
from eotune.data.scenes import CLASSES, render, sar
from eotune.data.scenes.materials import MATERIALS, NAMES


def pure(scene, material):
    """Pixels that are wholly of one material, away from anything that stands."""
    return (scene.fractions()[NAMES.index(material)] == 1) & (scene.heights == 0)


@pytest.mark.parametrize("label", CLASSES)
def test_decibels_are_finite_and_the_seed_decides_them(label):
    scene = render(label, 1, size=48)
    first, again, other = sar(scene), sar(scene), sar(scene, seed=1)
    assert first.shape == (2, 48, 48)
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert first.tobytes() == again.tobytes()
    assert not np.array_equal(first, other)
    assert np.isfinite(sar(scene, looks=0.05)).all()  # most variates are almost 0


@pytest.mark.parametrize("looks", [1, 4, 12.5])
def test_the_equivalent_number_of_looks_is_that_asked_for(looks):
    scene = render("Farmland", 0, size=192)
    for noisy, clean in zip(sar(scene, looks=looks), sar(scene, looks=None), strict=True):
        speckle = 10 ** ((noisy.astype(np.float64) - clean) / 10)
        assert speckle.mean() == pytest.approx(1, abs=0.02)
        assert speckle.mean() ** 2 / speckle.var() == pytest.approx(looks, rel=0.05)


@pytest.mark.parametrize("looks", [1, 4])
def test_the_looks_can_be_estimated_from_the_image_alone(looks):
    """As one does with real images: over small windows of plain ground, in which texture hardly varies."""
    scene = render("Beach", 0, size=192)
    power = 10 ** (sar(scene, looks=looks)[0].astype(np.float64) / 10)
    is_plain = pure(scene, "sand")
    corners = [(row, column) for row in range(0, 192, 16) for column in range(0, 192, 16)]
    windows = [np.s_[row : row + 16, column : column + 16] for row, column in corners]
    estimates = [power[w].mean() ** 2 / power[w].var() for w in windows if is_plain[w].all()]
    assert len(estimates) > 20
    assert np.median(estimates) == pytest.approx(looks, rel=0.12)


def test_speckle_is_independent_between_pixels_and_polarisations():
    scene = render("Beach", 0, size=128)
    speckle = sar(scene, looks=1) - sar(scene, looks=None)
    vv, vh = speckle
    assert abs(np.corrcoef(vv.ravel(), vh.ravel())[0, 1]) < 0.03
    assert abs(np.corrcoef(vv[:, 1:].ravel(), vv[:, :-1].ravel())[0, 1]) < 0.03


def test_materials_have_their_backscatter():
    for label, material in (("Beach", "water"), ("Forest", "forest"), ("Junction", "asphalt"), ("Beach", "sand")):
        scene = render(label, 3, size=96)
        where = scene.fractions()[NAMES.index(material)] == 1
        values = sar(scene, looks=None)[:, where]
        for found, expected in zip(np.median(values, axis=1), MATERIALS[material].backscatter, strict=True):
            assert found == pytest.approx(expected, abs=3), (label, material)  # texture and noise remain


def test_metal_is_bright_and_smooth_water_dark():
    scene = render("Harbour", 1, size=96)
    for channel in sar(scene, looks=None):
        ships, water = (np.median(channel[scene.materials() == NAMES.index(name)]) for name in ("metal", "water"))
        assert ships - water > 12


def test_walls_towards_the_radar_are_bright_and_hide_what_is_behind():
    scene = render("StorageTanks", 1, size=96)
    vv = sar(scene, polarisations=["VV"], looks=None)[0]
    for box in (box for box in scene.boxes if box.label == "storage-tank"):
        (left, top), (right, bottom) = box.corners.min(0), box.corners.max(0)
        row = round((top + bottom) / 2)
        near = vv[row, round(left) - 1 : round(left) + 2].max()
        top_of_tank = np.median(vv[row, round(left) + 4 : round(right) - 4])
        behind = vv[row, round(right) + 1 : round(right) + 3].max()
        assert near - top_of_tank > 6
        assert top_of_tank - behind > 10


def test_shadow_is_as_long_as_the_tangent_says():
    """A slow walk along one line of sight must hide the same pixels."""
    from eotune.data.scenes.radar import _in_shadow

    rng = np.random.default_rng(0)
    heights = np.where(rng.random((6, 40)) < 0.1, rng.uniform(1, 8, (6, 40)), 0).astype(np.float32)
    for incidence in (20, 38, 60):
        slow = np.zeros(heights.shape, bool)
        for row, column in np.ndindex(*heights.shape):
            for nearer in range(column):
                ray = heights[row, nearer] - (column - nearer) / np.tan(np.radians(incidence))
                slow[row, column] |= ray > heights[row, column] + 1e-4
        np.testing.assert_array_equal(_in_shadow(heights, incidence), slow)


def test_amplitude_is_the_root_of_the_power():
    scene = render("Airport", 0, size=32)
    decibels, amplitude = sar(scene), sar(scene, scale="amplitude")
    np.testing.assert_allclose(20 * np.log10(amplitude), decibels, atol=1e-3)
    np.testing.assert_array_equal(sar(scene, polarisations=["VH"])[0], decibels[1])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"polarisations": ["HV"]}, "unknown polarisation 'HV'"),
        ({"polarisations": []}, "no polarisation"),
        ({"looks": 0}, "looks is 0"),
        ({"incidence": 90}, "incidence is 90"),
        ({"scale": "decibel"}, "did you mean 'decibels'"),
    ],
)
def test_wrong_options_are_refused(options, says):
    with pytest.raises(InputError, match=says):
        sar(render("Beach", 0, size=16), **options)
