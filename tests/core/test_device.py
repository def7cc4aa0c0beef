import pytest
import torch

from eotune.core.device import computes_bf16, on_best_device, uses_gpu


class Recorded(torch.nn.Linear):
    moved = False

    def cuda(self, device=None):
        self.moved = True
        return self


@pytest.mark.parametrize(
    ("device", "visible", "used"),
    [("auto", True, True), ("cuda", True, True), ("cpu", True, False), ("auto", False, False)],
)
def test_a_gpu_is_used_where_it_is_visible_and_allowed(monkeypatch, device, visible, used):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: visible)
    model = Recorded(2, 2)

    assert uses_gpu(device) == used
    assert on_best_device(model, device) is model
    assert model.moved == used


@pytest.mark.parametrize(
    ("has", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, True),
        ({"avx512_bf16": False, "amx_bf16": True}, True),
        ({"avx512_bf16": False, "avx512_f": True}, False),
        ({"neon": True, "bf16": True}, True),
        ({"neon": True}, False),
    ],
)
def test_a_processor_says_whether_it_has_bfloat16(monkeypatch, has, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    assert computes_bf16("cpu") == expected


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_says_whether_it_has_bfloat16(monkeypatch, native):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": not native})
    assert computes_bf16() == native
    assert computes_bf16("cpu") != native
