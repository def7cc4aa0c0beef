import pytest
import torch
from transformers import SiglipConfig, SiglipModel

from eotune import encoders
from eotune.encoders.hf import HFDualEncoder
from eotune.encoders.positions import settle_positions
from eotune.encoders.preprocess import ImageTransform


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


def test_the_native_size_changes_nothing():
    encoder = encoders.load("tiny")
    table = encoder.model.vision_model.embeddings.position_embedding
    settle_positions(encoder)
    assert encoder.model.vision_model.embeddings.position_embedding is table
