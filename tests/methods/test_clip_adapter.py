import copy

import pytest
import torch
from transformers import CLIPConfig

from eotune.core.errors import InputError
from eotune.methods import create, method_problems, parameter_counts


def clip_adapter(encoder, **settings):
    method = create({"name": "clip_adapter", **settings})
    method.apply(encoder, seed=0)
    return method


@pytest.mark.parametrize("alpha", [0.2, 0.6])
def test_embeddings_follow_the_equation(encoder, pixels, tokens, alpha):
    images, texts = encoder.image_features(pixels), encoder.text_features(**tokens)
    clip_adapter(encoder, alpha=alpha, towers="both")
    for name, before, after in (
        ("image", images, encoder.image_features(pixels)),
        ("text", texts, encoder.text_features(**tokens)),
    ):
        head = encoder.get_submodule(encoder.towers[name].projection)
        w1, w2 = head.down.weight, head.up.weight
        assert w1.shape == (2, 8)
        for f, result in zip(before, after, strict=True):
            torch.testing.assert_close(result, alpha * (w2 @ (w1 @ f).clamp(min=0)) + (1 - alpha) * f)


def test_the_image_alone_by_default(encoder, tokens):
    before = encoder.text_features(**tokens)
    clip_adapter(encoder)
    assert torch.equal(encoder.text_features(**tokens), before)


def test_identity_starts_in_the_same_direction(encoder, pixels):
    before = encoder.image_features(pixels)
    method = clip_adapter(encoder, start="identity")
    torch.testing.assert_close(encoder.image_features(pixels), 0.8 * before)
    assert method.starts_pretrained()
    assert not create({"name": "clip_adapter"}).starts_pretrained()


def test_fresh_weights_depend_on_the_seed_and_the_tower_alone(small_clip):
    twin, other = copy.deepcopy(small_clip), copy.deepcopy(small_clip)
    clip_adapter(small_clip, towers="both")
    clip_adapter(twin, towers="text")
    create({"name": "clip_adapter", "towers": "text"}).apply(other, seed=1)
    downs = [one.model.text_projection.down.weight for one in (small_clip, twin, other)]
    assert torch.equal(downs[0], downs[1])
    assert not torch.equal(downs[0], downs[2])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, 131_072), ({"towers": "both", "reduction": 2}, 524_288)],  # PE-RSITR's .52 M
)
def test_size_at_vit_b_32(make_clip, settings, expected):
    encoder = make_clip(meta=True, config=CLIPConfig())
    clip_adapter(encoder, logit_scale="frozen", **settings)
    assert parameter_counts(encoder).trainable == expected


def test_a_reduction_to_nothing_is_refused(small_clip):
    with pytest.raises(
        InputError, match="method.reduction: 9 is more than the 8 numbers of an embedding of 'hf:small'"
    ):
        clip_adapter(small_clip, reduction=9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"alpha": 0}, "'method.alpha'"), ({"alpha": 1.0}, "'method.alpha'"), ({"start": "p"}, "start")],
)
def test_wrong_settings_are_explained(settings, message):
    problems = method_problems({"name": "clip_adapter", **settings})
    assert len(problems) == 1
    assert message in problems[0]
