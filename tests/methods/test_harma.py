import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPConfig

from eotune.core.errors import InputError
from eotune.methods import create, load_model, method_problems, parameter_counts
from eotune.methods.harma import relative_layer
from eotune.methods.harma_layers import AdaptedMlp


def harma(encoder, **settings):
    method = create({"name": "harma", "bottleneck": 16, **settings})
    method.apply(encoder, seed=0)
    return method


def minis(encoder):
    """Which mini-adapter each adapted block uses, by the order of their first use."""
    used = [module._shared[0] for module in encoder.modules() if isinstance(module, AdaptedMlp)]
    seen = list({id(mini): None for mini in used if mini is not None})
    return [None if mini is None else seen.index(id(mini)) for mini in used]


@pytest.mark.parametrize(("settings", "expected"), [({}, 5_569_010), ({"variant": "released"}, 5_934_397)])
def test_size_at_vit_b_32(make_clip, settings, expected):
    encoder = make_clip(meta=True, config=CLIPConfig())
    create({"name": "harma", **settings}).apply(encoder, seed=0)
    counts = parameter_counts(encoder)
    assert counts.trainable == expected
    assert counts.pretrained == 151_277_313
    assert counts.share < 0.04
    assert counts.total - counts.trainable == 151_277_313 - (not settings)


@pytest.mark.parametrize(
    ("share", "expected"),
    [("all", [0, 0, 0, 0, 0]), ("layers", [0, 0, 0, 1, 1]), ("modalities", [0, 1, 2, 0, 2]), ("none", [0, 1, 2, 3, 4])],
)
def test_who_shares_a_mini_adapter(encoder, share, expected):
    harma(encoder, share=share)
    assert minis(encoder) in (expected, [*_renumbered(expected, 3)])  # CLIP holds its text tower first


def _renumbered(expected, image_depth):
    """The same sharing, with the text tower's layers first."""
    turned = expected[image_depth:] + expected[:image_depth]
    order = list(dict.fromkeys(turned))
    return [order.index(one) for one in turned]


@pytest.mark.parametrize(
    ("depth", "deeper", "expected"),
    [
        (2, 3, [0, 2]),
        (3, 3, [0, 1, 2]),
        (6, 12, [0, 2, 4, 7, 9, 11]),
        (1, 4, [3]),
        (1, 1, [0]),
        (12, 24, [0, 2, 4, 6, 8, 10, 13, 15, 17, 19, 21, 23]),
    ],
)
def test_layers_meet_by_relative_depth(depth, deeper, expected):
    assert [relative_layer(number, depth, deeper) for number in range(depth)] == expected
    heights = np.linspace(0, 1, depth) if depth > 1 else np.ones(1)
    distances = np.abs(np.linspace(0, 1, deeper) - heights[:, None])
    assert expected == distances.argmin(axis=1).tolist()


def test_modalities_share_only_what_is_used(make_composed):
    encoder = make_composed(image_depth=4, text_depth=2)
    harma(encoder, share="modalities", layers=[-1])
    assert list(encoder.harma) == ["layer_3"]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("all", {"image": 3, "text": 2}),
        ("last-1", {"image": 1, "text": 1}),
        ([0, -1], {"image": 2, "text": 2}),
        ("last-2", {"image": 2, "text": 2}),
    ],
)
def test_chosen_layers_are_adapted(encoder, layers, expected):
    harma(encoder, layers=layers)
    adapted = {
        name: [isinstance(encoder.get_submodule(block.mlp), AdaptedMlp) for block in tower.blocks]
        for name, tower in encoder.towers.items()
    }
    assert {name: sum(flags) for name, flags in adapted.items()} == expected
    assert all(flags[-1] for flags in adapted.values())


@pytest.mark.parametrize("towers", ["image", "text"])
def test_one_tower_alone(encoder, towers):
    harma(encoder, towers=towers, share="modalities")
    for name, tower in encoder.towers.items():
        assert all(
            isinstance(encoder.get_submodule(block.mlp), AdaptedMlp) == (name == towers) for block in tower.blocks
        )


