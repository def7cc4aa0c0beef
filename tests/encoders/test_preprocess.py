import numpy as np
import pytest
from PIL import Image

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
