import pickle

import pytest
import torch
from torch import nn

from eotune.core.errors import InputError
from eotune.encoders.open_clip_weights import (
    Architecture,
    architecture,
    from_transformers,
    read_state_dict,
    to_transformers,
)

ARCH = Architecture(
    image_size=16,
    patch=8,
    image_width=32,
    image_layers=2,
    head_width=16,
    text_width=24,
    text_layers=2,
    text_heads=2,
    dim=12,
)


class Block(nn.Module):
    """open_clip's residual attention block, transcribed."""

    def __init__(self, width, heads, quick):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})
        self.quick = quick

    def forward(self, x, mask=None):
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        h = self.mlp["c_fc"](self.ln_2(x))
        h = h * torch.sigmoid(1.702 * h) if self.quick else nn.functional.gelu(h)
        return x + self.mlp["c_proj"](h)


class Transformer(nn.Module):
    def __init__(self, width, depth, heads, quick):
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads, quick) for _ in range(depth))

    def forward(self, x, mask=None):
        for block in self.resblocks:
            x = block(x, mask)
        return x


class Visual(nn.Module):
    def __init__(self, quick):
        super().__init__()
        w = ARCH.image_width
        self.conv1 = nn.Conv2d(3, w, ARCH.patch, ARCH.patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(w))
        self.positional_embedding = nn.Parameter(torch.randn(5, w))
        self.ln_pre, self.ln_post = nn.LayerNorm(w), nn.LayerNorm(w)
        self.transformer = Transformer(w, ARCH.image_layers, w // ARCH.head_width, quick)
        self.proj = nn.Parameter(torch.randn(w, ARCH.dim))

    def forward(self, pixels):
        x = self.conv1(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1) + self.positional_embedding
        return self.ln_post(self.transformer(self.ln_pre(x))[:, 0]) @ self.proj


class OpenClip(nn.Module):
    def __init__(self, quick):
        super().__init__()
        w = ARCH.text_width
        self.visual = Visual(quick)
        self.transformer = Transformer(w, ARCH.text_layers, ARCH.text_heads, quick)
        self.token_embedding = nn.Embedding(40, w)
        self.positional_embedding = nn.Parameter(torch.randn(10, w))
        self.ln_final = nn.LayerNorm(w)
        self.text_projection = nn.Parameter(torch.randn(w, ARCH.dim))
        self.logit_scale = nn.Parameter(torch.tensor(2.5))

    def encode_text(self, ids):
        mask = torch.full((ids.shape[1], ids.shape[1]), -torch.inf).triu(1)
        x = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        x = self.ln_final(self.transformer(x, mask))
        return x[torch.arange(len(x)), ids.argmax(-1)] @ self.text_projection


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_converted_weights_equal_a_transcription(activation):
    torch.manual_seed(0)
    reference = OpenClip(activation == "quick_gelu").eval()
    model = to_transformers(reference.state_dict(), ARCH, activation, source="x").eval()
    assert model.config.vision_config.hidden_act == activation
    pixels = torch.randn(3, 3, 16, 16)
    ids = torch.tensor([[38, 5, 9, 39, 39, 39], [38, 7, 1, 2, 3, 39]])
    with torch.no_grad():
        torch.testing.assert_close(
            model.get_image_features(pixels).pooler_output, reference.visual(pixels), atol=1e-5, rtol=1e-4
        )
        torch.testing.assert_close(
            model.get_text_features(ids).pooler_output, reference.encode_text(ids), atol=1e-5, rtol=1e-4
        )
    assert model.logit_scale.item() == 2.5


def test_there_and_back_is_the_same_to_the_bit():
    state = OpenClip(False).state_dict()
    back = from_transformers(to_transformers(state, ARCH, "gelu", source="x"))
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], tensor) and back[name].is_contiguous() for name, tensor in state.items())


def test_a_weight_without_a_place_in_open_clip_is_named():
    model = to_transformers(OpenClip(False).state_dict(), ARCH, "gelu", source="x")
    model.extra = nn.Linear(2, 2, bias=False)
    with pytest.raises(InputError, match=r"unexpected 1 \(extra\.weight\)"):
        from_transformers(model)


def test_every_key_is_accounted_for():
    state = OpenClip(False).state_dict()
    del state["visual.proj"]
    state["visual.extra"] = torch.zeros(1)
    with pytest.raises(InputError, match=r"missing 1 \(visual_projection\.weight\).*unexpected 1 \(visual\.extra\)"):
        to_transformers(state, ARCH, "gelu", source="x")


def test_nested_prefixed_and_pickled_checkpoints(tmp_path):
    state = OpenClip(False).state_dict()
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, tmp_path / "a.pt")
    assert set(read_state_dict(tmp_path / "a.pt")) == set(state)
    (tmp_path / "b.pt").write_bytes(pickle.dumps(print))
    for name, says in (("b.pt", "no checkpoint of plain tensors"), ("none.pt", "no such file")):
        with pytest.raises(InputError, match=says) as caught:
            read_state_dict(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_names_decide_the_activation():
    assert architecture("ViT-B-32")[1] == "gelu"
    assert architecture("ViT-L-14-quickgelu")[1] == "quick_gelu"
    with pytest.raises(InputError, match="did you mean 'ViT-B-32'"):
        architecture("ViT-B-23")
