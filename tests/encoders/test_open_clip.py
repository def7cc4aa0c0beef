"""Files by name, on a small architecture; tests/interop holds the real ones against open_clip itself."""

import pickle
import sys
import types

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPTokenizer

from eotune.core.errors import InputError
from eotune.encoders import load, open_clip
from eotune.encoders.open_clip_weights import ARCHITECTURES, Architecture

NAME = "ViT-B-32"
SIZES = Architecture(32, 8, 32, 2, 16, 24, 2, 2, 12)
MERGES = [("s", "h"), ("i", "p</w>"), ("sh", "ip</w>")]
LETTERS = [*"abcdefghijklmnopqrstuvwxyz", *(f"{letter}</w>" for letter in "abcdefghijklmnopqrstuvwxyz")]
VOCABULARY = [*LETTERS, *("".join(pair) for pair in MERGES), "<|startoftext|>", "<|endoftext|>"]


def state_dict():
    """Random weights under open_clip's names."""
    torch.manual_seed(0)
    state = {
        "logit_scale": torch.tensor(3.0),
        "positional_embedding": torch.randn(10, 24),
        "token_embedding.weight": torch.randn(len(VOCABULARY), 24),
        "ln_final.weight": torch.randn(24), "ln_final.bias": torch.randn(24),
        "text_projection": torch.randn(24, 12),
        "visual.class_embedding": torch.randn(32),
        "visual.positional_embedding": torch.randn(17, 32),
        "visual.conv1.weight": torch.randn(32, 3, 8, 8),
        "visual.ln_pre.weight": torch.randn(32), "visual.ln_pre.bias": torch.randn(32),
        "visual.ln_post.weight": torch.randn(32), "visual.ln_post.bias": torch.randn(32),
        "visual.proj": torch.randn(32, 12),
    }  # fmt: skip
    for prefix, w in (("transformer", 24), ("visual.transformer", 32)):
        for i in range(2):
            shapes = {
                "ln_1.weight": (w,), "ln_1.bias": (w,), "ln_2.weight": (w,), "ln_2.bias": (w,),
                "attn.in_proj_weight": (3 * w, w), "attn.in_proj_bias": (3 * w,),
                "attn.out_proj.weight": (w, w), "attn.out_proj.bias": (w,),
                "mlp.c_fc.weight": (4 * w, w), "mlp.c_fc.bias": (4 * w,),
                "mlp.c_proj.weight": (w, 4 * w), "mlp.c_proj.bias": (w,),
            }  # fmt: skip
            state |= {f"{prefix}.resblocks.{i}.{key}": torch.randn(shape) * 0.2 for key, shape in shapes.items()}
    return state


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, NAME, SIZES)


@pytest.fixture
def folder(tmp_path):
    """A checkpoint with its tokenizer beside it."""
    save_file(state_dict(), tmp_path / "small.safetensors")
    vocabulary = {token: number for number, token in enumerate(VOCABULARY)}
    CLIPTokenizer(vocab=vocabulary, merges=MERGES, model_max_length=10).save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("suffix", "activation"), [("", "gelu"), ("-quickgelu", "quick_gelu")])
def test_a_file_is_converted_and_its_activation_recorded(suffix, activation, folder, images, tmp_path):
    encoder = load(f"open_clip:{NAME}{suffix}@{folder / 'small.safetensors'}")
    config = encoder.model.config
    assert (config.vision_config.hidden_act, config.text_config.hidden_act) == (activation, activation)
    assert (encoder.transform.size, encoder.transform.resize, encoder.transform.centre) == (32, "shortest", "round")
    assert encoder.transform.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    assert encoder.embed_images(images).shape == (5, 12)
    assert encoder.tokenize(["ship"])["input_ids"].tolist() == [[55, 54, 56]]
    encoder.save(tmp_path / "saved")
    again = load(f"hf:{tmp_path / 'saved'}")
    assert again.model.config.vision_config.hidden_act == activation
    squares = [image for image in images if image.shape[0] == image.shape[1]]
    np.testing.assert_array_equal(again.embed_images(squares), encoder.embed_images(squares))


def test_the_formats_of_a_checkpoint_are_equal(folder, texts):
    torch.save({"state_dict": {f"module.{k}": v for k, v in state_dict().items()}, "epoch": 3}, folder / "epoch_3.pt")
    torch.save(state_dict(), folder / "plain.bin")
    names = ("small.safetensors", "epoch_3.pt", "plain.bin")
    prints = {load(f"open_clip:{NAME}@{folder / name}").fingerprint() for name in names}
    assert len(prints) == 1


