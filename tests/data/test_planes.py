import numpy as np
import pytest
from PIL import Image

from eotune.data.planes import from_pictures, to_pictures

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 31, 6), dtype=np.uint8)


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 6])
def test_bands_come_back_in_order_in_memory_of_their_own(bands):
    image = IMAGE[..., :bands]
    back = from_pictures(to_pictures(image))
    np.testing.assert_array_equal(back, image.transpose(2, 0, 1))
    assert back.flags.c_contiguous
    assert back.flags.writeable
    assert not np.shares_memory(back, image)


@pytest.mark.parametrize("resampling", [Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.LANCZOS])
def test_a_band_is_resized_the_same_with_others_and_alone(resampling):
    image = IMAGE[..., :3]
    together = from_pictures([picture.resize((13, 9), resampling) for picture in to_pictures(image)])
    for band in range(3):
        alone = from_pictures([one.resize((13, 9), resampling) for one in to_pictures(image[..., band : band + 1])])
        np.testing.assert_array_equal(together[band], alone[0])
