import copy

import pytest
import torch
from transformers import CLIPConfig

from eotune.methods import create, method_problems, parameter_counts


def adaptformer(encoder, **settings):
    method = create({"name": "adaptformer", "bottleneck": 4, **settings})
    method.apply(encoder, seed=0)
    return method


def watch(encoder, tower):
    """Return the list that every call of a tower's second block adds its input and output to."""
    calls = []
    encoder.get_submodule(encoder.towers[tower].blocks[1].path).register_forward_hook(
        lambda _module, args, output: calls.append((args[0], output[0] if isinstance(output, tuple) else output))
    )
    return calls


@pytest.mark.parametrize("settings", [{}, {"scale": 0.5}, {"scale": "learned"}])
def test_a_pre_ln_block_follows_the_equation(small_clip, settings, perturb, pixels):
    plain = copy.deepcopy(small_clip.eval()).model.vision_model.encoder.layers[1]
    adaptformer(small_clip, **settings)
    perturb(small_clip)
    calls = watch(small_clip, "image")
    small_clip.image_features(pixels)
    x, output = calls[0]
    x = x + plain.self_attn(plain.layer_norm1(x), None)[0]
    h = plain.layer_norm2(x)
    scale = small_clip.get_submodule(small_clip.towers["image"].blocks[1].mlp).scale
    assert scale == settings.get("scale", 0.1) or settings == {"scale": "learned"}
    expected = x + plain.mlp(h) + scale * small_clip.adapters["image_1"](h)
    torch.testing.assert_close(output, expected)
    assert (x + plain.mlp(h) - output).abs().max() > 1e-2


def test_a_post_ln_block_reads_what_its_mlp_reads(small_composed, perturb, tokens):
    plain = copy.deepcopy(small_composed.eval()).text_model.encoder.layer[1]
    adaptformer(small_composed)
    perturb(small_composed)
    calls = watch(small_composed, "text")
    small_composed.text_features(**{key: value[:1, :3] for key, value in tokens.items()})
    x, output = calls[0]
    h = plain.attention.output.LayerNorm(x + plain.attention.output.dense(plain.attention.self(x)[0]))
    high = plain.output.dense(plain.intermediate(h))
    torch.testing.assert_close(output, plain.output.LayerNorm(h + high + 0.1 * small_composed.adapters["text_1"](h)))


def test_a_learned_scale_starts_at_1_one_a_layer(encoder):
    method = adaptformer(encoder, scale="learned", share="layers")
    scales = {f"{block.mlp}.scale" for tower in encoder.towers.values() for block in tower.blocks}
    assert all(encoder.get_parameter(name).item() == 1 for name in scales)
    assert scales <= method.no_decay(encoder)
    assert set(encoder.adapters) == {"image", "text"}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"share": "layers"}, 165_248),  # the .17 M of PE-RSITR's comparison
        ({}, 1_982_976),
        ({"towers": "image"}, 1_189_632),
        ({"towers": "image", "scale": "learned"}, 1_189_644),
    ],
)
def test_size_at_vit_b_32(make_clip, settings, expected):
    encoder = make_clip(meta=True, config=CLIPConfig())
    create({"name": "adaptformer", "logit_scale": "frozen", **settings}).apply(encoder, seed=0)
    assert parameter_counts(encoder).trainable == expected


@pytest.mark.parametrize("scale", [0, -1, "learnt", True, float("inf"), None])
def test_scales_that_make_no_sense_are_refused(scale):
    problems = method_problems({"name": "adaptformer", "scale": scale})
    assert problems
    assert "'method.scale': must be a number above 0, or 'learned'" in problems[0]
