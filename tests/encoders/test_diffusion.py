"""A tiny random Stable Diffusion, against diffusers' own whole U-Net with a hook on the block."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch

from eotune.core.errors import InputError
from eotune.encoders import load, load_image
from eotune.methods import create, load_image_model, save_adapted

TINY = {"block_out_channels": (32, 64), "norm_num_groups": 8}


@pytest.fixture(scope="module")
def diffusers():
    return pytest.importorskip("diffusers", reason="the diffusion extra is not installed")


@pytest.fixture(scope="module")
def saved(diffusers, tmp_path_factory):
    from transformers import CLIPTextConfig, CLIPTextModel

    folder = tmp_path_factory.mktemp("diffusion")
    torch.manual_seed(0)
    diffusers.UNet2DConditionModel(
        **TINY, sample_size=8, layers_per_block=1, cross_attention_dim=16, attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).save_pretrained(folder / "unet")  # fmt: skip
    diffusers.AutoencoderKL(
        **TINY, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    ).save_pretrained(folder / "vae")  # fmt: skip
    diffusers.PNDMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012).save_pretrained(
        folder / "scheduler"
    )
    words = {"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2}
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"vocab_size": len(words), "max_position_embeddings": 6, "bos_token_id": 0, "eos_token_id": 1}
    CLIPTextModel(CLIPTextConfig(**text, pad_token_id=1)).save_pretrained(folder / "text_encoder")
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps(words))
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 6}
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


PIXELS = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


@torch.no_grad()
def own_feature(diffusers, folder, block, timestep, draws, seed):
    """What diffusers' own classes give, one draw and one image at a time."""
    from transformers import CLIPTextModel

    unet = diffusers.UNet2DConditionModel.from_pretrained(folder, subfolder="unet").eval()
    vae = diffusers.AutoencoderKL.from_pretrained(folder, subfolder="vae").eval()
    schedule = diffusers.DDPMScheduler.from_pretrained(folder, subfolder="scheduler")
    text = CLIPTextModel.from_pretrained(folder, subfolder="text_encoder").eval()
    prompt = text(torch.tensor([[0, 1, 1, 1, 1, 1]])).last_hidden_state  # start, end, padded with ends
    kept = []
    number = int(block[-1]) if block != "mid" else 0
    place = {"mid": unet.mid_block, "up": unet.up_blocks[number], "down": unet.down_blocks[number]}[block.rstrip("01")]
    place.register_forward_hook(lambda _m, _a, output: kept.append(output[0] if isinstance(output, tuple) else output))
    generator = torch.Generator().manual_seed(seed)
    noises = torch.randn((draws, 4, 8, 8), generator=generator)
    for pixels in PIXELS:
        latents = vae.encode(pixels[None]).latent_dist.mean * vae.config.scaling_factor
        for noise in noises:
            noised = schedule.add_noise(latents, noise[None], torch.tensor([timestep]))
            unet(noised, timestep, encoder_hidden_states=prompt)
    return torch.stack([one.mean((0, 2, 3)) for one in kept]).view(len(PIXELS), draws, -1).mean(1)


@torch.no_grad()
@pytest.mark.parametrize(
    ("block", "timestep", "draws", "seed"),
    [("mid", 1, 8, 0), ("up0", 261, 2, 3), ("up1", 0, 1, 0), ("down0", 10, 1, 1)],
)
def test_features_are_those_of_the_whole_model(diffusers, saved, block, timestep, draws, seed):
    encoder = load_image(f"diffusers:{saved}@block={block},timestep={timestep},draws={draws},seed={seed}")
    expected = own_feature(diffusers, saved, block, timestep, draws, seed)
    assert encoder.dim == expected.shape[1]
    torch.testing.assert_close(encoder.image_features(PIXELS), expected, atol=1e-5, rtol=1e-4)


def test_the_middle_block_is_the_default_and_what_lies_behind_is_dropped(saved):
    encoder = load_image(f"diffusers:{saved}")
    assert (encoder.dim, encoder.transform.size, encoder.feature.draws) == (64, 16, 8)
    assert not [name for name, _ in encoder.named_parameters() if "up_blocks" in name or "decoder" in name]
    assert [block.path for block in encoder.towers["image"].blocks] == [
        "unet.down_blocks.0.attentions.0.transformer_blocks.0",
        "unet.mid_block.attentions.0.transformer_blocks.0",
    ]


