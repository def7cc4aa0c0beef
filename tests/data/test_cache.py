import pickle

import numpy as np
import pytest
from PIL import Image

from eotune.core.errors import InputError
from eotune.data.bands import BandConfig
from eotune.data.cache import ImageCache, free_memory
from eotune.data.images import read_image


@pytest.fixture
def paths(tmp_path, picture):
    for number in range(12):
        Image.fromarray(picture(number, (20, 30))).save(tmp_path / f"{number}.png")
    return [tmp_path / f"{number}.png" for number in range(12)]


def test_images_are_those_of_the_files(paths):
    cache = ImageCache(paths)
    cache.fill()
    assert cache.kept == len(cache) == 12
    assert cache.kept_bytes == 12 * 20 * 30 * 3
    for image, path in zip(cache, paths, strict=True):
        np.testing.assert_array_equal(image, read_image(path))


def test_each_image_is_decoded_once(paths):
    cache = ImageCache(paths)
    first = cache[3]
    paths[3].unlink()
    assert cache[3] is first
    cache.fill()


@pytest.mark.parametrize("limit", [0, 3 * 1800, 3 * 1800 + 1799])
def test_what_does_not_fit_is_decoded_each_time(paths, limit):
    cache = ImageCache(paths, memory_limit_bytes=limit)
    cache.fill(threads=3)
    assert cache.kept == limit // 1800
    assert cache.kept_bytes <= limit
    np.testing.assert_array_equal(cache[11], read_image(paths[11]))
    assert [cache[index] is cache[index] for index in (0, 11)] == [limit > 0, False]


def test_bands_and_max_side_are_passed_on(paths):
    cache = ImageCache(paths, bands=BandConfig(bands=(1,)), max_side=10)
    assert cache[0].shape == (10, 15, 3)
    assert (cache[0][..., 0] == cache[0][..., 2]).all()


def test_images_cannot_be_written_to(paths):
    with pytest.raises(ValueError, match="read-only"):
        ImageCache(paths)[0][:] = 0


def test_all_unreadable_images_come_in_one_message(paths):
    paths[2].write_bytes(b"")
    paths[5].write_bytes(paths[5].read_bytes()[:50])
    paths[7].unlink()
    with pytest.raises(InputError) as caught:
        ImageCache(paths).fill(threads=4)
    text = str(caught.value)
    assert "3 problems" in text
    assert [text.index(f"{number}.png") for number in (2, 5, 7)] == sorted(
        text.index(f"{number}.png") for number in (2, 5, 7)
    )
    with pytest.raises(InputError, match="2.png: the image is empty"):
        ImageCache(paths)[2]


def test_a_cache_goes_to_other_processes(paths):
    cache = ImageCache(paths)
    cache.fill()
    copy = pickle.loads(pickle.dumps(cache))
    np.testing.assert_array_equal(copy[4], cache[4])


def test_the_default_limit_is_half_of_what_is_free():
    assert ImageCache([]).memory_limit_bytes == pytest.approx(free_memory() / 2, rel=0.5)


def test_a_cache_of_other_images_shares_what_is_decoded(paths):
    first = ImageCache(paths[:8], memory_limit_bytes=10 * 1800)
    first.fill()
    second = first.over(paths[4:])
    assert (second.kept, second.kept_bytes) == (4, 8 * 1800)
    assert second[0] is first[4]
    second.fill()
    assert (first.kept, second.kept, first.kept_bytes) == (8, 6, 10 * 1800)
    np.testing.assert_array_equal(second[7], read_image(paths[11]))
