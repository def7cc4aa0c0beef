import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, BertModel, CLIPModel, CLIPVisionModel, ViTModel

from eotune.core.errors import InputError
from eotune.encoders import load

PATHS = ("config.json", "projection.safetensors", "vision/model.safetensors", "text/model.safetensors")


@pytest.fixture(scope="module")
def pair(models):
    """ViT with BERT, by two names."""
    return f"composed:{models['vit']}+{models['bert']}@16"


@pytest.fixture
def saved(pair, tmp_path):
    load(pair).save(tmp_path / "saved")
    return tmp_path / "saved"


def rewrite(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@torch.inference_mode()
def test_embeddings_equal_both_towers_pooled_and_projected(pair, models, images, texts):
    encoder = load(pair)
    vit, bert = ViTModel.from_pretrained(models["vit"]), BertModel.from_pretrained(models["bert"])
    processor = AutoImageProcessor.from_pretrained(models["vit"], backend="pil")
    pixels = processor([Image.fromarray(image) for image in images], return_tensors="pt")["pixel_values"]
    expected = encoder.image_projection(vit.eval()(pixels).last_hidden_state[:, 0])
    np.testing.assert_allclose(encoder.embed_images(images), unit(expected), atol=1e-6)
    rows = []
    for text in texts:  # one at a time, without padding: the mean over what is there
        ids = encoder.tokenizer(text, return_tensors="pt", truncation=True, max_length=12)["input_ids"]
        rows.append(encoder.text_projection(bert.eval()(ids).last_hidden_state[0].mean(0)))
    np.testing.assert_allclose(encoder.embed_texts(texts), unit(torch.stack(rows)), atol=1e-6)
    assert (encoder.dim, encoder.max_tokens, encoder.transform.size) == (16, 12, 32)
    assert encoder.backbones == {"image": "image_model", "text": "text_model"}


def unit(values):
    return torch.nn.functional.normalize(values, dim=-1).numpy()


def test_the_same_two_names_draw_the_same_projections(pair, models):
    first, second = load(pair), load(pair)
    assert first.fingerprint() == second.fingerprint()
    assert load(f"composed:{models['vit']}+{models['bert']}").dim == 256
    assert first.image_projection.weight.std().item() == pytest.approx(32**-0.5, rel=0.15)
    assert first.logit_scale().item() == pytest.approx(1 / 0.07)


@pytest.mark.parametrize("size", [None, 48])
def test_saved_and_loaded_again_it_is_the_same(pair, size, images, texts, tmp_path):
    encoder = load(pair, image_size=size)
    encoder.save(tmp_path)
    again = load(f"composed:{tmp_path}")
    assert again.fingerprint() == encoder.fingerprint()
    np.testing.assert_array_equal(again.embed_images(images), encoder.embed_images(images))
    np.testing.assert_array_equal(again.embed_texts(texts), encoder.embed_texts(texts))
    assert all((tmp_path / path).is_file() for path in PATHS)


def test_another_size_interpolates_positions(pair, images):
    encoder = load(pair, image_size=48)
    pixels = torch.from_numpy(np.stack([encoder.transform(image) for image in images]))
    assert pixels.shape == (5, 3, 48, 48)
    with torch.inference_mode():
        output = encoder.image_model(encoder.transform.normalise(pixels), interpolate_pos_encoding=True)
        expected = unit(encoder.image_projection(output.last_hidden_state[:, 0]))
    np.testing.assert_allclose(encoder.embed_images(images), expected, atol=1e-6)


@torch.inference_mode()
def test_sides_of_dual_encoders_can_be_taken_apart(models, images, texts):
    """CLIP's image side by its own pooler, SigLIP's text side, which is no sentence encoder, by its mean."""
    encoder = load(f"composed:hf:{models['clip']}+hf:{models['siglip']}@8")
    assert encoder.settings.image_pooling == "pooler"
    assert not any(block.causal for block in encoder.towers["text"].blocks)
    whole = CLIPVisionModel.from_pretrained(models["clip"]).eval()
    pixels = encoder.transform.normalise(torch.from_numpy(np.stack([encoder.transform(image) for image in images])))
    expected = encoder.image_projection(whole(pixels).pooler_output)
    np.testing.assert_allclose(encoder.embed_images(images), unit(expected), atol=1e-6)
    causal = load(f"composed:{models['vit']}+{models['clip']}@8")
    assert causal.settings.text_pooling == "last"
    assert all(block.causal for block in causal.towers["text"].blocks)
    text = CLIPModel.from_pretrained(models["clip"]).eval().text_model
    ids = causal.tokenize(texts[:1])["input_ids"]
    expected = causal.text_projection(text(ids).last_hidden_state[:, -1])
    np.testing.assert_allclose(causal.embed_texts(texts)[:1], unit(expected), atol=1e-6)


def test_dinov2_keeps_its_margin_at_another_size(models, images):
    encoder = load(f"composed:{models['dinov2']}+{models['bert']}@8", image_size=64)
    assert (encoder.transform.size, encoder.transform.scaled_to) == (64, 72)
    assert encoder.embed_images(images).shape == (5, 8)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_stays_near_full_precision(pair, precision, images, texts):
    encoder = load(pair)
    for full, low in (
        (encoder.embed_images(images), encoder.embed_images(images, precision=precision)),
        (encoder.embed_texts(texts), encoder.embed_texts(texts, precision=precision)),
    ):
        assert not np.array_equal(low, full)
        assert (full * low).sum(1).min() > 0.999


def test_padding_and_batches_change_nothing(pair, images, texts):
    encoder = load(pair)
    alone = np.concatenate([encoder.embed_texts([text]) for text in texts])
    np.testing.assert_allclose(encoder.embed_texts(texts), alone, atol=2e-6)
    alone = np.concatenate([encoder.embed_images([image]) for image in images])
    np.testing.assert_allclose(encoder.embed_images(images, batch_size=3), alone, atol=2e-6)


def test_recomputing_activations_changes_no_gradient(pair, images, texts):
    gradients = []
    for recompute in (False, True):
        encoder = load(pair)
        for part in encoder.modules():  # BERT's dropout would draw anew
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
        if recompute:
            encoder.enable_gradient_checkpointing()
        pixels = torch.from_numpy(np.stack([encoder.transform(image) for image in images]))
        output = encoder.train()(pixels, **encoder.tokenize(texts))
        (output.image_embeddings.square().mean() + output.text_embeddings.square().mean()).backward()
        gradients.append({name: p.grad for name, p in encoder.named_parameters() if p.grad is not None})
    plain, recomputed = gradients
    assert plain.keys() == recomputed.keys()
    assert len(plain) > 50
    for name, gradient in plain.items():
        torch.testing.assert_close(recomputed[name], gradient, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"image_pooling": "max"}, r"config\.json"),
        ({"embed_dim": 0}, r"config\.json.*embed_dim"),
        ({"embed_dimension": 8}, r"config\.json.*embed_dimension.*embed_dim"),
        ({"max_tokens": 13}, "max_tokens 13, but the text tower reads at most 12; write 12 or less"),
        ({"embed_dim": 8}, r"projection\.safetensors.*of another shape 3 \(image_projection\.bias \(16,\) instead"),
    ],
)
def test_wrong_settings_are_refused(change, says, saved):
    rewrite(saved, **change)
    with pytest.raises(InputError, match=says) as caught:
        load(f"composed:{saved}")
    assert "\n" not in str(caught.value)


