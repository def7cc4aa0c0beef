import pytest
import torch
from transformers import SiglipConfig, SiglipModel

from eotune import encoders
from eotune.encoders.hf import HFDualEncoder
from eotune.encoders.positions import settle_positions
from eotune.encoders.preprocess import ImageTransform
from eotune.encoders.towers import pool_image


def small_siglip(size):
    torch.manual_seed(0)
    shared = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**shared, "vocab_size": 20, "max_position_embeddings": 8, "projection_size": 16}
    config = SiglipConfig(text_config=text, vision_config={**shared, "image_size": 32, "patch_size": 8})
    return HFDualEncoder(SiglipModel(config).eval(), None, ImageTransform(size))


@pytest.mark.parametrize("build", [lambda: encoders.load("tiny", image_size=96), lambda: small_siglip(48)])
def test_embeddings_stay_and_plain_calls_give_them(build):
    encoder = build()
    size = encoder.transform.size
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = encoder.image_features(pixels)
        settle_positions(encoder)
        assert torch.equal(encoder.image_features(pixels), before)
        assert torch.equal(encoder.model.get_image_features(pixel_values=pixels).pooler_output, before)
    assert encoder.native_size == encoder.model.config.vision_config.image_size == size


@pytest.mark.parametrize("family", ["vit", "clip", "siglip", "dinov2"])
def test_an_image_encoder_gives_its_features_in_plain_calls_too(family, models, tmp_path):
    encoder = encoders.load_image(f"hf:{models[family]}", image_size=48)
    pixels = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = encoder.image_features(pixels)
        settle_positions(encoder)
        assert torch.equal(encoder.image_features(pixels), before)
        encoder.save(tmp_path)
        model = type(encoder.model).from_pretrained(tmp_path).eval()
        plain = pool_image(model(pixel_values=pixels), encoder.pooling, 36)
    torch.testing.assert_close(plain, before)
    torch.testing.assert_close(encoders.load_image(f"hf:{tmp_path}").image_features(pixels), before)


def test_the_native_size_changes_nothing():
    encoder = encoders.load("tiny")
    table = encoder.model.vision_model.embeddings.position_embedding
    settle_positions(encoder)
    assert encoder.model.vision_model.embeddings.position_embedding is table