def test_embeddings_depend_on_nothing_but_the_image(saved):
    encoder = load_image(f"diffusers:{saved}@draws=2")
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (30, 20, 3), dtype=np.uint8) for _ in range(4)]
    together = encoder.embed_images(images)
    torch.manual_seed(7)
    alone = np.concatenate([encoder.embed_images([image]) for image in images])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert encoder.fingerprint() == load_image(f"diffusers:{saved}@draws=2").fingerprint()
    assert encoder.fingerprint() != load_image(f"diffusers:{saved}@draws=2,seed=1").fingerprint()
    assert load_image(f"diffusers:{saved}", image_size=32).embed_images(images[:1]).shape == (1, 64)


@pytest.mark.parametrize("name", ["lora", "adapter", "adaptformer", "full", "frozen"])
def test_methods_adapt_the_unet_and_load_back(saved, name, tmp_path):
    encoder = load_image(f"diffusers:{saved}@draws=1")
    before = encoder.image_features(PIXELS).detach()
    method = create({"name": name})
    method.apply(encoder, seed=0)
    torch.testing.assert_close(encoder.image_features(PIXELS), before, atol=1e-6, rtol=1e-5)
    trained = {key: one for key, one in encoder.named_parameters() if one.requires_grad}
    assert not any(key.startswith("vae") for key in trained)
    if trained:
        encoder.enable_gradient_checkpointing()
        encoder.train().image_features(PIXELS).square().sum().backward()
        assert any(one.grad is not None and one.grad.any() for one in trained.values())
    with torch.no_grad():
        for one in trained.values():
            one += 0.02
        save_adapted(tmp_path, method, encoder.eval())
        loaded = load_image_model(f"run:{tmp_path}")
        torch.testing.assert_close(loaded.image_features(PIXELS), encoder.image_features(PIXELS))


def test_lora_loads_with_peft_alone(diffusers, saved, tmp_path):
    from peft import PeftModel

    encoder, method = load_image(f"diffusers:{saved}@block=up1,draws=1"), create({"name": "lora"})
    method.apply(encoder, seed=0)
    with torch.no_grad():
        for one in encoder.parameters():
            if one.requires_grad:
                one += 0.05
    method.save(encoder, tmp_path)
    whole = diffusers.UNet2DConditionModel.from_pretrained(saved, subfolder="unet").eval()
    kept = []
    whole.up_blocks[1].register_forward_hook(lambda _m, _a, output: kept.append(output))
    alone = PeftModel.from_pretrained(whole, tmp_path).eval()
    with torch.no_grad():
        latents = encoder.vae.encode(PIXELS).latent_dist.mode() * encoder.vae.config.scaling_factor
        noise = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(0))
        noised = encoder.signal**0.5 * latents + (1 - encoder.signal) ** 0.5 * noise
        alone(noised, 1, encoder_hidden_states=encoder.empty_prompt.expand(2, -1, -1))
        torch.testing.assert_close(kept[0].mean((2, 3)), encoder.image_features(PIXELS), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("@blok=mid", "'blok'; did you mean 'block'"),
        ("@block=middle", "unknown block 'middle'; write mid, or up1 or down1"),
        ("@block=up7", "has no block 'up7'; it has 2 on the way up"),
        ("@timestep=x", "timestep 'x' is no whole number"),
        ("@timestep=1000", "timestep 1000 is behind the last; write 0 to 999"),
        ("@draws=0", "no draws; write 1 or more"),
        ("#cls", "the model has no #cls"),
    ],
)
def test_wrong_settings_are_answered_in_one_line(saved, settings, says):
    with pytest.raises(InputError, match=says) as caught:
        load_image(f"diffusers:{saved}{settings}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "scheduler"])
def test_a_missing_part_is_named(saved, part, tmp_path):
    shutil.copytree(saved, tmp_path / "broken")
    shutil.rmtree(tmp_path / "broken" / part)
    with pytest.raises(InputError, match=f"its {part.replace('_', ' ')} could not be read"):
        load_image(f"diffusers:{tmp_path}/broken")


def test_what_it_cannot_do_is_said(saved, tmp_path):
    encoder = load_image(f"diffusers:{saved}")
    with pytest.raises(InputError, match="save the adapter"):
        encoder.save(tmp_path)
    with pytest.raises(InputError, match="takes 3 bands of its own, not 4"):
        load_image(f"diffusers:{saved}", channels=4)
    with pytest.raises(InputError, match="reads no text"):
        load(f"diffusers:{saved}")
    with pytest.raises(InputError, match="is not a multiple"):
        load_image(f"diffusers:{saved}", image_size=15)


def test_without_diffusers_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(InputError, match=r"run: pip install 'eotune\[diffusion\]'"):
        load_image("diffusers:org/name")
