import copy

import pytest
import torch
from transformers import CLIPConfig

from eotune.methods import create, method_problems, parameter_counts


def adapter(encoder, **settings):
    method = create({"name": "adapter", "bottleneck": 4, **settings})
    method.apply(encoder, seed=0)
    return method


def block_output(encoder, tower, number):
    """Return what a block was given and what it returned, for one call of the tower."""
    calls = []
    encoder.get_submodule(encoder.towers[tower].blocks[number].path).register_forward_hook(
        lambda _module, args, output: calls.append((args[0], output[0] if isinstance(output, tuple) else output))
    )
    return calls


@pytest.mark.parametrize("placement", ["houlsby", "pfeiffer"])
def test_a_pre_ln_block_follows_the_equation(small_clip, placement, perturb, pixels):
    plain = copy.deepcopy(small_clip.eval()).model.vision_model.encoder.layers[1]
    adapter(small_clip, placement=placement)
    perturb(small_clip)
    calls = block_output(small_clip, "image", 1)
    small_clip.image_features(pixels)
    x, output = calls[0]
    attended = plain.self_attn(plain.layer_norm1(x), None)[0]
    if placement == "houlsby":
        attended = attended + small_clip.adapters["image_1_attention"](attended)
    x = x + attended
    high = plain.mlp(plain.layer_norm2(x))
    torch.testing.assert_close(output, x + high + small_clip.adapters["image_1_mlp"](high))


@pytest.mark.parametrize("placement", ["houlsby", "pfeiffer"])
def test_a_post_ln_block_adds_before_its_layer_norm(small_composed, placement, perturb, tokens):
    plain = copy.deepcopy(small_composed.eval()).text_model.encoder.layer[1]
    adapter(small_composed, placement=placement)
    perturb(small_composed)
    calls = block_output(small_composed, "text", 1)
    ids = {key: value[:1, :3] for key, value in tokens.items()}  # no padding, so no mask in the formula below
    small_composed.text_features(**ids)
    x, output = calls[0]
    attended = plain.attention.output.dense(plain.attention.self(x)[0])
    if placement == "houlsby":
        attended = attended + small_composed.adapters["text_1_attention"](attended)
    x = plain.attention.output.LayerNorm(x + attended)
    high = plain.output.dense(plain.intermediate(x))
    expected = plain.output.LayerNorm(x + high + small_composed.adapters["text_1_mlp"](high))
    torch.testing.assert_close(output, expected)


def test_names_say_tower_layer_and_place(encoder):
    """Saved adapters are read by these names."""
    adapter(encoder)
    places = [(tower, number) for tower, depth in (("image", 3), ("text", 2)) for number in range(depth)]
    assert set(encoder.adapters) == {f"{t}_{i}_{place}" for t, i in places for place in ("attention", "mlp")}
    assert set(encoder.adapters["text_0_mlp"].state_dict()) == {"down.weight", "down.bias", "up.weight", "up.bias"}


def test_one_adapter_a_tower_and_place(encoder, perturb):
    adapter(encoder, share="layers")
    assert set(encoder.adapters) == {"image_attention", "image_mlp", "text_attention", "text_mlp"}
    users = {encoder.get_submodule(block.mlp)._shared[0] for block in encoder.towers["image"].blocks}
    assert users == {encoder.adapters["image_mlp"]}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"placement": "pfeiffer", "share": "layers"}, 165_248),  # the .17 M of PE-RSITR's comparison
        ({"placement": "pfeiffer"}, 1_982_976),
        ({}, 3_965_952),
    ],
)
def test_size_at_vit_b_32(make_clip, settings, expected):
    encoder = make_clip(meta=True, config=CLIPConfig())
    create({"name": "adapter", "logit_scale": "frozen", **settings}).apply(encoder, seed=0)
    assert parameter_counts(encoder).trainable == expected


def test_fresh_weights_depend_on_the_seed_and_on_their_place_alone(make_clip):
    encoders = [make_clip() for _ in range(3)]
    for encoder, towers, seed in zip(encoders, ("both", "text", "both"), (0, 0, 1), strict=True):
        create({"name": "adapter", "towers": towers}).apply(encoder, seed=seed)
    downs = [encoder.adapters["text_1_mlp"].down.weight for encoder in encoders]
    assert torch.equal(downs[0], downs[1])
    assert not torch.equal(downs[0], downs[2])
    assert not torch.equal(downs[0], encoders[0].adapters["text_0_mlp"].down.weight)


def test_heads_and_scale_train_when_asked(encoder):
    adapter(encoder, heads=True, logit_scale="frozen")
    trained = {name for name, one in encoder.named_parameters() if one.requires_grad}
    assert encoder.log_scale_name not in trained
    heads = tuple(tower.projection for tower in encoder.towers.values())
    assert {name for name in trained if not name.startswith("adapters.")} == {
        name for name, _ in encoder.named_parameters() if name.startswith(heads)
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"placement": "pfeifer"}, "'method.placement'"),
        ({"bottleneck": 0}, "'method.bottleneck'"),
        ({"botleneck": 3}, "did you mean 'bottleneck'"),
    ],
)
def test_wrong_settings_are_explained(settings, message):
    problems = method_problems({"name": "adapter", **settings})
    assert len(problems) == 1
    assert message in problems[0]
