import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from eotune.core.errors import InputError
from eotune.encoders import load
from eotune.encoders.hf import patchify

FAMILIES = ["clip", "siglip", "naflex"]


@torch.inference_mode()
def theirs(folder, images, texts):
    """What transformers' own pipeline gives: processor, model, normalisation."""
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    pixels = processor([Image.fromarray(image) for image in images], return_tensors="pt")
    padding = True if model.config.model_type == "clip" else "max_length"
    tokens = tokenizer(texts, padding=padding, truncation=True, max_length=10, return_tensors="pt")
    mask = {"attention_mask": tokens["attention_mask"]} if padding is True else {}
    features = (
        model.get_image_features(**pixels).pooler_output,
        model.get_text_features(input_ids=tokens["input_ids"], **mask).pooler_output,
    )
    return [torch.nn.functional.normalize(one, dim=-1).numpy() for one in features]


@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_equal_transformers_own_pipeline(family, models, images, texts):
    if family == "naflex":  # its own grids keep the aspect; for squares they are the same
        images = [image for image in images if image.shape[0] == image.shape[1]]
    encoder = load(f"hf:{models[family]}")
    expected_images, expected_texts = theirs(models[family], images, texts)
    np.testing.assert_allclose(encoder.embed_images(images), expected_images, atol=1e-5)
    np.testing.assert_allclose(encoder.embed_texts(texts), expected_texts, atol=1e-5)
    assert expected_images.shape[1] == encoder.dim


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_and_loaded_again_it_is_the_same(family, models, images, texts, tmp_path):
    encoder = load(f"hf:{models[family]}", image_size=48)
    encoder.save(tmp_path)
    again = load(f"hf:{tmp_path}")
    assert again.transform == encoder.transform
    assert again.fingerprint() == encoder.fingerprint()
    np.testing.assert_array_equal(again.embed_images(images), encoder.embed_images(images))
    np.testing.assert_array_equal(again.embed_texts(texts), encoder.embed_texts(texts))


@pytest.mark.parametrize("family", FAMILIES)
def test_another_size_interpolates_positions_as_transformers_does(family, models, images):
    encoder = load(f"hf:{models[family]}", image_size=48)
    pixels = torch.from_numpy(np.stack([encoder.transform(image) for image in images]))
    assert pixels.shape == (5, 3, 48, 48)
    with torch.inference_mode():
        model = AutoModel.from_pretrained(models[family]).eval()
        values = encoder.transform.normalise(pixels)
        if family == "naflex":
            grid = {"spatial_shapes": torch.full((5, 2), 6), "pixel_attention_mask": torch.ones(5, 36)}
            expected = model.get_image_features(pixel_values=patchify(values, 8), **grid).pooler_output
        else:
            expected = model.get_image_features(pixel_values=values, interpolate_pos_encoding=True).pooler_output
    np.testing.assert_allclose(
        encoder.embed_images(images), torch.nn.functional.normalize(expected, dim=-1).numpy(), atol=1e-6
    )


def test_patches_are_siglip2s_own():
    from transformers.models.siglip2.image_processing_pil_siglip2 import convert_image_to_patches

    image = np.random.default_rng(0).integers(0, 256, (24, 16, 3))
    expected = convert_image_to_patches(image.transpose(2, 0, 1), 8)
    np.testing.assert_array_equal(patchify(torch.from_numpy(image).permute(2, 0, 1)[None], 8)[0], expected)


def test_families_differ_where_they_should(models, texts):
    clip, siglip = (load(f"hf:{models[family]}") for family in ("clip", "siglip"))
    assert all(block.causal for block in clip.towers["text"].blocks)
    assert not any(block.causal for block in siglip.towers["text"].blocks)
    assert (clip.logit_bias, clip.max_logit_scale, siglip.max_logit_scale) == (None, 100.0, None)
    assert siglip.logit_bias is siglip.model.logit_bias
    assert clip.tokenize(["ships"])["input_ids"].shape == (1, 3)
    padded = siglip.tokenize(["ships"])
    assert padded["input_ids"].shape == (1, 10)
    assert padded["attention_mask"].all()  # SigLIP was trained to read its padding
    for encoder in (clip, siglip):
        for tower in encoder.towers.values():
            for path in (tower.path, tower.projection, *(block.mlp for block in tower.blocks)):
                encoder.get_submodule(path)
        assert encoder.log_scale_name == "model.logit_scale"


def test_long_texts_are_cut_to_what_the_model_reads(models):
    encoder = load(f"hf:{models['clip']}")
    tokens = encoder.tokenize(["many " * 50, "ships"])
    assert tokens["input_ids"].shape == (2, 10)
    assert tokens["input_ids"][0, -1] == 3  # the end stays


def test_a_model_of_another_kind_is_refused(models):
    with pytest.raises(
        InputError, match=r"vit: is a vit model, not a dual encoder .*; join .* composed:IMAGE\+TEXT@DIM"
    ):
        load(f"hf:{models['vit']}")


@pytest.mark.parametrize("size", [44, 0, -8])
def test_an_image_size_that_patches_do_not_tile_is_refused(size, models):
    with pytest.raises(InputError, match=rf"image_size {size} is not a multiple of .* patch size 8; take"):
        load(f"hf:{models['clip']}", image_size=size)
