import numpy as np
import pytest
import torch
from PIL import Image

from eotune.core.errors import InputError
from eotune.encoders.preprocess import ImageTransform


@pytest.mark.parametrize("shape", [(64, 64), (150, 150), (90, 133), (133, 90), (31, 47), (224, 225)])
def test_equals_transformers_pil_processor(shape):
    from transformers import CLIPImageProcessorPil

    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
    transform = ImageTransform(64, "shortest", "bicubic", tuple(processor.image_mean), tuple(processor.image_std))
    import torch

    ours = transform.normalise(torch.from_numpy(transform(image))[None])[0]
    theirs = processor(Image.fromarray(image), return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_squash_ignores_the_aspect():
    image = np.random.default_rng(0).integers(0, 256, (40, 90, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    np.testing.assert_array_equal(ImageTransform(32, "squash")(image), expected)


def test_an_image_a_pixel_wide_costs_no_memory():
    assert ImageTransform(64)(np.zeros((20000, 1, 3), np.uint8)).shape == (3, 64, 64)


@pytest.mark.parametrize(("width", "floor", "rounded"), [(9, 0, 0), (10, 1, 1), (11, 1, 2), (13, 2, 2), (15, 3, 4)])
def test_an_odd_margin_is_halved_as_each_library_does(width, floor, rounded):
    """torchvision's CenterCrop rounds half to even; transformers' processors take the floor."""
    image = np.zeros((8, width, 3), np.uint8) + np.arange(width, dtype=np.uint8)[:, None]
    assert ImageTransform(8)(image)[0, 0, 0] == floor
    assert ImageTransform(8, centre="round")(image)[0, 0, 0] == rounded


def test_normalised_pixels_pass_through_and_others_are_scaled():
    import torch

    transform = ImageTransform(4, mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 0.25))
    pixels = torch.full((2, 3, 4, 4), 255, dtype=torch.uint8)
    normalised = transform.normalise(pixels)
    assert normalised[0, :, 0, 0].tolist() == [1.0, 1.0, 0.0]
    assert transform.normalise(normalised) is normalised


@pytest.mark.parametrize("resize", ["shortest", "squash"])
@pytest.mark.parametrize("bands", [1, 2, 6])
def test_every_band_is_prepared_as_one_of_three(resize, bands):
    image = np.random.default_rng(0).integers(0, 256, (40, 70, bands), dtype=np.uint8)
    result = ImageTransform(16, resize, mean=(0.5,) * bands, std=(0.5,) * bands, scaled_to=20)(image)
    assert result.shape == (bands, 16, 16)
    for band in range(bands):
        grey = ImageTransform(16, resize, scaled_to=20)(np.repeat(image[..., band : band + 1], 3, axis=2))
        np.testing.assert_array_equal(result[band], grey[0])


def test_every_band_has_its_own_normalisation():
    transform = ImageTransform(4, mean=(0.0, 0.5), std=(1.0, 0.25))
    pixels = transform.normalise(torch.full((1, 2, 4, 4), 255, dtype=torch.uint8))
    assert pixels[0, :, 0, 0].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(("shape", "bands"), [((8, 8, 4), 4), ((8, 8), 1)])
def test_an_image_with_other_bands_is_refused(shape, bands):
    with pytest.raises(InputError, match=f"an image of {bands} bands came to a model of 3"):
        ImageTransform(4)(np.zeros(shape, np.uint8))


def test_five_crops_are_the_centre_and_the_corners():
    transform = ImageTransform(size=28)
    image = np.random.default_rng(0).integers(0, 256, (31, 31, 3), dtype=np.uint8)  # 28 + 28 * 24 / 224: no scaling
    whole = np.moveaxis(image, 2, 0)
    centre, *corners = transform.five_crops(image)
    np.testing.assert_array_equal(centre, whole[:, 1:29, 1:29])
    for view, (top, left) in zip(corners, ((0, 0), (0, 3), (3, 0), (3, 3)), strict=True):
        np.testing.assert_array_equal(view, whole[:, top : top + 28, left : left + 28])
