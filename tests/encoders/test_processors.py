import json

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from eotune.core.errors import InputError
from eotune.encoders.preprocess import ImageTransform
from eotune.encoders.processors import read_transform, transform_of, write_preprocessing

SQUARE = {"height": 32, "width": 32}
PROCESSORS = [
    ("CLIP", {"size": {"shortest_edge": 32}, "crop_size": SQUARE}),
    ("CLIP", {"size": {"shortest_edge": 40}, "crop_size": SQUARE}),
    ("CLIP", {"size": {"shortest_edge": 32}, "crop_size": SQUARE, "do_normalize": False}),
    ("Siglip", {"size": SQUARE}),
    ("ViT", {"size": SQUARE}),
    ("ViT", {"size": SQUARE, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}),
    ("Bit", {"size": {"shortest_edge": 36}, "crop_size": SQUARE}),
]


@pytest.mark.parametrize(("kind", "values"), PROCESSORS)
def test_pixels_equal_the_processors(kind, values, images):
    processor = getattr(transformers, f"{kind}ImageProcessorPil")(**values)
    transform = transform_of(processor, source="x")
    for image in images:
        theirs = processor(Image.fromarray(image), return_tensors="np")["pixel_values"][0]
        ours = transform.normalise(torch.from_numpy(transform(image)))
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_naflex_is_squashed_which_for_squares_is_its_own_rule(images):
    processor = transformers.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16)
    transform = transform_of(processor, source="x")
    assert (transform.size, transform.resize) == (32, "squash")
    from eotune.encoders.hf import patchify

    theirs = processor(Image.fromarray(images[0]), return_tensors="pt")
    ours = patchify(transform.normalise(torch.from_numpy(transform(images[0]))[None]), 8)
    torch.testing.assert_close(ours, theirs["pixel_values"], atol=2e-6, rtol=0)
    assert theirs["spatial_shapes"].tolist() == [[4, 4]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # As hub repositories of transformers 4 and before have them.
        (
            {"feature_extractor_type": "CLIPFeatureExtractor", "size": 32, "crop_size": 32, "resample": 3},
            ("shortest", "bicubic", None),
        ),
        ({"feature_extractor_type": "ViTFeatureExtractor", "size": 32, "resample": 2}, ("squash", "bilinear", None)),
        (
            {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 36}, "crop_size": SQUARE}
            | {"resample": 3, "do_center_crop": True},
            ("shortest", "bicubic", 36),
        ),
    ],
)
def test_files_of_older_releases_are_read(values, expected, tmp_path, models):
    normalise = {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values | normalise))
    (tmp_path / "config.json").write_text((models["clip"] / "config.json").read_text())
    transform = read_transform(str(tmp_path), None, native_size=32)
    assert (transform.resize, transform.interpolation, transform.scaled_to) == expected
    assert transform.size == 32


@pytest.mark.parametrize("nested", [False, True])
def test_dinov3s_file_is_followed_to_the_rounding_of_8_bits(nested, tmp_path, images):
    mean, std = [0.430, 0.411, 0.296], [0.213, 0.156, 0.143]  # of its satellite weights
    values = {"image_processor_type": "DINOv3ViTImageProcessorFast", "size": SQUARE, "resample": 2, "do_resize": True}
    values |= {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
    values |= {"image_mean": mean, "image_std": std}
    values |= {"do_center_crop": None, "crop_size": None, "data_format": "channels_first", "device": None}
    name, written = ("processor_config", {"image_processor": values}) if nested else ("preprocessor_config", values)
    (tmp_path / f"{name}.json").write_text(json.dumps(written))
    transform = read_transform(str(tmp_path), transformers.DINOv3ViTConfig(), native_size=32)
    assert (transform.resize, transform.size, transform.mean) == ("squash", 32, tuple(mean))
    for image in images:
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
        resized = torch.nn.functional.interpolate(pixels, (32, 32), mode="bilinear", antialias=True)[0]
        theirs = (resized - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
        ours = transform.normalise(torch.from_numpy(transform(image)))
        steps = 255 * torch.tensor(std).view(3, 1, 1) * (ours - theirs).abs()  # Pillow rounds after each of two passes
        assert steps.max() < 2
        assert steps.mean() < 0.5


def test_without_a_file_the_familys_rule_counts_at_the_models_size(tmp_path):
    transform = read_transform(str(tmp_path), transformers.CLIPConfig(), native_size=96)
    assert (transform.size, transform.resize, transform.interpolation) == (96, "shortest", "bicubic")
    with pytest.raises(InputError, match="no preprocessor_config.json, and bert has no usual preprocessing; add the"):
        read_transform(str(tmp_path), transformers.BertConfig(), native_size=96)


@pytest.mark.parametrize("text", ["{", '{"image_processor_type": "NoSuchProcessor"}', "[]", "null"])
def test_a_broken_file_is_named(text, tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(
        InputError, match="preprocessor_config.json cannot be read .*; take the file that came"
    ) as caught:
        read_transform(str(tmp_path), transformers.CLIPConfig(), native_size=32)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("ViT", {"size": {"height": 32, "width": 48}}),
        ("CLIP", {"size": {"shortest_edge": 32}, "crop_size": SQUARE, "do_rescale": False}),
        ("CLIP", {"size": {"shortest_edge": 32}, "crop_size": SQUARE, "rescale_factor": 1 / 127.5}),
        ("CLIP", {"size": {"shortest_edge": 32}, "do_center_crop": False}),
        ("CLIP", {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 24}}),
        ("CLIP", {"size": {"longest_edge": 32, "shortest_edge": 16}, "crop_size": SQUARE}),
        ("Siglip", {"size": SQUARE, "do_resize": False}),
    ],
)
def test_a_rule_that_cannot_be_followed_is_refused(kind, values):
    processor = getattr(transformers, f"{kind}ImageProcessorPil")(**values)
    with pytest.raises(InputError, match=f"odd: {kind}ImageProcessorPil prepares images in a way that is not followed"):
        transform_of(processor, source="odd")


@pytest.mark.parametrize(
    "transform",
    [
        ImageTransform(32),
        ImageTransform(32, "squash", "bilinear", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)),
        ImageTransform(32, "shortest", "lanczos", scaled_to=40),
        ImageTransform(32, "squash", "nearest", scaled_to=40),
    ],
)
def test_what_is_written_is_read_back_by_us_and_followed_by_transformers(transform, images, tmp_path):
    write_preprocessing(transform, tmp_path)
    assert read_transform(str(tmp_path), None, native_size=1) == transform
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    theirs = processor(Image.fromarray(images[1]), return_tensors="np")["pixel_values"][0]
    np.testing.assert_allclose(transform.normalise(torch.from_numpy(transform(images[1]))), theirs, atol=2e-6)
