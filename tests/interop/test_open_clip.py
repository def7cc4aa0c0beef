"""Converted weights, preprocessing and tokens against open_clip itself: random weights, nothing is downloaded."""

import gc

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from eotune.core.errors import InputError
from eotune.encoders import load
from eotune.encoders.open_clip import tokenizer_of
from eotune.encoders.open_clip_weights import ARCHITECTURES

open_clip = pytest.importorskip("open_clip", reason="the interop extra is not installed")
pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:.*QuickGELU:UserWarning"),
]

# The largest last: 4 GB of weights.
NAMES = ["ViT-B-32", "ViT-B-32-quickgelu", "ViT-B-16", "ViT-L-14", "ViT-H-14"]
TEXTS = [
    "an aerial photo of an airport with 12 planes",
    "Many Buildings, some GREEN trees & a river's bend... at 0.5m/px!",
    "two  spaces\tand\na line",
    "a caf\u00e9 beside S\u00e3o Paulo's harbour",
    "x",
    "",
    "a very long caption of a dense residential area " * 12,
]


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizer_of(open_clip.get_tokenizer("ViT-B-32"))


def randomised(name):
    """An open_clip model in which no parameter has the value of another or a neutral one."""
    torch.manual_seed(0)
    model = open_clip.create_model(name).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:  # biases start at zero and LayerNorms at one, where a mix-up would not show
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model, open_clip.image_transform(
        model.visual.image_size[0],
        is_train=False,
        mean=model.visual.preprocess_cfg["mean"],
        std=model.visual.preprocess_cfg["std"],
        interpolation=model.visual.preprocess_cfg["interpolation"],
        resize_mode=model.visual.preprocess_cfg["resize_mode"],
    )


def largest_difference(ours, theirs):
    return float(np.abs(np.asarray(ours) - np.asarray(theirs)).max())


@pytest.mark.timeout(1800)  # H/14 on a busy machine
@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_a_converted_file_equals_open_clip(name, photographs, tokenizer, tmp_path, record_property):
    reference, preprocess = randomised(name)
    pixels = torch.stack([preprocess(Image.fromarray(image)) for image in photographs])
    ids = open_clip.get_tokenizer(name)(TEXTS)
    theirs = {"image": reference.encode_image(pixels), "text": reference.encode_text(ids)}
    path = tmp_path / "weights.pt"
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in reference.state_dict().items()}}, path)
    scale = reference.logit_scale.item()
    del reference  # two models of H/14's size at a time would be 8 GB
    gc.collect()
    tokenizer.save_pretrained(tmp_path)

    ours = load(f"open_clip:{name}@{path}")
    path.unlink()  # pytest keeps folders of three sessions
    assert ours.model.config.vision_config.hidden_act == ("quick_gelu" if name.endswith("quickgelu") else "gelu")
    assert ours.log_scale.item() == scale
    prepared = ours.transform.normalise(torch.from_numpy(np.stack([ours.transform(image) for image in photographs])))
    tokens = ours.tokenize(TEXTS)
    measured = {
        "pixels": largest_difference(prepared, pixels),
        "image": largest_difference(ours.image_features(pixels), theirs["image"]),
        "text": largest_difference(ours.text_features(**tokens), theirs["text"]),
        "image, end to end": largest_difference(
            ours.embed_images(photographs), torch.nn.functional.normalize(theirs["image"], dim=-1)
        ),
        "text, end to end": largest_difference(
            ours.embed_texts(TEXTS), torch.nn.functional.normalize(theirs["text"], dim=-1)
        ),
    }
    for what, value in measured.items():
        record_property(what, value)
    print(name, {what: f"{value:.1e}" for what, value in measured.items()})
    assert max(measured.values()) < 1e-4


