"""Every family of vision transformers that hf: reads, in small: loaded, adapted, and by peft alone."""

import numpy as np
import pytest
import torch
import transformers
from peft import PeftModel

from eotune.encoders import load_image
from eotune.methods import create

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"image_size": 32, "patch_size": 8}
DECODER = {"decoder_hidden_size": 16, "decoder_intermediate_size": 16, "decoder_num_hidden_layers": 1}
SQUARE = {"size": {"height": 32, "width": 32}}
FAMILIES = {
    "vit": ("ViT", SIZES, "ViTForImageClassification", "ViT"),
    "dinov2": ("Dinov2", SIZES, "Dinov2Model", "ViT"),
    "dinov2_registers": ("Dinov2WithRegisters", SIZES, "Dinov2WithRegistersModel", "ViT"),
    "dinov3": ("DINOv3ViT", SIZES | {"num_register_tokens": 3}, "DINOv3ViTModel", "ViT"),
    "mae": ("ViTMAE", SIZES | DECODER | {"decoder_num_attention_heads": 2}, "ViTMAEForPreTraining", "ViT"),
    "clip": ("CLIPVision", SIZES, "CLIPVisionModel", "ViT"),
    "siglip": ("SiglipVision", SIZES, "SiglipVisionModel", "Siglip"),
}
PIXELS = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(scope="module", params=FAMILIES)
def saved(request, tmp_path_factory):
    """A family's name, a random model of it, and its folder."""
    config, sizes, kind, processor = FAMILIES[request.param]
    model = getattr(transformers, kind)(getattr(transformers, f"{config}Config")(**sizes))
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2)
    folder = tmp_path_factory.mktemp(request.param)
    model.eval().save_pretrained(folder)
    getattr(transformers, f"{processor}ImageProcessorPil")(**SQUARE).save_pretrained(folder)
    return request.param, model, folder


def own_features(family, model, pixels):
    """What transformers' own class gives, pooled by hand."""
    if family == "mae":  # its own class shuffles its tokens even where it drops none
        noise = torch.arange(16.0).expand(len(pixels), -1)
        model.config.mask_ratio = model.vit.embeddings.config.mask_ratio = 0.0
        return model.vit(pixels, noise=noise).last_hidden_state[:, 0]
    if family == "vit":
        return model.vit(pixels).last_hidden_state[:, 0]
    output = model(pixels)
    return output.pooler_output if family in ("clip", "siglip") else output.last_hidden_state[:, 0]


def moved(encoder, **settings):
    method = create(settings)
    method.apply(encoder, seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return method


@torch.no_grad()
def test_features_are_its_own_classs_and_the_same_every_time(saved):
    family, model, folder = saved
    encoder = load_image(f"hf:{folder}")
    assert encoder.dim == 32
    assert len(encoder.towers["image"].blocks) == 2
    torch.testing.assert_close(encoder.image_features(PIXELS), own_features(family, model, PIXELS))
    assert torch.equal(encoder.image_features(PIXELS), encoder.image_features(PIXELS))
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    assert load_image(f"hf:{folder}", image_size=48).embed_images([pixels]).shape == (1, 32)


@pytest.mark.parametrize("settings", [{"name": "lora"}, {"name": "adapter"}, {"name": "adaptformer"}], ids=str)
def test_every_block_is_adapted_and_only_by_what_trains(saved, settings):
    encoder = load_image(f"hf:{saved[2]}")
    before = encoder.image_features(PIXELS).detach()
    method = create(settings)
    method.apply(encoder, seed=0)
    torch.testing.assert_close(encoder.image_features(PIXELS), before)  # torch takes another path for frozen attention
    encoder.train().image_features(PIXELS).square().sum().backward()
    trained = {name: one for name, one in encoder.named_parameters() if one.requires_grad}
    assert {name for name, one in trained.items() if one.grad is None or not one.grad.any()} <= {
        name
        for name in trained
        if "lora_A" in name or ".down." in name  # behind what starts at zero
    }
    assert all(one.grad is None for name, one in encoder.named_parameters() if name not in trained)


def test_lora_loads_with_peft_alone(saved, tmp_path):
    family, _, folder = saved
    encoder = load_image(f"hf:{folder}")
    method = moved(encoder, name="lora")
    method.save(encoder, tmp_path)
    plain = (
        load_image(f"hf:{folder}").model if family in ("vit", "mae") else transformers.AutoModel.from_pretrained(folder)
    )
    alone = PeftModel.from_pretrained(plain, tmp_path).eval()
    output = alone(PIXELS)
    pooled = output.pooler_output if family in ("clip", "siglip") else output.last_hidden_state[:, 0]
    torch.testing.assert_close(pooled, encoder.image_features(PIXELS))


@torch.no_grad()
def test_other_bands_are_taken(saved):
    encoder = load_image(f"hf:{saved[2]}", channels=5)
    grey = PIXELS[:, :1]
    expected = load_image(f"hf:{saved[2]}").image_features(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(encoder.image_features(grey.expand(-1, 5, -1, -1)), expected, atol=1e-5, rtol=1e-4)


def test_recomputing_activations_changes_no_gradient(saved):
    gradients = []
    for recompute in (False, True):
        encoder = load_image(f"hf:{saved[2]}")
        moved(encoder, name="lora")
        if recompute:
            encoder.enable_gradient_checkpointing()
        torch.manual_seed(0)  # DINOv3 stretches its positions at random in training, as it was trained
        encoder.train().image_features(PIXELS).square().mean().backward()
        gradients.append({name: one.grad for name, one in encoder.named_parameters() if one.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert gradients[0]
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-5)
