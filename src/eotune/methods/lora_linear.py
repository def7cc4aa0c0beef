"""A linear layer and its low-rank update in one operation, where peft makes five.

peft's layer computes ``W x + b``, ``A x``, ``B A x``, its scaling and the sum apart, and each of the last three writes
a tensor of the output's size that autograd keeps or differentiates by itself. Here the update is added into the product
while it is computed, in the backward pass too, and nothing but ``x`` and ``A x`` is kept.

``y = W x + b + s B A x``; for ``g = dL/dy``: ``dL/dx = W^T g + A^T (s B^T g)``, ``dL/dA = (s B^T g) x^T``,
``dL/dB = s g (A x)^T`` (arXiv 2106.09685). The frozen ``W`` and ``b`` have no gradient.
"""

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear


class _Update(torch.autograd.Function):
    """``x (n, in)``, ``weight (out, in)``, ``bias (out,)`` or None, ``down (r, in)``, ``up (out, r)`` to (n, out)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        reduced = x @ down.T
        ctx.save_for_backward(x, reduced, weight, down, up)
        ctx.scale = scale
        return linear(x, weight, bias).addmm_(reduced, up.T, alpha=scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, reduced, weight, down, up = ctx.saved_tensors
        inner = (gradient @ up).mul_(ctx.scale)
        by_x = (gradient @ weight).addmm_(inner, down) if ctx.needs_input_grad[0] else None
        return by_x, None, None, inner.T @ x, (gradient.T @ reduced).mul_(ctx.scale), None


class LoraLinear(Linear):
    """peft's layer with the faster pass in training.

    Evaluation goes peft's way, so that an adapter gives the same bits where peft alone loads it; so does whatever else
    is not the plain case.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the layer's output for ``x`` of shape ``(..., in)``."""
        base = self.get_base_layer()
        adapters = self.active_adapters
        plain = not (args or kwargs or self.merged or self.disable_adapters) and len(adapters) == 1
        if not (self.training and plain) or base.weight.requires_grad:
            return super().forward(x, *args, **kwargs)
        down, up = self.lora_A[adapters[0]].weight, self.lora_B[adapters[0]].weight
        tensors: list[Any] = [x, base.weight, base.bias, down, up]
        device = x.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            tensors = [None if one is None else one.to(dtype) for one in tensors]
        elif not x.dtype == base.weight.dtype == down.dtype:
            return super().forward(x)
        x, *rest = tensors
        with torch.autocast(device, enabled=False):
            flat = _Update.apply(x.reshape(-1, x.shape[-1]), *rest, self.scaling[adapters[0]])
        return flat.view(*x.shape[:-1], flat.shape[-1])


def speed_up(model: nn.Module) -> None:
    """Give peft's plain LoRA layers in a model the faster pass.

    Layers with dropout, a learned length (DoRA), a bias beside ``B``, or another base than :class:`torch.nn.Linear`
    stay as they are.
    """
    for layer in [one for one in model.modules() if isinstance(one, Linear) and _is_plain(one)]:
        layer.train(layer.get_base_layer().training)  # peft's layers begin in training, whatever the model is in
        layer.__class__ = LoraLinear


def _is_plain(layer: Linear) -> bool:
    return (
        type(layer) is Linear
        and type(layer.get_base_layer()) is nn.Linear
        and not layer.lora_variant
        and not any(layer.lora_bias.values())
        and all(isinstance(one, nn.Identity) for one in layer.lora_dropout.values())
    )