@torch.inference_mode()
def test_the_wrong_activation_shows(photographs, tokenizer, tmp_path):
    reference, preprocess = randomised("ViT-B-32")
    save_file({key: value.contiguous() for key, value in reference.state_dict().items()}, tmp_path / "w.safetensors")
    tokenizer.save_pretrained(tmp_path)
    ours = load(f"open_clip:ViT-B-32-quickgelu@{tmp_path / 'w.safetensors'}")
    pixels = preprocess(Image.fromarray(photographs[0]))[None]
    assert largest_difference(ours.image_features(pixels), reference.encode_image(pixels)) > 1e-3


def test_tokens_equal_open_clips(tokenizer):
    theirs = open_clip.get_tokenizer("ViT-B-32")(TEXTS)
    ours = tokenizer(TEXTS, padding="max_length", truncation=True, max_length=77, return_tensors="pt")
    mask = ours["attention_mask"].bool()
    assert torch.equal(ours["input_ids"][mask], theirs[mask])
    assert not theirs[~mask].any()  # open_clip pads with zeros, which no token before the end sees


@pytest.mark.parametrize("name", [*ARCHITECTURES, *(f"{name}-quickgelu" for name in ARCHITECTURES)])
def test_sizes_are_those_of_open_clips_configuration(name):
    ours, known = ARCHITECTURES[name.removesuffix("-quickgelu")], open_clip.get_model_config(name)
    image, text = known["vision_cfg"], known["text_cfg"]
    assert (ours.image_size, ours.patch, ours.image_width, ours.image_layers, ours.head_width) == (
        image["image_size"],
        image["patch_size"],
        image["width"],
        image["layers"],
        image.get("head_width", 64),
    )
    assert (ours.text_width, ours.text_layers, ours.text_heads) == (text["width"], text["layers"], text["heads"])
    assert ours.dim == known["embed_dim"]
    assert bool(known.get("quick_gelu")) == name.endswith("-quickgelu")


@pytest.mark.parametrize(
    ("name", "tag", "activation", "resize", "mean"),
    [
        ("ViT-B-32", "openai", "quick_gelu", "shortest", 0.48145466),
        ("ViT-B-32", "laion2b_s34b_b79k", "gelu", "shortest", 0.48145466),
        ("ViT-L-14", "laion2b_s32b_b82k", "gelu", "shortest", 0.5),
        ("ViT-H-14", "dfn5b", "quick_gelu", "squash", 0.48145466),
    ],
)
def test_a_tag_brings_its_activation_and_preprocessing(name, tag, activation, resize, mean, monkeypatch):
    create = open_clip.create_model
    asked = {}

    def without_download(name, *, pretrained, force_quick_gelu):
        asked.update(tag=pretrained, quick=force_quick_gelu)
        known = open_clip.get_pretrained_cfg(name, pretrained)  # on a model that takes little time to draw
        return create("ViT-B-32", force_preprocess_cfg={key: known[key] for key in ("mean", "std", "resize_mode")})

    monkeypatch.setattr(open_clip, "create_model", without_download)
    monkeypatch.setitem(ARCHITECTURES, name, ARCHITECTURES["ViT-B-32"])
    encoder = load(f"open_clip:{name}@{tag}")
    assert asked == {"tag": tag, "quick": activation == "quick_gelu"}
    assert encoder.model.config.vision_config.hidden_act == activation
    assert (encoder.transform.resize, encoder.transform.mean[0]) == (resize, mean)


def test_an_unknown_tag_names_the_nearest():
    with pytest.raises(InputError, match="unknown tag of open_clip's ViT-B-32 'opnai'; did you mean 'openai'"):
        load("open_clip:ViT-B-32@opnai")


@pytest.mark.parametrize("name", [f"{name}-quickgelu" for name in ARCHITECTURES])
def test_open_clip_lists_only_weights_of_quickgelu_under_that_name(name):
    for tag in open_clip.list_pretrained_tags_by_model(name):
        assert open_clip.get_pretrained_cfg(name, tag)["quick_gelu"]
