"""HarMA: a hierarchy of gated adapters whose mini-adapters are shared by layers and modalities (arXiv 2404.18253).

In every adapted block, with m the frozen MLP's output::

    z = GELU(W_down m)    h = MHA(S(MHA(z)))    x <- x + m + a * W_up (s * z + (1 - s) * h)
    S(v) = v + W2 (t * MHA'(W1 v) + (1 - t) * W1 v)

a, s, t are sigmoids of learned gates that start at 0.6; W_up and W2 start at zero, so that the start is exactly the
pretrained model (the source mixes ``a * A(m) + (1 - a) * m``, the same up to the start of W_up). The layers are in
harma_layers.py.
"""

import re
from typing import Literal

import torch
from pydantic import Field, field_validator, model_validator
from torch import nn

from eotune.core.errors import InputError
from eotune.encoders.base import Block, Encoder, Tower, TowerName
from eotune.methods import base
from eotune.methods.harma_layers import AdaptedMlp, GatedAdapter, MiniAdapter, Visibility

_RELEASED_TEMPERATURE = 0.07


class HarmaConfig(base.InjectedConfig):
    """Settings of HarMA.

    Attributes:
        variant: ``paper`` as above. ``released`` is the source's published code, for comparison only: a mini-adapter
            for each text layer and none in the image tower, text adapters that see padding and future, a new
            temperature in place of the logit scale, weight decay on everything.
        bottleneck: Width b of the adapters.
        attention_heads: Of the adapters' attention; b/16 when not given. Divides b/2.
        share: Who shares a mini-adapter: ``all``; ``layers`` of a tower; ``modalities``, the layers of equal relative
            depth in both towers; ``none``.
        towers: Which towers are adapted.
        layers: ``all``, ``last-k`` (such as ``last-4``), or a list of layer numbers from 0, negative ones from the top.
        input_norm: Whether adapters see m normalised over its width (a LayerNorm without parameters). Ours, not the
            source's: the MLP's output is small in many models, the adapters' attention then starts all but uniform and
            they learn slowly (docs/methods/harma.md).
    """

    name: Literal["harma"] = "harma"
    variant: Literal["paper", "released"] = "paper"
    bottleneck: int = Field(default=128, ge=2)
    attention_heads: int | None = Field(default=None, ge=1)
    share: Literal["all", "layers", "modalities", "none"] = "all"
    towers: Literal["both", "image", "text"] = "both"
    layers: str | tuple[int, ...] = "all"
    input_norm: bool = False

    @field_validator("layers", mode="before")
    @classmethod
    def _layers_are_known(cls, value: object) -> object:
        numbers = isinstance(value, list | tuple) and all(isinstance(one, int) and one is not True for one in value)
        if (numbers and value) or value == "all" or (isinstance(value, str) and re.fullmatch(r"last-[1-9]\d*", value)):
            return tuple(value) if isinstance(value, list) else value
        raise ValueError("must be 'all', 'last-k' such as 'last-4', or a list of layer numbers")

    @model_validator(mode="after")
    def _sizes_divide(self) -> "HarmaConfig":
        if self.attention_heads is None and self.bottleneck % 16:
            raise ValueError(f"bottleneck {self.bottleneck} is not a multiple of 16; choose one or set attention_heads")
        if self.bottleneck % 2 or (self.bottleneck // 2) % self.head_count:
            raise ValueError(f"attention_heads {self.head_count} must divide half the bottleneck {self.bottleneck}")
        if self.variant == "released" and (self.share, self.logit_scale) != ("all", "learned"):
            raise ValueError("variant 'released' has its own sharing and temperature; leave out share and logit_scale")
        return self

    @property
    def head_count(self) -> int:
        """Heads of the adapters' attention."""
        return self.attention_heads or self.bottleneck // 16


class Method(base.Method):
    """Wraps the MLP of every chosen block by a gated adapter; the rest of the model stays frozen."""

    Config = HarmaConfig
    needs_text = True
    config: HarmaConfig

    def phases(self) -> tuple[base.Phase, ...]:
        """Return one phase: adaptive triplet beside the contrastive loss."""
        objective: dict[str, object] = {"triplet": "adaptive"}
        if self.config.variant == "released":
            objective |= {"reduction": "sum", "positives": "diagonal"}
        return (base.Phase("train", objective),)

    def no_decay(self, encoder: Encoder) -> set[str]:
        """Return gates, biases and the logit scale; nothing for ``released``, which decays everything."""
        return set() if self.config.variant == "released" else super().no_decay(encoder)

    def _inject(self, encoder: Encoder, seed: int, /) -> set[str]:
        device = encoder.device
        towers = base.chosen_towers(encoder, self.config.towers)
        minis: dict[str, MiniAdapter] = {}
        added: list[nn.Parameter] = []
        for tower in towers:
            for number in _layer_numbers(self.config.layers, tower):
                key = self._mini_key(tower.name, number, towers)
                if key is not None and key not in minis:
                    with base.seeded(seed, "harma", "mini", key):
                        minis[key] = MiniAdapter(self.config.bottleneck, self.config.head_count).to(device)
                        added += minis[key].parameters()
                mini = None if key is None else minis[key]
                adapted = self._adapt(encoder, tower, tower.blocks[number], mini, seed)
                added += [adapted.gate, *adapted.adapter.parameters()]
        if minis:
            encoder.add_module("harma", nn.ModuleDict(minis))
        if self.config.variant == "released":
            encoder.temperature = nn.Parameter(torch.tensor(_RELEASED_TEMPERATURE, device=device))
            added.append(encoder.temperature)
        along = base.trained_along(encoder, self.config)
        if self.config.variant == "released":
            along -= base.scale_parameters(encoder)
        return base.names_of(encoder, added) | along

    def _mini_key(self, tower: TowerName, number: int, towers: list[Tower]) -> str | None:
        """Return which mini-adapter a layer uses: its name among the encoder's ``harma`` modules."""
        if self.config.variant == "released":
            return f"text_{number}" if tower == "text" else None
        if self.config.share == "all":
            return "all"
        if self.config.share == "layers":
            return tower
        if self.config.share == "none":
            return f"{tower}_{number}"
        depths = {one.name: len(one.blocks) for one in towers}
        return f"layer_{relative_layer(number, depths[tower], max(depths.values()))}"

    def _adapt(self, encoder: Encoder, tower: Tower, block: Block, mini: MiniAdapter | None, seed: int) -> AdaptedMlp:
        """Put a gated adapter around the MLP of one block."""
        visibility = None
        if tower.name == "image" or self.config.variant == "paper":
            visibility = Visibility(encoder.get_submodule(block.attention), causal=block.causal)
            if tower.name == "text" and visibility.name is None:
                raise InputError(
                    f"{block.attention}: this attention takes no mask, so text adapters would see padding",
                    remedy="set method.towers to image, or use another text tower",
                )
        with base.seeded(seed, "harma", tower.name, block.path):
            adapter = GatedAdapter(
                block.width, self.config.bottleneck, self.config.head_count, input_norm=self.config.input_norm
            )
        adapted = AdaptedMlp(encoder.get_submodule(block.mlp), adapter, mini, visibility).to(encoder.device)
        encoder.set_submodule(block.mlp, adapted)
        return adapted


def relative_layer(number: int, depth: int, deeper: int) -> int:
    """Return the layer of a tower ``deeper`` layers deep that stands where ``number`` of ``depth`` does.

    First meets first and last meets last; halves round up.

    Example:
        >>> [relative_layer(number, 6, 12) for number in range(6)]
        [0, 2, 4, 7, 9, 11]
    """
    if depth == 1:
        return deeper - 1
    return (2 * number * (deeper - 1) + depth - 1) // (2 * (depth - 1))


def _layer_numbers(layers: str | tuple[int, ...], tower: Tower) -> list[int]:
    """Return the numbers of a tower's chosen layers, from the input up.

    Raises:
        InputError: The tower has no such layer.
    """
    depth = len(tower.blocks)
    if layers == "all":
        return list(range(depth))
    wanted = range(-int(layers.removeprefix("last-")), 0) if isinstance(layers, str) else layers
    wrong = [number for number in wanted if not -depth <= number < depth]
    if wrong:
        raise InputError(
            f"method.layers: the {tower.name} tower has no layer {wrong[0]}",
            remedy=f"it has {depth}: numbers 0 to {depth - 1}, or -1 to -{depth} from the top",
        )
    return sorted({number % depth for number in wanted})
