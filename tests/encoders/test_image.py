from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, ViTForImageClassification

from eotune.core.errors import InputError
from eotune.encoders import load, load_image
from eotune.encoders.base import DualEncoder, ImageEncoder
from eotune.encoders.pretrained import read_config

PIXELS = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def features(encoder, pixels=PIXELS):
    with torch.no_grad():
        return encoder.image_features(pixels)


def test_a_vision_transformer_gives_its_class_token_after_the_final_norm(models):
    encoder = load_image(f"hf:{models['vit']}")
    expected = AutoModel.from_pretrained(models["vit"], add_pooling_layer=False)(PIXELS).last_hidden_state
    torch.testing.assert_close(features(encoder), expected[:, 0].detach())
    assert isinstance(encoder, ImageEncoder)
    assert not isinstance(encoder, DualEncoder)
    assert (encoder.dim, encoder.channels, list(encoder.towers)) == (32, 3, ["image"])
    assert encoder.towers["image"].projection is None
    patches = encoder.get_submodule(encoder.towers["image"].patch_embedding)
    assert patches.weight.shape == (32, 3, 8, 8)


def test_a_classifier_loses_its_head(models, copy_of):
    model = ViTForImageClassification(read_config(str(models["vit"]))).eval()
    folder = copy_of("vit")
    model.save_pretrained(folder)
    expected = model.vit(PIXELS).last_hidden_state[:, 0].detach()
    torch.testing.assert_close(features(load_image(f"hf:{folder}")), expected)


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_the_image_side_of_a_dual_encoder_is_pooled_before_its_projection(family, models):
    expected = AutoModel.from_pretrained(models[family]).vision_model(PIXELS).pooler_output.detach()
    torch.testing.assert_close(features(load_image(f"hf:{models[family]}")), expected)
    dual = load(f"hf:{models[family]}")
    torch.testing.assert_close(features(load_image(f"hf:{models[family]}#projected")), features(dual))


def test_a_projected_feature_is_in_the_shared_space(models):
    encoder = load_image(f"hf:{models['clip']}#projected")
    own = AutoModel.from_pretrained(models["clip"]).get_image_features(PIXELS).pooler_output.detach()
    torch.testing.assert_close(features(encoder), own)
    assert (encoder.dim, encoder.towers["image"].projection) == (24, "projection")


def test_a_pair_of_towers_gives_its_image_side(models):
    name = f"composed:{models['vit']}+{models['bert']}@16"
    torch.testing.assert_close(features(load_image(name)), features(load_image(f"hf:{models['vit']}")))
    torch.testing.assert_close(features(load_image(f"{name}#projected")), features(load(name)))


def test_the_bundled_model_has_an_image_side():
    encoder = load_image("tiny")
    assert (encoder.name, encoder.dim, encoder.training) == ("tiny", 160, False)


def test_tokens_can_be_pooled_otherwise(models):
    states = AutoModel.from_pretrained(models["vit"], add_pooling_layer=False)(PIXELS).last_hidden_state.detach()
    mean = load_image(f"hf:{models['vit']}#mean")
    torch.testing.assert_close(features(mean), states[:, 1:].mean(1))
    assert mean.fingerprint() != load_image(f"hf:{models['vit']}").fingerprint()
    assert mean.fingerprint() == load_image(f"hf:{models['vit']}#mean").fingerprint()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("hf:{vit}#pooler", "#pooler, but the model has no trained pooler; write #cls or #mean"),
        ("hf:{siglip}#cls", "#cls, but the model has no class token; write #mean"),
        ("hf:{vit}#men", "'men'; did you mean 'mean'"),
        ("hf:{vit}#projected", "is a vit model, not a dual encoder"),
        ("hf:{naflex}", r"takes patches \(NaFlex\)"),
        ("hf:{naflex}#projected", r"takes patches \(NaFlex\), not images"),
        ("hf:{bert}", "takes no images"),
        ("run:runs/x", "is an adapted model; use eotune.methods.adapted.load_image_model"),
        ("hff:x", "unknown encoder scheme 'hff'; did you mean 'hf'"),
    ],
)
def test_a_wrong_name_is_answered_in_one_line(name, says, models):
    with pytest.raises(InputError, match=says) as caught:
        load_image(name.format(**models))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", ["vit", "dinov2", "clip"])
def test_another_size_interpolates_positions(family, models, images):
    encoder = load_image(f"hf:{models[family]}", image_size=48)
    assert encoder.transform.size == 48
    assert encoder.embed_images(images[:2]).shape == (2, 32)
    with pytest.raises(InputError, match="not a multiple"):
        load_image(f"hf:{models[family]}", image_size=47)


def test_embeddings_are_the_features_as_they_are(models, images):
    encoder = load_image(f"hf:{models['vit']}").train()
    pixels = torch.from_numpy(np.stack([encoder.transform(image) for image in images]))
    with torch.no_grad():
        expected = encoder.eval()(pixels).numpy()
    embedded = encoder.train().embed_images(images, batch_size=2)
    np.testing.assert_allclose(embedded, expected, atol=1e-5)
    assert embedded.dtype == np.float32
    assert encoder.training
    assert np.ptp(np.linalg.norm(embedded, axis=1)) > 1e-3
    assert encoder.embed_images([]).shape == (0, 32)


@pytest.mark.parametrize("family", ["vit", "dinov2", "clip"])
def test_what_is_saved_is_loaded_by_name(family, models, images, tmp_path):
    encoder = load_image(f"hf:{models[family]}", image_size=48)
    encoder.save(tmp_path)
    again = load_image(f"hf:{tmp_path}", image_size=48)
    assert again.fingerprint() == encoder.fingerprint()
    np.testing.assert_array_equal(again.embed_images(images), encoder.embed_images(images))


def test_recomputing_activations_changes_no_gradient(models):
    gradients = []
    for recompute in (False, True):
        encoder = load_image(f"hf:{models['vit']}").train()
        if recompute:
            encoder.enable_gradient_checkpointing()
        encoder.image_features(PIXELS).square().mean().backward()
        gradients.append({name: one.grad for name, one in encoder.named_parameters() if one.grad is not None})
    plain, recomputed = gradients
    assert plain.keys() == recomputed.keys()
    assert len(plain) > 30
    for name, gradient in plain.items():
        torch.testing.assert_close(recomputed[name], gradient, atol=1e-6, rtol=1e-5)


VIT_TINY = Path(__file__).parents[2] / "../shared/weights/vit_tiny"


@pytest.mark.skipif(not VIT_TINY.is_dir(), reason="the ViT-Tiny is not beside the repository")
def test_a_real_classifiers_backbone(images):
    encoder = load_image(f"hf:{VIT_TINY}")
    model = ViTForImageClassification.from_pretrained(VIT_TINY, dtype=torch.float32).eval()
    pixels = encoder.transform.normalise(torch.from_numpy(np.stack([encoder.transform(image) for image in images])))
    with torch.no_grad():
        expected = model.vit(pixels).last_hidden_state[:, 0].numpy()
    np.testing.assert_allclose(encoder.embed_images(images), expected, atol=1e-4)
    assert (encoder.dim, encoder.transform.size) == (192, 224)
