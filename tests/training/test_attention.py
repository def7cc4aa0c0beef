"""The kernel is exchanged for a while and changes nothing but time."""

import pytest
import torch
from transformers import BertConfig, BertModel, PreTrainedModel, ViTConfig, ViTModel

from eotune.training.attention import unfused_attention


def towers() -> torch.nn.ModuleDict:
    torch.manual_seed(0)
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    vision = ViTModel(ViTConfig(**small, image_size=32, patch_size=8), add_pooling_layer=False)
    text = BertModel(BertConfig(**small, vocab_size=50), add_pooling_layer=False)
    return torch.nn.ModuleDict({"vision": vision, "text": text}).eval()


def kernels(model: torch.nn.Module) -> set[str]:
    return {m.config._attn_implementation for m in model.modules() if isinstance(m, PreTrainedModel)}


def test_the_kernel_is_exchanged_and_put_back():
    model = towers()
    assert kernels(model) == {"sdpa"}
    with unfused_attention(model):
        assert kernels(model) == {"eager"}
    assert kernels(model) == {"sdpa"}


def test_it_is_put_back_after_an_error():
    model = towers()
    with pytest.raises(KeyError), unfused_attention(model):
        raise KeyError
    assert kernels(model) == {"sdpa"}


def test_what_the_user_chose_stays():
    model = towers()
    model["text"].set_attn_implementation("eager")
    with unfused_attention(model):
        pass
    assert model["text"].config._attn_implementation == "eager"


def outputs_and_gradients(model: torch.nn.ModuleDict) -> list[torch.Tensor]:
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    ids = torch.arange(18).reshape(3, 6)
    mask = torch.tensor([[1] * 6, [1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]])
    outputs = [model["vision"](pixels).last_hidden_state, model["text"](ids, mask).last_hidden_state[mask.bool()]]
    model.zero_grad()
    sum(output.square().mean() for output in outputs).backward()
    return [*outputs, *(p.grad for p in model.parameters() if p.grad is not None)]


def test_outputs_and_gradients_stay_the_same():
    model = towers()
    fused = outputs_and_gradients(model)
    with unfused_attention(model):
        plain = outputs_and_gradients(model)
    assert len(fused) == len(plain) > 30
    for one, other in zip(fused, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
