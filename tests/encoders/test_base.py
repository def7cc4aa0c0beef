import numpy as np
import pytest
import torch

from eotune.core.errors import InputError
from eotune.encoders import load
from eotune.encoders.base import autocast, evaluating

FAMILIES = ["clip", "siglip", "naflex"]


def cosine(one, other):
    return (one * other).sum(1)


@pytest.mark.parametrize("family", FAMILIES)
def test_neither_batches_nor_padding_nor_order_change_an_embedding(family, models, images, texts):
    encoder = load(f"hf:{models[family]}")
    alone = np.concatenate([encoder.embed_images([image]) for image in images])
    np.testing.assert_allclose(encoder.embed_images(images, batch_size=2), alone, atol=2e-6)
    np.testing.assert_allclose(encoder.embed_images(images[::-1]), alone[::-1], atol=2e-6)
    alone = np.concatenate([encoder.embed_texts([text]) for text in texts])
    for batch_size in (1, 3, 256):
        np.testing.assert_allclose(encoder.embed_texts(texts, batch_size=batch_size), alone, atol=2e-6)
    np.testing.assert_allclose(encoder.embed_texts(texts[::-1]), alone[::-1], atol=2e-6)


def test_embeddings_are_float32_of_unit_length_and_nothing_gives_nothing(models, images, texts):
    encoder = load(f"hf:{models['clip']}")
    for embeddings, n in ((encoder.embed_images(images), 5), (encoder.embed_texts(texts), 4)):
        assert (embeddings.dtype, embeddings.shape) == (np.float32, (n, 24))
        np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)
    assert encoder.embed_images([]).shape == encoder.embed_texts([]).shape == (0, 24)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_stays_near_full_precision(family, precision, models, images, texts):
    encoder = load(f"hf:{models[family]}")
    for full, low in (
        (encoder.embed_images(images), encoder.embed_images(images, precision=precision)),
        (encoder.embed_texts(texts), encoder.embed_texts(texts, precision=precision)),
    ):
        assert low.dtype == np.float32
        assert not np.array_equal(low, full)  # autocast was on
        assert cosine(full, low).min() > 0.999
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}


def test_one_pass_gives_what_both_towers_give_alone(models, images, texts):
    encoder = load(f"hf:{models['siglip']}")
    pixels = torch.from_numpy(np.stack([encoder.transform(image) for image in images]))
    with torch.inference_mode():
        output = encoder(pixels, **encoder.tokenize(texts))
    unit = torch.nn.functional.normalize
    np.testing.assert_allclose(unit(output.image_embeddings, dim=-1).numpy(), encoder.embed_images(images), atol=1e-6)
    np.testing.assert_allclose(unit(output.text_embeddings, dim=-1).numpy(), encoder.embed_texts(texts), atol=1e-6)
    assert output.logit_scale == encoder.model.logit_scale.exp()
    assert output.logit_bias is encoder.model.logit_bias


@pytest.mark.parametrize(("family", "groups"), [("clip", [3, 7, 7, 10]), ("siglip", [10]), ("naflex", [10])])
def test_training_reads_texts_in_groups_of_like_length(family, groups, models, images, texts, monkeypatch):
    results, widths = [], []
    for grouped in (True, False):
        encoder = load(f"hf:{models[family]}").train()
        whole = encoder.text_features
        tokens = encoder.tokenize(texts * 33)
        if grouped:
            monkeypatch.setattr(
                encoder, "text_features", lambda *given, w=whole: widths.append(given[0].shape[1]) or w(*given)
            )
            pixels = torch.from_numpy(np.stack([encoder.transform(image) for image in images]))
            features = encoder(pixels, **tokens).text_embeddings
        else:
            features = whole(**tokens)
        weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(0))
        (features * weights).mean().backward()
        gradients = {
            name: p.grad for name, p in encoder.named_parameters() if p.grad is not None and "vision" not in name
        }
        results.append((features, gradients))
    assert widths == groups
    (found, ours), (expected, theirs) = results
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, atol=1e-6, rtol=1e-4)


def test_the_logit_scale_is_clamped_and_a_temperature_takes_its_place(models):
    clip, siglip = (load(f"hf:{models[family]}") for family in ("clip", "siglip"))
    for encoder, expected in ((clip, 100.0), (siglip, np.exp(6.0))):
        encoder.log_scale.data.fill_(6.0)
        assert encoder.logit_scale().item() == pytest.approx(expected)
    clip.temperature = torch.nn.Parameter(torch.tensor(0.05))
    assert clip.logit_scale().item() == pytest.approx(20.0)


def test_embedding_leaves_training_mode_as_it_was(models, images):
    encoder = load(f"hf:{models['clip']}").train()
    encoder.embed_images(images)
    assert encoder.training
    inside = []
    with pytest.raises(ZeroDivisionError), evaluating(encoder):
        inside.append(encoder.training) or 1 / 0
    assert inside == [False]
    assert encoder.training


@pytest.mark.parametrize("family", FAMILIES)
def test_recomputing_activations_changes_no_gradient(family, models, images, texts):
    gradients = []
    for recompute in (False, True):
        encoder = load(f"hf:{models[family]}").train()
        if recompute:
            encoder.enable_gradient_checkpointing()
        pixels = torch.from_numpy(np.stack([encoder.transform(image) for image in images]))
        output = encoder(pixels, **encoder.tokenize(texts))
        (output.image_embeddings.square().mean() + output.text_embeddings.square().mean()).backward()
        gradients.append({name: p.grad for name, p in encoder.named_parameters() if p.grad is not None})
    plain, recomputed = gradients
    assert plain.keys() == recomputed.keys()
    assert len(plain) > 50
    for name, gradient in plain.items():
        torch.testing.assert_close(recomputed[name], gradient, atol=1e-6, rtol=1e-5)


def test_a_fingerprint_follows_weights_and_preprocessing(models):
    def fresh(**options):
        return load(f"hf:{models['clip']}", **options)

    first = fresh().fingerprint()
    assert fresh().fingerprint() == first
    assert fresh(image_size=48).fingerprint() != first
    changed = fresh()
    next(changed.parameters()).data.view(-1)[0] += 1e-3
    prepared = [fresh() for _ in range(2)]
    prepared[0].transform = prepared[0].transform.__class__(**{**vars(prepared[0].transform), "centre": "round"})
    prepared[1].transform = prepared[1].transform.__class__(**{**vars(prepared[1].transform), "scaled_to": 36})
    assert len({first, changed.fingerprint(), *(encoder.fingerprint() for encoder in prepared)}) == 4


def test_an_unknown_precision_names_the_nearest():
    with pytest.raises(InputError, match="unknown precision 'bf61'; did you mean 'bf16'"):
        autocast(torch.device("cpu"), "bf61")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("precision", "near"), [("fp32", 0.99999), ("bf16", 0.999), ("fp16", 0.999)])
def test_cuda_equals_the_cpu(precision, near, models, images, texts):
    encoder = load(f"hf:{models['clip']}")
    on_cpu = encoder.embed_images(images), encoder.embed_texts(texts)
    encoder.to("cuda")
    assert encoder.device.type == "cuda"
    on_cuda = encoder.embed_images(images, precision=precision), encoder.embed_texts(texts, precision=precision)
    for one, other in zip(on_cpu, on_cuda, strict=True):
        assert cosine(one, other).min() > near