def test_pooling_a_class_token_that_is_not_there_is_refused(models, tmp_path):
    load(f"composed:{models['siglip']}+{models['bert']}@8").save(tmp_path)
    rewrite(tmp_path, image_pooling="cls")
    with pytest.raises(InputError, match="image_pooling 'cls', but the vision tower has no class token; write 'mean'"):
        load(f"composed:{tmp_path}")


@pytest.mark.parametrize("path", PATHS)
def test_a_missing_file_is_named(path, saved):
    (saved / path).unlink()
    with pytest.raises(InputError, match=re.escape(path.partition("/")[0])) as caught:
        load(f"composed:{saved}")
    assert "\n" not in str(caught.value)


def test_projections_that_do_not_fit_are_named(saved):
    path = saved / "projection.safetensors"
    state = load_file(path)
    bias = state.pop("image_projection.bias")
    save_file({**state, "text_projection.bias": bias.clone()}, path)
    with pytest.raises(InputError, match=r"missing 1 \(image_proj.*unexpected 1 \(text_projection\.bias\)"):
        load(f"composed:{saved}")
    path.write_bytes(b"\x80\x04no tensors")
    with pytest.raises(InputError, match=r"projection\.safetensors: not a safetensors file .*; check the file"):
        load(f"composed:{saved}")


def test_a_scale_of_one_element_counts_as_a_scalar(saved):
    path = saved / "projection.safetensors"
    save_file({**load_file(path), "logit_scale": torch.tensor([3.0])}, path)
    assert load(f"composed:{saved}").log_scale.item() == 3.0


def test_settings_that_are_no_object_are_refused(saved):
    (saved / "config.json").write_text("[1]")
    with pytest.raises(InputError, match=r"config\.json: holds no JSON object"):
        load(f"composed:{saved}")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere", "composed:nowhere: no such directory; name a directory, or two models as in"),
        ("+b", r"composed:\+b: not of the form IMAGE\+TEXT@DIM"),
        ("{vit}+{bert}@0", "bert@0: no such directory"),
        ("{clip}/config.json+{bert}", "is a file, not a directory"),
        ("{bert}+{vit}@8", "bert: a bert model takes no images; name a vision transformer"),
        ("{vit}+{vit}@8", "vit: a vit model is no text encoder; name a sentence encoder"),
        ("{naflex}+{bert}@8", r"naflex: a siglip2_vision_model model takes patches \(NaFlex\); name a vision transf"),
    ],
)
def test_a_wrong_source_is_answered_in_one_line(name, says, models):
    with pytest.raises(InputError, match=says) as caught:
        load("composed:" + name.format(**models))
    assert "\n" not in str(caught.value)


def test_an_image_size_that_patches_do_not_tile_is_refused(pair):
    with pytest.raises(InputError, match="image_size 30 is not a multiple of .*patch size 8; take 24 or 32"):
        load(pair, image_size=30)
