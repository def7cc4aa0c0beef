import time

import numpy as np
import pytest
from PIL import Image

from eotune.core.config import parse
from eotune.core.errors import InputError
from eotune.core.seeds import generator
from eotune.data import augment
from eotune.data.augment import Augmentation

PLAIN = Augmentation(crop=None, flip=False, randaugment=None)


def many(augmentation, image, n=60, size=16):
    return [augmentation(image, size, "bilinear", generator(0, "test", i)) for i in range(n)]


def test_nothing_switched_on_is_a_resize(picture):
    expected = np.asarray(Image.fromarray(picture(0)).resize((24, 24), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    result = PLAIN(picture(0), 24, "bicubic", np.random.default_rng(0))
    np.testing.assert_array_equal(result, expected)
    assert result.flags.c_contiguous
    assert result.flags.writeable


def test_the_same_draws_give_the_same_pixels_and_others_do_not(picture):
    first, again = many(Augmentation(), picture(0)), many(Augmentation(), picture(0))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert len({a.tobytes() for a in first}) > 55


def test_the_image_is_left_alone(picture):
    image = picture(0)
    image.flags.writeable = False
    many(Augmentation(rotate90=True), image)
    np.testing.assert_array_equal(image, picture(0))


def test_half_of_the_images_are_flipped(picture):
    image = picture(0, (16, 16))
    results = many(PLAIN.model_copy(update={"flip": True}), image, n=200)
    flipped = sum((result == image[:, ::-1].transpose(2, 0, 1)).all() for result in results)
    straight = sum((result == image.transpose(2, 0, 1)).all() for result in results)
    assert flipped + straight == 200
    assert 70 < flipped < 130


def test_all_four_turns_come(picture):
    image = picture(0, (16, 16))
    results = {result.tobytes() for result in many(PLAIN.model_copy(update={"rotate90": True}), image)}
    assert results == {np.rot90(image, k).transpose(2, 0, 1).tobytes() for k in range(4)}


def test_crops_have_the_area_and_aspect_asked_for():
    rng = np.random.default_rng(0)
    boxes = [augment._crop(200, 300, (0.5, 0.7), rng) for _ in range(500)]
    for top, left, height, width in boxes:
        assert 0 <= top <= 200 - height
        assert 0 <= left <= 300 - width
        assert 0.49 < height * width / 60_000 < 0.71
        assert 0.74 < width / height < 1.35
    assert len({box[:2] for box in boxes}) > 400


def test_very_long_images_are_cropped_at_the_centre():
    assert augment._crop(10, 1000, (0.9, 1.0), np.random.default_rng(0)) == (0, 493, 10, 13)
    assert augment._crop(1000, 10, (0.9, 1.0), np.random.default_rng(0)) == (493, 0, 13, 10)
    assert Augmentation()(np.zeros((1, 1, 3), np.uint8), 8, "bilinear", np.random.default_rng(0)).shape == (3, 8, 8)


def test_operations_do_what_the_source_does(picture):
    image = Image.fromarray(picture(0, (224, 224)))

    class Plus:
        def random(self):
            return 0.0

    pixels = np.asarray(image).astype(float)
    bright = np.asarray(augment._brightness(image, 0.7, Plus()))
    np.testing.assert_allclose(bright, np.clip(pixels * 1.36, 0, 255), atol=1)
    moved = np.asarray(augment._translate_x(image, 0.7, Plus()))  # 7 pixels of 224
    np.testing.assert_array_equal(moved[:, :-8], np.asarray(image)[:, 7:-1])
    assert (moved[:, -6:] == 128).all()
    sheared = np.asarray(augment._shear_x(image, 1.0, Plus()))
    np.testing.assert_allclose(sheared[100, :190], pixels[100, 30:220], atol=12)  # 0.3 * row
    turned = np.asarray(augment._rotate(image, 1.0, Plus()))
    assert (turned[0, 0] == 128).all()
    np.testing.assert_allclose(turned[112, 112], pixels[112, 112], atol=12)
    assert np.asarray(augment._autocontrast(image, 0.7, Plus())).max() == 255


def test_every_operation_comes_and_some_images_stay(picture):
    image = picture(0, (16, 16))
    results = {r.tobytes() for r in many(PLAIN.model_copy(update={"randaugment": (1, 7)}), image, n=300)}
    assert image.transpose(2, 0, 1).tobytes() in results
    assert len(results) == 1 + 2 + 2 + 2 * 5  # as it was; two contrasts; two enhancements; five with either sign


@pytest.mark.parametrize("values", [{"crop": [0, 1]}, {"crop": [0.9, 0.5]}, {"randaugment": [2, 11]}, {"blur": True}])
def test_settings_out_of_range_are_refused(values):
    with pytest.raises(InputError):
        parse(Augmentation, values)


def test_it_is_fast_enough_for_two_cores(picture):
    image, rng = picture(0, (256, 256)), np.random.default_rng(0)
    started = time.process_time()
    for _ in range(100):
        Augmentation()(image, 224, "bicubic", rng)
    assert time.process_time() - started < 100 * 0.01  # 1.5 ms here; the limit leaves room for slow machines


@pytest.mark.parametrize("bands", [1, 4])
def test_all_bands_are_varied_alike_and_left_out_of_randaugment(picture, bands):
    image = np.repeat(picture(0)[..., :1], bands, axis=2)
    for result in many(Augmentation(rotate90=True), image):
        assert result.shape == (bands, 16, 16)
        assert all((band == result[0]).all() for band in result)
    plain = Augmentation(rotate90=True, randaugment=None)
    np.testing.assert_array_equal(many(Augmentation(rotate90=True), image), many(plain, image))


def test_three_bands_are_varied_as_a_band_alone_is(picture):
    augmentation = Augmentation(randaugment=None, rotate90=True)
    together, alone = many(augmentation, picture(0)), many(augmentation, picture(0)[..., :1])
    np.testing.assert_array_equal(np.stack(together)[:, :1], alone)
