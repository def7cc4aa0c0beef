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
        name = self._plain_adapter()
        if name is None or args or kwargs or not self.training:
            return super().forward(x, *args, **kwargs)
        base = self.get_base_layer()
        tensors: list[Any] = [x, base.weight, base.bias, self.lora_A[name].weight, self.lora_B[name].weight]
        device = x.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            tensors = [None if one is None else one.to(dtype) for one in tensors]
        elif {one.dtype for one in tensors if one is not None} != {x.dtype}:
            return super().forward(x)
        rows, *rest = tensors
        flat = _Update.apply(rows.reshape(-1, rows.shape[-1]), *rest, self.scaling[name])
        return flat.view(*x.shape[:-1], flat.shape[-1])

    def _plain_adapter(self) -> str | None:
        """Return the one active adapter if it is a plain update of a frozen layer: no dropout, DoRA or further bias."""
        name = self.active_adapters[0] if len(self.active_adapters) == 1 else ""
        plain = (
            name in self.lora_A
            and name not in self.lora_variant
            and not self.lora_bias[name]
            and isinstance(self.lora_dropout[name], nn.Identity)
            and not (self.merged or self.disable_adapters)
            and not any(one.requires_grad for one in self.get_base_layer().parameters())
        )
        return name if plain else None


def speed_up(model: nn.Module) -> None:
    """Give peft's LoRA layers on :class:`torch.nn.Linear` in a model the faster pass."""
    for layer in model.modules():
        if isinstance(layer, Linear) and type(layer.get_base_layer()) is nn.Linear:
            layer.__class__ = LoraLinear
