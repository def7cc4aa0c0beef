"""Exported CLIPs in open_clip itself."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from eotune import encoders
from eotune.encoders.to_open_clip import write_open_clip

open_clip = pytest.importorskip("open_clip", reason="the extra interop is not installed")
pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]
TEXTS = ["White planes are parked", "a long row of houses with red roofs beside the sea", "a"]


@pytest.mark.parametrize("size", [64, 96])
@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_open_clip_gives_the_same_embeddings(tmp_path, photographs, size, activation):
    encoder = encoders.load("tiny", image_size=size)
    encoder.transform = replace(encoder.transform, centre="round")
    for module in encoder.modules():
        if type(module).__name__ == "CLIPMLP":
            module.activation_fn = {"gelu": torch.nn.GELU(), "quick_gelu": QuickGELU()}[activation]
    for side in (encoder.model.config.vision_config, encoder.model.config.text_config):
        side.hidden_act = activation
    expected = encoder.embed_images(photographs), encoder.embed_texts(TEXTS)
    scale = encoder.logit_scale().item()
    write_open_clip(encoder, tmp_path)
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path}")
    pixels = torch.stack([preprocess(Image.fromarray(image)) for image in photographs])
    with torch.inference_mode():
        found = model.eval().encode_image(pixels, normalize=True), model.encode_text(tokenizer(TEXTS), normalize=True)
    np.testing.assert_allclose(found[0].numpy(), expected[0], atol=1e-4)
    np.testing.assert_allclose(found[1].numpy(), expected[1], atol=1e-4)
    assert model.logit_scale.exp().item() == pytest.approx(scale, rel=1e-5)


class QuickGELU(torch.nn.Module):
    def forward(self, values):
        return values * torch.sigmoid(1.702 * values)
