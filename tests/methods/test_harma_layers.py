"""HarMA's layers against the equations written with nn.MultiheadAttention, one sample at a time."""

import copy

import pytest
import torch
from torch import nn

from eotune.core.errors import InputError
from eotune.methods.harma_layers import AdaptedMlp, GatedAdapter, MiniAdapter, TokenAttention, Visibility

N, T, C, B, HEADS = 3, 5, 12, 8, 2


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def randomised(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.5)
    return module


def reference_attention(attention, tokens, hidden):
    """Attend within one sample ``(t, b)``; ``hidden`` (t, t) is true where a token must not look."""
    oracle = nn.MultiheadAttention(tokens.shape[-1], attention.heads, batch_first=True)
    with torch.no_grad():
        oracle.in_proj_weight.copy_(attention.in_proj.weight)
        oracle.in_proj_bias.copy_(attention.in_proj.bias)
        oracle.out_proj.weight.copy_(attention.out_proj.weight)
        oracle.out_proj.bias.copy_(attention.out_proj.bias)
    return oracle(tokens[None], tokens[None], tokens[None], attn_mask=hidden, need_weights=True)[0][0]


def reference_mini(mini, v, hidden):
    t = 1 / (1 + torch.exp(-mini.gate))
    v1 = v @ mini.down.weight.T + mini.down.bias
    mixed = t * reference_attention(mini.attention, v1, hidden) + (1 - t) * v1
    return v + mixed @ mini.up.weight.T + mini.up.bias


def reference_adapter(adapter, mini, m, hidden):
    s = 1 / (1 + torch.exp(-adapter.gate))
    low = m @ adapter.down.weight.T + adapter.down.bias
    z = low * 0.5 * (1 + torch.erf(low / 2**0.5))
    h = reference_attention(adapter.attention, z, hidden)
    h = reference_mini(mini, h, hidden) if mini is not None else h
    h = reference_attention(adapter.attention, h, hidden)
    return (s * z + (1 - s) * h) @ adapter.up.weight.T + adapter.up.bias


def visible_pairs(causal, lengths):
    allowed = torch.ones(N, T, T, dtype=torch.bool)
    if causal:
        allowed &= torch.ones(T, T, dtype=torch.bool).tril()
    if lengths:
        allowed &= (torch.arange(T) < torch.tensor(lengths)[:, None])[:, None, :]
    return allowed


@pytest.mark.parametrize("with_mini", [True, False])
@pytest.mark.parametrize("lengths", [None, (2, 5, 4)])
@pytest.mark.parametrize("causal", [True, False])
def test_block_follows_the_equations(causal, lengths, with_mini):
    adapter, mini = randomised(GatedAdapter(C, B, HEADS)), randomised(MiniAdapter(B, HEADS)) if with_mini else None
    frozen, block = nn.Linear(C, C), None
    visibility = Visibility(nn.Identity(), causal=causal)
    allowed = visible_pairs(causal, lengths)
    visibility.mask = allowed[:, None] if lengths else None
    block = AdaptedMlp(frozen, adapter, mini, visibility)
    x = torch.randn(N, T, C)
    m = frozen(x)
    a = torch.sigmoid(block.gate)
    expected = torch.stack([m[i] + a * reference_adapter(adapter, mini, m[i], ~allowed[i]) for i in range(N)])
    torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=1e-4)


def test_input_norm_standardises_each_token():
    adapter = randomised(GatedAdapter(C, B, HEADS))
    normed = GatedAdapter(C, B, HEADS, input_norm=True)
    normed.load_state_dict(adapter.state_dict())
    m = 0.01 * torch.randn(N, T, C)
    standard = (m - m.mean(-1, keepdim=True)) / (m.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    options = {"mask": None, "causal": False}
    torch.testing.assert_close(normed(m, None, **options), adapter(standard, None, **options))


def test_start_is_exactly_the_frozen_module():
    block = AdaptedMlp(nn.Linear(C, C), GatedAdapter(C, B, HEADS), MiniAdapter(B, HEADS), None)
    x = torch.randn(N, T, C)
    assert torch.equal(block(x), block.frozen(x))
    v = torch.randn(N, T, B)
    assert torch.equal(MiniAdapter(B, HEADS)(v, mask=None, causal=False), v)


def test_gates_start_at_six_tenths_before_the_sigmoid():
    block = AdaptedMlp(nn.Linear(C, C), GatedAdapter(C, B, HEADS), MiniAdapter(B, HEADS), None)
    gates = [block.gate, block.adapter.gate, block._shared[0].gate]
    assert all(gate.ndim == 0 and gate.item() == pytest.approx(0.6) for gate in gates)


def test_attention_never_mixes_samples():
    attention = randomised(TokenAttention(B, HEADS))
    x = torch.randn(N, T, B)
    mixed = attention(x, mask=None, causal=False)
    alone = torch.cat([attention(one[None], mask=None, causal=False) for one in x])
    torch.testing.assert_close(mixed, alone)


@pytest.mark.parametrize("causal", [True, False])
def test_every_form_of_mask_says_the_same(causal):
    """Bool (sdpa), added (eager), two-dimensional padding (flash) and the added causal square."""
    lengths = (2, 5, 4)
    allowed = visible_pairs(causal, lengths)[:, None]
    added = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)
    padding = (torch.arange(T) < torch.tensor(lengths)[:, None]).long()
    attention, x = randomised(TokenAttention(B, HEADS)), torch.randn(N, T, B)
    results = []
    for mask in (allowed, added, padding):
        visibility = Visibility(Masked(), causal=causal)
        visibility(nn.Identity(), (x, mask), {})
        results.append(attention(x, mask=visibility.mask, causal=causal))
    torch.testing.assert_close(results[1], results[0])
    torch.testing.assert_close(results[2], results[0])
    square = torch.full((T, T), float("-inf")).triu(1)
    visibility(nn.Identity(), (x, square), {})
    torch.testing.assert_close(attention(x, mask=visibility.mask, causal=True), attention(x, mask=None, causal=True))