def test_another_size_is_taken_if_patches_tile_it(folder, images):
    encoder = load(f"open_clip:{NAME}@{folder / 'small.safetensors'}", image_size=48)
    assert encoder.transform.size == 48
    assert encoder.embed_images(images).shape == (5, 12)
    with pytest.raises(InputError, match="image_size 50 is not a multiple of .*; take 48 or 56"):
        load(f"open_clip:{NAME}@{folder / 'small.safetensors'}", image_size=50)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("ViT-B-23@x.pt", "unknown open_clip architecture 'ViT-B-23'; did you mean 'ViT-B-32'"),
        (NAME, f"open_clip:{NAME}; write open_clip:ARCH@FILE or open_clip:ARCH@TAG"),
        (f"{NAME}@", "write open_clip:ARCH@FILE or open_clip:ARCH@TAG"),
        (f"{NAME}@missing.pt", "missing.pt: no such file; name a .pt or .safetensors checkpoint"),
        (f"{NAME}@laion2b", r"the package 'open_clip' is not installed; run: pip install 'eotune\[interop\]'"),
        (f"{NAME}@{{folder}}", "no such file; name a .pt or .safetensors checkpoint"),
        (f"{NAME}@{{folder}}/code.pt", r"code\.pt: is no checkpoint of plain tensors .*; pickled objects are not"),
        (f"{NAME}@{{folder}}/torn.safetensors", r"torn\.safetensors: is no checkpoint .*; check that the file is comp"),
        (f"{NAME}@{{folder}}/torn.pt", r"torn\.pt: is no checkpoint of plain tensors"),
        (f"{NAME}@{{folder}}/numbers.pt", r"numbers\.pt: holds no state dict of tensors; save model\.state_dict"),
        (f"{NAME}@{{folder}}/fewer.pt", r"fewer\.pt: the weights do not fit .*missing 2 \(logit_scale, text_model"),
        (
            f"{NAME}@{{folder}}/deeper.pt",
            r"deeper\.pt: .*unexpected 1 \(visual\.transformer\.resblocks\.0\.ls_1\.gamma",
        ),
        (f"{NAME}@{{folder}}/wider.pt", r"wider\.pt: .*of another shape 1 \(visual_projection\.weight \(7, 32\)"),
    ],
)
def test_a_wrong_source_is_answered_in_one_line(source, says, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    state = state_dict()
    (folder / "code.pt").write_bytes(pickle.dumps(print))
    for name in ("torn.safetensors", "torn.pt"):
        (folder / name).write_bytes((folder / "small.safetensors").read_bytes()[:1000])
    torch.save({"epoch": 3, "loss": 0.5}, folder / "numbers.pt")
    fewer = {k: v for k, v in state.items() if k not in ("logit_scale", "ln_final.bias")}
    torch.save(fewer, folder / "fewer.pt")
    torch.save(state | {"visual.transformer.resblocks.0.ls_1.gamma": torch.ones(32)}, folder / "deeper.pt")
    torch.save(state | {"visual.proj": torch.ones(32, 7)}, folder / "wider.pt")
    with pytest.raises(InputError, match=says) as caught:
        load(f"open_clip:{source.format(folder=folder)}")
    assert "\n" not in str(caught.value)


def test_without_a_tokenizer_the_place_for_one_is_named(folder, monkeypatch):
    for path in folder.glob("*.json"):
        path.unlink()
    asked = []

    def unreachable(source, *, rows):
        asked.append(source)
        raise InputError("no network")

    monkeypatch.setattr(open_clip, "read_tokenizer", unreachable)
    says = "small.safetensors: no tokenizer beside it, and openai/clip-vit-base-patch32 cannot be fetched; put"
    with pytest.raises(InputError, match=says):
        load(f"open_clip:{NAME}@{folder / 'small.safetensors'}")
    assert asked == ["openai/clip-vit-base-patch32"]


def fake(monkeypatch, **known):
    """open_clip with one tag and without a network."""
    package = types.ModuleType("open_clip")
    package.get_pretrained_cfg = lambda name, tag: known if tag == "good" else {}
    package.list_pretrained_tags_by_model = lambda name: ["good"]
    preprocess = {"resize_mode": "squash", "interpolation": "bicubic", "mean": (0.5,) * 3, "std": (0.5,) * 3}
    visual = types.SimpleNamespace(preprocess_cfg=preprocess)
    package.create_model = lambda name, **options: types.SimpleNamespace(visual=visual, state_dict=state_dict)
    encoder = {token.replace("|startoftext|", "start_of_text").replace("|endoftext|", "end_of_text"): number
               for number, token in enumerate(VOCABULARY)}  # fmt: skip
    simple = types.SimpleNamespace(encoder=encoder, bpe_ranks=dict.fromkeys(MERGES, 0), context_length=10)
    package.get_tokenizer = lambda name: simple
    monkeypatch.setitem(sys.modules, "open_clip", package)
    return package


@pytest.mark.parametrize(("known", "activation"), [({"quick_gelu": True}, "quick_gelu"), ({"url": "x"}, "gelu")])
def test_a_tag_is_fetched_by_open_clip(known, activation, monkeypatch, images, texts):
    fake(monkeypatch, **known)
    encoder = load(f"open_clip:{NAME}@good")
    assert encoder.model.config.text_config.hidden_act == activation
    assert (encoder.transform.resize, encoder.transform.mean) == ("squash", (0.5, 0.5, 0.5))
    assert encoder.tokenize(["ship"])["input_ids"].tolist() == [[55, 54, 56]]
    assert encoder.embed_images(images).shape == (5, 12)


def test_a_tag_that_is_unknown_or_out_of_reach_is_one_line(monkeypatch):
    package = fake(monkeypatch, url="x")
    with pytest.raises(InputError, match="unknown tag of open_clip's ViT-B-32 'goood'; did you mean 'good'"):
        load(f"open_clip:{NAME}@goood")

    def unreachable(name, **options):
        raise RuntimeError("Failed to download\nmore")

    package.create_model = unreachable
    with pytest.raises(InputError, match="open_clip:ViT-B-32@good: Failed to download; check the network, or name"):
        load(f"open_clip:{NAME}@good")
