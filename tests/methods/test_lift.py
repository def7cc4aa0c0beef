import torch

from eotune.encoders import load_image
from eotune.methods import create


def test_each_layer_learns_its_scale_from_1():
    encoder = load_image("tiny", image_size=32)
    pixels = torch.randint(0, 256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    before = encoder.embed_pixels(pixels, precision="fp32")
    method = create({"name": "lift", "bottleneck": 4})
    method.apply(encoder, seed=0)
    blocks = encoder.towers["image"].blocks
    scales = [encoder.get_parameter(f"{block.mlp}.scale") for block in blocks]
    assert len({id(scale) for scale in scales}) == len(blocks) > 1
    assert all(scale.item() == 1 and scale.requires_grad for scale in scales)
    assert (encoder.embed_pixels(pixels, precision="fp32") == before).all()


def test_a_fixed_scale_can_be_asked_for():
    encoder = load_image("tiny", image_size=32)
    create({"name": "lift", "scale": 0.1}).apply(encoder, seed=0)
    assert encoder.get_submodule(encoder.towers["image"].blocks[0].mlp).scale == 0.1
