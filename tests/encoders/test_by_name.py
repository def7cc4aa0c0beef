import sys

import pytest

from eotune import encoders
from eotune.core.errors import InputError
from eotune.encoders.by_name import load, load_image


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("hff:openai/clip", "unknown encoder scheme 'hff'; did you mean 'hf'"),
        ("rnu:runs/demo", "unknown encoder scheme 'rnu'; did you mean 'run'"),
        ("run:runs/demo", "'run:runs/demo' is an adapted model; use eotune.methods.adapted.load_model"),
        ("", "unknown encoder scheme ''; Known: composed, hf, open_clip, run, tiny"),
        ("openai/clip-vit-base-patch32", "has no scheme; write hf:openai/clip-vit-base-patch32, or composed:"),
        ("hf:", "encoder 'hf:'; write for instance hf:openai/clip-vit-base-patch32"),
        ("hf", "encoder 'hf'; write for instance"),
        ("tiny:large", "encoder 'tiny:large'; write"),
    ],
)
def test_a_wrong_name_is_answered_in_one_line(name, says):
    with pytest.raises(InputError, match=says) as caught:
        load(name)
    assert "\n" not in str(caught.value)


def test_a_folder_without_scheme_is_recognised(models, monkeypatch):
    monkeypatch.chdir(models["clip"].parent)
    with pytest.raises(InputError, match="encoder 'clip' has no scheme; write hf:clip"):
        load("clip")


def test_an_encoder_keeps_its_name_and_comes_ready_for_inference(models):
    encoder = load(f"hf:{models['clip']}")
    assert encoder.name == f"hf:{models['clip']}"
    assert not encoder.training
    assert encoder.device.type == "cpu"


def test_what_an_extra_brings_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"run: pip install 'eotune\[interop\]'"):
        load_image("timm:vit_tiny_patch16_224")


def test_the_package_offers_its_loaders_and_nothing_else():
    assert (encoders.load, encoders.load_image) == (load, load_image)
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        encoders.lod  # noqa: B018