class Masked(nn.Module):
    def forward(self, hidden_states, attention_mask=None, scale=1.0):
        return hidden_states


def test_mask_is_read_off_the_attention_by_position_or_name():
    attention = Masked()
    visibility = Visibility(attention, causal=False)
    mask = torch.ones(1, 1, T, T, dtype=torch.bool)
    x = torch.zeros(1, T, C)
    attention(x, mask)
    assert visibility.mask is mask
    attention(x)
    assert visibility.mask is None
    attention(x, attention_mask=mask)
    assert visibility.mask is mask
    attention(x, attention_mask=None)
    assert visibility.mask is None


def test_a_call_that_says_it_is_causal_counts():
    visibility = Visibility(Masked(), causal=False)
    visibility(nn.Identity(), (), {"attention_mask": None, "is_causal": True})
    assert visibility.causal
    assert visibility.mask is None


def test_an_attention_without_mask_is_recognised():
    assert Visibility(nn.Linear(2, 2), causal=False).name is None
    assert Visibility(Masked(), causal=False).name == "attention_mask"


@pytest.mark.parametrize("mask", [{"full": None}, torch.zeros(1, T, T)])
def test_a_mask_of_unknown_form_is_refused(mask):
    attention = Masked()
    Visibility(attention, causal=False)
    with pytest.raises(InputError, match="cannot follow .*attn_implementation='sdpa'"):
        attention(torch.zeros(1, T, C), mask)


def test_a_copy_reads_its_own_mask():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = Masked()
            visibility = Visibility(self.attention, causal=False)
            mini = randomised(MiniAdapter(B, HEADS))
            self.minis = nn.ModuleList([mini])
            self.mlp = AdaptedMlp(nn.Linear(C, C), randomised(GatedAdapter(C, B, HEADS)), mini, visibility)

        def forward(self, x, mask):
            return self.mlp(self.attention(x, mask))

    block = Block()
    twin = copy.deepcopy(block)
    assert twin.mlp._shared[0] is twin.minis[0]
    x, mask = torch.randn(N, T, C), visible_pairs(True, None)[:, None]
    expected = block(x, mask)
    block(x, None)
    assert torch.equal(twin(x, mask), expected)
    assert set(block.mlp.state_dict()) == set(dict(block.mlp.named_parameters()))
    assert not any("mini" in name for name in block.mlp.state_dict())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_gives_nearly_the_same(dtype):
    block = AdaptedMlp(
        nn.Linear(C, C),
        randomised(GatedAdapter(C, B, HEADS)),
        randomised(MiniAdapter(B, HEADS)),
        Visibility(nn.Identity(), causal=True),
    )
    x = torch.randn(N, T, C)
    expected = block(x)
    allowed = visible_pairs(True, None)[:, None]
    for mask in (None, allowed, torch.zeros(allowed.shape).masked_fill(~allowed, -1e4)):
        block._shared[1].mask = mask
        with torch.autocast("cpu", dtype=dtype):
            low = block(x)
        assert low.dtype == dtype
        assert (low.float() - expected).abs().max() < 0.05 * expected.abs().max()


@pytest.mark.parametrize("kind", ["none", "causal", "visible", "added"])
def test_attention_by_hand_equals_the_fused_kernel(kind: str):
    # float64 takes the way of low precision: by hand where gradients are wanted, fused where they are not.
    torch.manual_seed(0)
    attention = TokenAttention(16, heads=2).double()
    tokens = torch.randn(3, 5, 16, dtype=torch.float64)
    lower = torch.ones(5, 5, dtype=torch.bool).tril()
    mask = {
        "visible": lower[None, None].expand(3, 1, 5, 5),
        "added": torch.zeros(3, 1, 5, 5, dtype=torch.float64).masked_fill(~lower, torch.finfo(torch.float64).min),
    }.get(kind)
    by_hand = attention(tokens, mask=mask, causal=kind == "causal")
    with torch.no_grad():
        fused = attention(tokens, mask=mask, causal=kind == "causal")
    assert by_hand.requires_grad
    torch.testing.assert_close(by_hand, fused, rtol=1e-5, atol=1e-6)  # the softmax is float32
