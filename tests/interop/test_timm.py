"""Against timm itself, on random weights."""

import copy

import numpy as np
import pytest
import torch
from peft import PeftModel

from eotune.core.errors import InputError
from eotune.encoders import load, load_image
from eotune.methods import create, load_image_model, save_adapted

timm = pytest.importorskip("timm", reason="the interop extra is not installed")
pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]

NAMES = ["vit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2", "deit_tiny_patch16_224"]


@pytest.fixture(scope="module", params=NAMES)
def saved(request, tmp_path_factory):
    """A timm model with random weights, two blocks deep, and the name that loads it."""
    torch.manual_seed(0)
    model = timm.create_model(request.param, num_classes=7).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    path = tmp_path_factory.mktemp(request.param) / "weights.pt"
    torch.save({"state_dict": model.state_dict()}, path)
    model.reset_classifier(0)
    return model, f"timm:{request.param}@{path}"


@torch.no_grad()
def test_features_and_pixels_are_timms(saved, photographs):
    model, name = saved
    encoder = load_image(name)
    how = timm.data.resolve_model_data_config(model)
    prepare = timm.data.create_transform(**how, is_training=False)
    from PIL import Image

    theirs = torch.stack([prepare(Image.fromarray(image)) for image in photographs[:3]])
    ours = torch.from_numpy(np.stack([encoder.transform(image) for image in photographs[:3]]))
    torch.testing.assert_close(encoder.transform.normalise(ours), theirs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(encoder(ours), model(theirs), atol=1e-4, rtol=1e-4)
    assert encoder.dim == model.num_features
    assert len(encoder.towers["image"].blocks) == len(model.blocks)


@torch.no_grad()
def test_tokens_can_be_pooled_otherwise(saved):
    model, name = saved
    side = model.patch_embed.img_size[0]
    pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    states = model.forward_features(pixels)
    for feature, expected in (("cls", states[:, 0]), ("mean", states[:, model.num_prefix_tokens :].mean(1))):
        torch.testing.assert_close(load_image(f"{name}#{feature}").image_features(pixels), expected)


@torch.no_grad()
def test_another_size_and_other_bands_are_taken(saved):
    model, name = saved
    size = 4 * model.patch_embed.patch_size[0]
    resized = copy.deepcopy(model)
    resized.set_input_size(img_size=(size, size))
    grey = torch.randn(2, 1, size, size, generator=torch.Generator().manual_seed(0))
    expected = resized(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(load_image(name, image_size=size).image_features(grey.expand(-1, 3, -1, -1)), expected)
    wide = load_image(name, image_size=size, channels=5).image_features(grey.expand(-1, 5, -1, -1))
    torch.testing.assert_close(wide, expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(InputError, match="is not a multiple"):
        load_image(name, image_size=size + 1)


@pytest.mark.parametrize("method", ["lora", "adapter", "adaptformer", "full"])
def test_methods_adapt_it_and_load_back(saved, method, tmp_path):
    model, name = saved
    size = 2 * model.patch_embed.patch_size[0]
    encoder, change = load_image(name, image_size=size), create({"name": method})
    pixels = torch.randn(2, 3, size, size)
    before = encoder.image_features(pixels).detach()
    change.apply(encoder, seed=0)
    torch.testing.assert_close(encoder.image_features(pixels), before)
    encoder.enable_gradient_checkpointing()
    encoder.train().image_features(pixels).square().sum().backward()
    assert any(one.grad is not None and one.grad.any() for one in encoder.parameters())
    with torch.no_grad():
        for one in encoder.parameters():
            if one.requires_grad:
                one += 0.02
        save_adapted(tmp_path, change, encoder.eval())
        loaded = load_image_model(f"run:{tmp_path}")
        torch.testing.assert_close(loaded.image_features(pixels), encoder.image_features(pixels))
        assert not torch.allclose(loaded.image_features(pixels), before)
        if method == "lora":
            plain = copy.deepcopy(model)
            plain.set_input_size(img_size=(size, size))
            alone = PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()
            torch.testing.assert_close(alone(pixels), encoder.image_features(pixels))


def test_what_is_saved_is_read_again(saved, tmp_path):
    _, name = saved
    encoder = load_image(name)
    encoder.save(tmp_path)
    assert load_image(f"{name.partition('@')[0]}@{tmp_path}/model.safetensors").fingerprint() == encoder.fingerprint()


def test_wrong_names_are_answered_in_one_line(saved, tmp_path):
    _, name = saved
    torch.save({"a": torch.ones(1)}, tmp_path / "x.pt")
    cases = [
        ("timm:vit_tini_patch16_224", "unknown timm model 'vit_tini_patch16_224'; did you mean 'vit_tiny_patch16_224'"),
        (f"timm:vit_tiny_patch16_224@{tmp_path}/x.pt", "the weights do not fit the model"),
        (f"timm:vit_tiny_patch16_224@{tmp_path}/none.pt", "no such file"),
        (f"{name}#projected", "the model has no #projected"),
    ]
    for wrong, says in cases:
        with pytest.raises(InputError, match=says) as caught:
            load_image(wrong)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="reads no text"):
        load(name)
