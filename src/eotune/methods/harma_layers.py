"""The parts of HarMA: token attention, the shared mini-adapter, the gated adapter, and where they sit in a block.

Equations from HarMA (arXiv 2404.18253), written so that the start is exactly the pretrained model. Sizes: ``n``
samples, ``t`` tokens, ``c`` the tower's width, ``b`` the bottleneck.
"""

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from eotune.core.errors import InputError

_GATE_START = 0.6  # before the sigmoid
_MASK_NAMES = ("attention_mask", "attn_mask")


class Visibility:
    """What a block's tokens may attend to: read off the calls of its own self-attention, used by its adapter.

    It hooks the attention inside the block, not the block or the tower: gradient checkpointing recomputes a block
    later, after other batches may have passed, and then the attention hands over the right mask again.

    Args:
        attention: The block's self-attention module.
        causal: Whether a token sees only itself and those before it; a call that says otherwise (``is_causal``) counts.
    """

    def __init__(self, attention: nn.Module, *, causal: bool) -> None:
        parameters = list(inspect.signature(attention.forward).parameters)
        self.name = next((name for name in _MASK_NAMES if name in parameters), None)
        self.position = parameters.index(self.name) if self.name else 0
        self.causal = causal
        self.mask: Tensor | None = None
        if self.name:
            attention.register_forward_pre_hook(self, with_kwargs=True)

    def __call__(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keep the mask of this call; the module's arguments stay as they are."""
        self.causal = bool(kwargs.get("is_causal", self.causal))
        given = kwargs.get(self.name) if self.name else None
        if given is None and len(args) > self.position:
            given = args[self.position]
        self.mask = None if given is None else _broadcastable(given, causal=self.causal)


def _broadcastable(mask: object, *, causal: bool) -> Tensor:
    """Bring a mask into a form for ``(n, heads, t, t)`` scores: bool (true: visible) or to be added."""
    if isinstance(mask, Tensor) and mask.ndim == 4 and (mask.dtype == torch.bool or mask.is_floating_point()):
        return mask
    if isinstance(mask, Tensor) and mask.ndim == 2 and mask.is_floating_point():
        return mask  # (t, t), to be added
    if isinstance(mask, Tensor) and mask.ndim == 2:
        visible = mask.bool()[:, None, None, :]  # (n, t), 1 for a real token
        length = mask.shape[1]
        return visible & torch.ones(length, length, dtype=torch.bool, device=mask.device).tril() if causal else visible
    shape = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
    raise InputError(
        f"the tower's attention uses a mask that HarMA cannot follow ({shape})",
        remedy="load the tower with attn_implementation='sdpa'",
    )


class TokenAttention(nn.Module):
    """Multi-head self-attention over the tokens of each sample, never over the batch: ``(n, t, b)`` to ``(n, t, b)``.

    Example:
        >>> TokenAttention(16, heads=2)(torch.zeros(3, 5, 16), mask=None, causal=False).shape
        torch.Size([3, 5, 16])
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)
        # As nn.MultiheadAttention starts, which the source uses.
        nn.init.xavier_uniform_(self.in_proj.weight)
        nn.init.zeros_(self.in_proj.bias)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, tokens: Tensor, *, mask: Tensor | None, causal: bool) -> Tensor:
        """Mix the tokens; ``causal`` counts only where there is no mask, which else says it all."""
        n, t, width = tokens.shape
        packed = self.in_proj(tokens).view(n, t, 3, self.heads, width // self.heads)
        query, key, value = packed.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = _attend(query, key, value, mask, causal=causal and mask is None)
        return self.out_proj(mixed.transpose(1, 2).reshape(n, t, width))


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, causal: bool) -> Tensor:
    if query.device.type != "cpu" or query.dtype == torch.float32 or not query.requires_grad:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
    # The fused kernel's backward pass is slow here (training/attention.py); by hand, with the softmax in float32.
    scores = (query @ key.transpose(-1, -2)).float() * query.shape[-1] ** -0.5
    if causal:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(future, -torch.inf)
    elif mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1).to(value.dtype) @ value


class MiniAdapter(nn.Module):
    """The shared mini-adapter S, ``b -> b/2 -> b``.

    ``v1 = W1 v``; ``S(v) = v + W2 (t * MHA'(v1) + (1 - t) * v1)``, t a learned gate. W2 starts at zero, S at identity.
    The source applies a GELU after W1 and never uses its result; it is left out.
    """

    def __init__(self, bottleneck: int, heads: int) -> None:
        super().__init__()
        self.down = nn.Linear(bottleneck, bottleneck // 2)
        self.attention = TokenAttention(bottleneck // 2, heads)
        self.up = _zero(nn.Linear(bottleneck // 2, bottleneck))
        self.gate = _gate()

    def forward(self, tokens: Tensor, *, mask: Tensor | None, causal: bool) -> Tensor:
        """Map ``(n, t, b)`` to ``(n, t, b)``."""
        low = self.down(tokens)
        gate = self.gate.sigmoid()
        return tokens + self.up(gate * self.attention(low, mask=mask, causal=causal) + (1 - gate) * low)


class GatedAdapter(nn.Module):
    """The multimodal gated adapter: ``W_up (s * z + (1 - s) * h)`` of the frozen MLP's output m.

    ``z = GELU(W_down m)``; ``h = MHA(S(MHA(z)))``, the same MHA twice; s a learned gate. W_up starts at zero. With
    ``input_norm``, m is normalised over its width first.
    """

    def __init__(self, width: int, bottleneck: int, heads: int, *, input_norm: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False) if input_norm else nn.Identity()
        self.down = nn.Linear(width, bottleneck)
        self.attention = TokenAttention(bottleneck, heads)
        self.up = _zero(nn.Linear(bottleneck, width))
        self.gate = _gate()

    def forward(self, outputs: Tensor, mini: MiniAdapter | None, *, mask: Tensor | None, causal: bool) -> Tensor:
        """Map ``(n, t, c)`` to ``(n, t, c)``; without a mini-adapter, S is the identity."""
        z = functional.gelu(self.down(self.norm(outputs)))
        h = self.attention(z, mask=mask, causal=causal)
        if mini is not None:
            h = mini(h, mask=mask, causal=causal)
        h = self.attention(h, mask=mask, causal=causal)
        gate = self.gate.sigmoid()
        return self.up(gate * z + (1 - gate) * h)


class AdaptedMlp(nn.Module):
    """Stands where a block's frozen MLP stood: ``m + a * adapter(m)``, a a learned gate.

    Pre-LN blocks add it to the residual stream, post-LN blocks (BERT) before their LayerNorm.

    Args:
        frozen: The module whose output m is the MLP's.
        adapter: The block's own adapter.
        mini: The mini-adapter it uses; held without being registered, since others use it too.
        visibility: What the tokens may attend to; None for all.
    """

    def __init__(
        self, frozen: nn.Module, adapter: GatedAdapter, mini: MiniAdapter | None, visibility: Visibility | None
    ) -> None:
        super().__init__()
        self.frozen = frozen
        self.adapter = adapter
        self.gate = _gate()
        self._shared = (mini, visibility)  # in a tuple, out of sight of state_dict()

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Run the frozen MLP and add the gated adapter's output, ``(n, t, c)``."""
        mini, visibility = self._shared
        outputs = self.frozen(*args, **kwargs)
        mask = visibility.mask if visibility else None
        causal = visibility.causal if visibility else False
        return outputs + self.gate.sigmoid() * self.adapter(outputs, mini, mask=mask, causal=causal)


def _gate() -> nn.Parameter:
    return nn.Parameter(torch.tensor(_GATE_START))


def _zero(linear: nn.Linear) -> nn.Linear:
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