def test_a_layer_that_is_not_there_is_named(encoder):
    with pytest.raises(InputError, match=r"the text tower has no layer 2; it has 2: numbers 0 to 1, or -1 to -2"):
        harma(encoder, layers=[2])
    with pytest.raises(InputError, match="no layer -3"):
        harma(encoder, layers="last-3", towers="text")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bottleneck": 24}, "bottleneck 24 is not a multiple of 16; choose one or set attention_heads"),
        ({"bottleneck": 48}, "attention_heads 3 must divide"),
        ({"bottleneck": 64, "attention_heads": 5}, "attention_heads 5 must divide half the bottleneck 64"),
        ({"layers": "last-0"}, "'method.layers': must be 'all', 'last-k'"),
        ({"layers": []}, "must be 'all'"),
        ({"layers": [True]}, "must be 'all'"),
        ({"layers": 3}, "must be 'all'"),
        ({"variant": "released", "share": "none"}, "leave out share"),
        ({"variant": "released", "logit_scale": "frozen"}, "leave out share and logit_scale"),
        ({"share": "al"}, "'method.share'"),
        ({"botleneck": 3}, "did you mean 'bottleneck'"),
    ],
)
def test_wrong_settings_are_explained(settings, message):
    problems = method_problems({"name": "harma", **settings})
    if settings == {"bottleneck": 48}:  # 48 / 16 = 3 divides 24
        assert problems == []
    else:
        assert len(problems) == 1
        assert message in problems[0]


def test_objective_is_the_adaptive_triplet():
    assert dict(create({"name": "harma"}).phases()[0].objective) == {"triplet": "adaptive"}
    assert dict(create({"name": "harma", "variant": "released"}).phases()[0].objective) == {
        "triplet": "adaptive",
        "reduction": "sum",
        "positives": "diagonal",
    }


def test_gates_biases_and_the_scale_are_not_decayed(encoder):
    names = harma(encoder).no_decay(encoder)
    trained = {name for name, one in encoder.named_parameters() if one.requires_grad}
    assert encoder.log_scale_name in names
    assert trained - names == {name for name in trained if name.endswith("weight")}
    assert sum(name.endswith("gate") for name in names) == 2 * 5 + 1


def test_parameter_names_are_stable(encoder):
    """Saved adapters are read by these names."""
    harma(encoder)
    block = encoder.towers["text"].blocks[0].mlp
    parts = ["attention.in_proj", "attention.out_proj", "down", "up"]
    layers = [f"{part}.{kind}" for part in parts for kind in ("weight", "bias")]
    expected = {f"{block}.{name}" for name in ["gate", "adapter.gate", *(f"adapter.{layer}" for layer in layers)]}
    expected |= {f"harma.all.{name}" for name in ["gate", *layers]}
    trained = {name for name, one in encoder.named_parameters() if one.requires_grad}
    assert {name for name in trained if name.startswith((block, "harma."))} == expected


def test_fresh_weights_depend_on_the_seed_and_on_their_place_alone(make_clip):
    encoders = [make_clip() for _ in range(3)]
    create({"name": "harma", "bottleneck": 16, "share": "none"}).apply(encoders[0], seed=0)
    create({"name": "harma", "bottleneck": 16, "share": "none", "towers": "text"}).apply(encoders[1], seed=0)
    create({"name": "harma", "bottleneck": 16, "share": "none"}).apply(encoders[2], seed=1)
    block = encoders[0].towers["text"].blocks[1].mlp
    downs = [encoder.get_parameter(f"{block}.adapter.down.weight") for encoder in encoders]
    assert torch.equal(downs[0], downs[1])
    assert not torch.equal(downs[0], downs[2])
    assert not torch.equal(downs[0], encoders[0].get_parameter(f"{block.replace('.1.', '.0.')}.adapter.down.weight"))


# --- variant: released ------------------------------------------------------------------------------------------------


def test_released_has_minis_for_text_layers_only(encoder):
    method = harma(encoder, variant="released")
    assert [encoder.get_submodule(block.mlp)._shared[0] for block in encoder.towers["image"].blocks] == [None] * 3
    assert sorted(encoder.harma) == ["text_0", "text_1"]
    assert method.no_decay(encoder) == set()


