import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import CLIPConfig

from eotune.core.errors import InputError
from eotune.methods import create, parameter_counts


def linear(encoder, **settings):
    method = create({"name": "linear", **settings})
    method.apply(encoder, seed=0)
    return method


def test_embeddings_follow_the_equation(encoder, pixels, perturb):
    before = encoder.image_features(pixels)
    linear(encoder)
    perturb(encoder)
    w = encoder.get_submodule(encoder.towers["image"].projection).map
    expected = torch.stack([f + w @ f for f in before])
    torch.testing.assert_close(encoder.image_features(pixels), expected)


@pytest.mark.parametrize("towers", ["both", "image", "text"])
def test_on_features_is_the_adapted_encoder(encoder, pixels, tokens, perturb, towers):
    """What trains on cached embeddings of length 1 gives the directions that the whole encoder gives."""
    images, texts = (
        nn.functional.normalize(one) for one in (encoder.image_features(pixels), encoder.text_features(**tokens))
    )
    method = linear(encoder, towers=towers)
    perturb(encoder)
    (phase,) = method.phases()
    output = phase.on_features(encoder)(images, texts)
    for now, whole in (
        (output.image_embeddings, encoder.image_features(pixels)),
        (output.text_embeddings, encoder.text_features(**tokens)),
    ):
        torch.testing.assert_close(nn.functional.normalize(now), nn.functional.normalize(whole))
    assert output.logit_scale == encoder.logit_scale()


def test_on_features_shares_the_encoders_parameters(encoder):
    method = linear(encoder)
    model = method.phases()[0].on_features(encoder)
    trained = {id(one) for one in encoder.parameters() if one.requires_grad}
    assert {id(one) for one in model.parameters() if one.requires_grad} == trained
    assert len(trained) == 3


def test_merged_into_heads_with_and_without_a_bias(encoder, pixels, tokens, perturb):
    names = list(encoder.state_dict())
    method = linear(encoder)
    perturb(encoder)
    images, texts = encoder.image_features(pixels), encoder.text_features(**tokens)
    assert method.merge(encoder)
    assert list(encoder.state_dict()) == names
    torch.testing.assert_close(encoder.image_features(pixels), images)
    torch.testing.assert_close(encoder.text_features(**tokens), texts)


def test_a_head_that_is_not_linear_is_not_merged(small_clip, pixels, perturb):
    small_clip.model.visual_projection = nn.Sequential(small_clip.model.visual_projection, nn.Tanh())
    method = linear(small_clip)
    perturb(small_clip)
    before = small_clip.image_features(pixels)
    assert not method.merge(small_clip)
    assert torch.equal(small_clip.image_features(pixels), before)


def test_an_encoder_without_heads_is_refused(small_clip):
    small_clip.towers["image"] = replace(small_clip.towers["image"], projection=None)
    untouched = copy.deepcopy(small_clip)
    with pytest.raises(InputError, match="'hf:small' has no image projection head; use another method"):
        linear(small_clip)
    assert list(small_clip.state_dict()) == list(untouched.state_dict())


def test_size_at_vit_b_32(make_clip):
    encoder = make_clip(meta=True, config=CLIPConfig())
    linear(encoder)
    assert parameter_counts(encoder).trainable == 2 * 512**2 + 1
