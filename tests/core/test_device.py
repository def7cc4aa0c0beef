import pytest
import torch

from eotune.core.device import on_best_device, uses_gpu


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
