import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    CLIPTextConfig,
    CLIPTextModel,
    Dinov2Config,
    Dinov2Model,
    DistilBertConfig,
    DistilBertModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    SwinConfig,
    SwinModel,
    ViTConfig,
    ViTModel,
)

from eotune.core.errors import InputError
from eotune.encoders.blocks import find_blocks

SMALL = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 2}
MODELS = {
    "vit": lambda: ViTModel(ViTConfig(**SMALL, image_size=16, patch_size=8)),
    "dinov2": lambda: Dinov2Model(Dinov2Config(**SMALL, image_size=16, patch_size=8)),
    "siglip": lambda: SiglipVisionModel(SiglipVisionConfig(**SMALL, image_size=16, patch_size=8)),
    "clip text": lambda: CLIPTextModel(CLIPTextConfig(**SMALL, vocab_size=20)),
    "bert": lambda: BertModel(BertConfig(**SMALL, vocab_size=20)),
    "distilbert": lambda: DistilBertModel(
        DistilBertConfig(dim=24, hidden_dim=40, n_layers=3, n_heads=2, vocab_size=20)
    ),
}


@pytest.mark.parametrize("name", MODELS)
@torch.inference_mode()
def test_the_mlp_path_is_what_the_residual_sum_adds(name):
    torch.manual_seed(0)
    root = nn.ModuleDict({"tower": MODELS[name]().eval()})
    blocks = find_blocks(root["tower"], "tower", causal=name == "clip text")
    assert [block.width for block in blocks] == [24] * 3
    assert {block.causal for block in blocks} == {name == "clip text"}
    last = root.get_submodule(blocks[-1].path)
    norms = [part for part in last.modules() if isinstance(part, nn.LayerNorm)]
    seen = {}
    if "bert" in name:  # post-LN: the sum goes into the block's last norm
        norms[-1].register_forward_pre_hook(lambda module, args: seen.update(sum=args[0]))
    else:
        last.register_forward_hook(lambda module, args, output: seen.update(sum=_first(output)))
    root.get_submodule(blocks[-1].attention).register_forward_hook(lambda m, a, output: seen.update(a=_first(output)))
    mlp = root.get_submodule(blocks[-1].mlp)
    mlp.register_forward_hook(lambda module, args, output: seen.update(mlp=output))
    with_it = run(root, name, seen)
    mlp.register_forward_hook(lambda module, args, output: output * 0)
    without = run(root, name, seen)
    torch.testing.assert_close(with_it["sum"] - without["sum"], with_it["mlp"], atol=1e-5, rtol=1e-5)
    assert with_it["a"].shape == with_it["mlp"].shape
    torch.testing.assert_close(with_it["a"], without["a"])  # attention comes before


def run(root, name, seen):
    torch.manual_seed(1)
    text = name in ("clip text", "bert", "distilbert")
    inputs = {"input_ids": torch.tensor([[1, 4, 7, 2]])} if text else {"pixel_values": torch.randn(1, 3, 16, 16)}
    root["tower"](**inputs)
    return dict(seen)


def _first(output):
    return output[0] if isinstance(output, tuple) else output


def test_widths_that_change_on_the_way_up():
    model = SwinModel(
        SwinConfig(embed_dim=12, depths=[1, 2], num_heads=[1, 2], image_size=16, patch_size=2, window_size=2)
    )
    assert [block.width for block in find_blocks(model, "tower", causal=False)] == [12, 24, 24]


def test_a_model_without_blocks_is_refused():
    with pytest.raises(InputError, match="no transformer blocks in Sequential at tower; name a transformer"):
        find_blocks(nn.Sequential(nn.Linear(2, 2)), "tower", causal=False)