def test_released_replaces_the_logit_scale_by_a_temperature(encoder):
    harma(encoder, variant="released")
    assert not encoder.log_scale.requires_grad
    assert encoder.temperature.requires_grad
    assert encoder.logit_scale().item() == pytest.approx(1 / 0.07)
    with torch.no_grad():
        encoder.temperature.fill_(0.002)
    assert encoder.logit_scale().item() == pytest.approx(500)  # unclamped
    encoder.logit_scale().backward()
    assert encoder.temperature.grad.item() == pytest.approx(-1 / 0.002**2)


def test_released_text_adapters_see_padding(encoder, tokens, perturb):
    harma(encoder, variant="released")
    perturb(encoder)
    before = encoder.text_features(**tokens)
    tokens["input_ids"] = tokens["input_ids"] + 7 * (1 - tokens["attention_mask"])
    assert (encoder.text_features(**tokens) - before).abs().max() > 1e-4


# --- masks and recomputation ------------------------------------------------------------------------------------------


def test_text_towers_without_a_mask_are_refused(small_clip):
    block = small_clip.towers["text"].blocks[0]
    small_clip.set_submodule(block.attention, torch.nn.Identity())
    with pytest.raises(InputError, match="takes no mask, so text adapters would see padding"):
        harma(small_clip)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_masks_of_every_attention_give_the_same(encoder, tokens, perturb, attention):
    harma(encoder)
    perturb(encoder)
    expected = encoder.text_features(**tokens)
    for path in encoder.backbones.values():
        encoder.get_submodule(path).set_attn_implementation(attention)
    torch.testing.assert_close(encoder.text_features(**tokens), expected, atol=1e-5, rtol=1e-4)


def test_checkpointing_recomputes_with_the_mask_of_its_own_batch(encoder, tokens, pixels, perturb):
    """Two batches of the same shape and other masks go forward before either goes backward."""
    harma(encoder)
    perturb(encoder)
    turned = {key: value.flip(0) for key, value in tokens.items()}
    plain = copy.deepcopy(encoder).train()
    for path in encoder.backbones.values():
        backbone = encoder.get_submodule(path)  # renamed within transformers 5
        getattr(backbone, "activation_checkpointing_enable", backbone.gradient_checkpointing_enable)(
            {"use_reentrant": False}
        )
    encoder.train()
    gradients = []
    for model in (plain, encoder):
        first, images = model.text_features(**tokens), model.image_features(pixels)
        second = model.text_features(**turned)
        (first.square().sum() + (images * second.flip(0).detach()).sum() + second.abs().sum()).backward()
        gradients.append({name: one.grad for name, one in model.named_parameters() if one.requires_grad})
    for name, expected in gradients[0].items():
        if expected is not None:
            torch.testing.assert_close(gradients[1][name], expected, atol=1e-5, rtol=1e-4)
    assert sum(one is not None for one in gradients[0].values()) > 50


# --- real weights -----------------------------------------------------------------------------------------------------

SHARED = Path(__file__).parents[2] / "../shared/weights/natural_dual_tiny"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the natural dual encoder is not beside the repository")
def test_start_and_share_on_a_real_model():
    before = load_model(f"composed:{SHARED}", image_size=144)
    pixels = torch.randint(0, 256, (2, 3, 144, 144), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    tokens = before.tokenize(["a harbour with ships", "an aerial photo of many small houses in rows"])
    expected = before.embed_pixels(pixels), before.embed_tokens(tokens)
    for bottleneck, share in ((32, 0.0134), (64, 0.0320), (128, 0.0853)):
        encoder = copy.deepcopy(before)
        create({"name": "harma", "bottleneck": bottleneck}).apply(encoder, seed=0)
        assert parameter_counts(encoder).share == pytest.approx(share, abs=1e-4)
        assert np.array_equal(encoder.embed_pixels(pixels), expected[0])
        assert np.array_equal(encoder.embed_tokens(tokens), expected[1])
