import copy

import pytest
import torch
from torch import nn

from eotune.core.errors import InputError
from eotune.methods.bottleneck import After, Beside, Bottleneck, attention_output, mlp_first


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_bottleneck_follows_the_equation(activation):
    layer = Bottleneck(6, 3, activation, 0.0)
    nn.init.normal_(layer.up.weight)
    nn.init.normal_(layer.up.bias)
    for token in torch.randn(4, 6):
        low = layer.down.weight @ token + layer.down.bias
        low = low.clamp(min=0) if activation == "relu" else low * 0.5 * (1 + torch.erf(low / 2**0.5))
        torch.testing.assert_close(layer(token), layer.up.weight @ low + layer.up.bias)


def test_dropout_acts_in_training_only():
    layer = Bottleneck(6, 8, "relu", 0.5)
    nn.init.normal_(layer.up.weight)
    tokens = torch.randn(2, 3, 6)
    assert not torch.equal(layer(tokens), layer(tokens))
    layer.eval()
    assert torch.equal(layer(tokens), layer(tokens))


def test_an_adapter_is_not_registered_twice():
    adapter = Bottleneck(4, 2, "relu", 0.0)
    assert list(After(nn.Identity(), adapter).state_dict()) == []
    assert list(Beside(nn.Identity(), adapter, nn.Parameter(torch.ones(())), None).state_dict()) == ["scale"]


def test_the_attentions_output_projection_is_found(encoder):
    names = {attention_output(encoder, block) for tower in encoder.towers.values() for block in tower.blocks}
    assert len(names) == 5
    assert {name.rpartition(".")[2] for name in names} <= {"out_proj", "o_proj", "dense"}


@pytest.mark.parametrize("attention", [nn.Identity(), nn.MultiheadAttention(16, 2)])
def test_attention_without_one_is_refused(small_clip, attention):
    block = small_clip.towers["text"].blocks[0]
    small_clip.set_submodule(block.attention, attention)
    with pytest.raises(InputError, match=r"self_attn: no output projection .*set method.placement to pfeiffer"):
        attention_output(small_clip, block)


def test_the_mlps_first_layer_is_found_where_the_mlp_is_in_parts(small_clip, small_composed):
    assert mlp_first(small_clip, small_clip.towers["text"].blocks[0]) is None
    block = small_composed.towers["text"].blocks[1]
    expected = small_composed.get_submodule(block.path).intermediate.dense
    assert mlp_first(small_composed, block) is expected
    expected.out_features += 1
    with pytest.raises(InputError, match=r"layer.1: the first layer of the MLP that ends in .*use method adapter"):
        mlp_first(small_composed, block)


def parts(scale=0.1):
    """An MLP in two layers, the second one with an adapter of the first one's input beside it."""
    first, adapter = nn.Linear(4, 7), Bottleneck(4, 2, "relu", 0.0)
    nn.init.normal_(adapter.up.weight)
    return nn.ModuleDict({"first": first, "last": Beside(nn.Linear(7, 4), adapter, scale, first), "adapter": adapter})


def test_beside_reads_the_input_of_the_first_layer():
    mlp, tokens = parts(), torch.randn(2, 3, 4)
    high = mlp["first"](tokens).relu()
    torch.testing.assert_close(mlp["last"](high), mlp["last"].frozen(high) + 0.1 * mlp["adapter"](tokens))


def test_beside_keeps_no_input_and_copies_stay_apart():
    mlp, tokens = parts(), torch.randn(2, 3, 4)
    twin = copy.deepcopy(mlp)
    high = mlp["first"](tokens).relu()
    with pytest.raises(RuntimeError, match="called without its first"):
        twin["last"](high)
    mlp["last"](high)
    with pytest.raises(RuntimeError, match="called without its first"):
        mlp["last"](high)
