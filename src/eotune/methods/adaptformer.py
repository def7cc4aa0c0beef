"""AdaptFormer: a scaled bottleneck beside the MLP of every block (arXiv 2205.13535).

With h = LN(x) the input of a block's frozen MLP (eq. 3 and 4 there)::

    x <- x + MLP(h) + s * W_up ReLU(W_down h)

W_up starts at zero: the start is exactly the pretrained model. The source adapts an image tower; here either tower. In
post-LN blocks (BERT) h is what the MLP reads, and the sum enters the block's LayerNorm.
"""

from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import nn

from eotune.encoders.base import Encoder
from eotune.methods import base
from eotune.methods.bottleneck import Beside, Bottleneck, mlp_first


class AdaptformerConfig(base.InjectedConfig):
    """Settings of AdaptFormer.

    Attributes:
        bottleneck: Width b of the adapters.
        scale: s: a number, or ``learned``: one a layer, from 1.
        dropout: Behind the ReLU, in training; the released code has 0.1.
        share: ``layers``: one adapter a tower, used in all its layers; ``none``: one a layer.
        towers: Which towers are adapted; ``image`` is the source's.
    """

    name: Literal["adaptformer"] = "adaptformer"
    bottleneck: int = Field(default=64, ge=1)
    scale: float | Literal["learned"] = 0.1
    dropout: float = Field(default=0.0, ge=0, lt=1)
    share: Literal["none", "layers"] = "none"
    towers: Literal["both", "image", "text"] = "both"

    @field_validator("scale", mode="before")
    @classmethod
    def _scale_is_known(cls, value: object) -> object:
        number = isinstance(value, int | float) and value is not True and 0 < value < float("inf")
        if number or value == "learned":
            return value
        raise ValueError("must be a number above 0, or 'learned'")


class Method(base.Method):
    """Puts an adapter beside the MLP of every block; the rest of the model stays frozen."""

    Config = AdaptformerConfig
    config: AdaptformerConfig

    def _inject(self, encoder: Encoder, seed: int, /) -> set[str]:
        config = self.config
        adapters = nn.ModuleDict()
        scales: list[nn.Parameter] = []
        for tower in base.chosen_towers(encoder, config.towers):
            for number, block in enumerate(tower.blocks):
                key = tower.name if config.share == "layers" else f"{tower.name}_{number}"
                if key not in adapters:
                    with base.seeded(seed, "adaptformer", key):
                        adapters[key] = Bottleneck(block.width, config.bottleneck, "relu", config.dropout)
                scale: float | nn.Parameter
                if config.scale == "learned":
                    scale = nn.Parameter(torch.ones((), device=encoder.device))
                    scales.append(scale)
                else:
                    scale = config.scale
                frozen = encoder.get_submodule(block.mlp)
                encoder.set_submodule(block.mlp, Beside(frozen, adapters[key], scale, mlp_first(encoder, block)))
        encoder.add_module("adapters", adapters.to(encoder.device))
        trained = base.parameters_under(encoder, "adapters") | base.names_of(encoder, scales)
        return trained | base.trained_along(encoder, config)
