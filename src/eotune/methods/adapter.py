"""Bottleneck adapters behind the sublayers of every block (Houlsby et al., arXiv 1902.00751).

With y the output of a frozen sublayer (self-attention or MLP), before the residual sum::

    y <- y + W_up f(W_down y)

W_up starts at zero: the start is exactly the pretrained model (the source starts near it). Post-LN blocks (BERT) add it
before their LayerNorm, as the source does. ``placement: pfeiffer`` keeps the one behind the MLP, which Pfeiffer et al.
(arXiv 2005.00247) found to be enough; the rearranged LayerNorm of their post-LN blocks is left out.
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field
from torch import nn

from eotune.encoders.base import Block, Encoder
from eotune.methods import base
from eotune.methods.bottleneck import After, Bottleneck, attention_output


class AdapterConfig(base.InjectedConfig):
    """Settings of bottleneck adapters.

    Attributes:
        bottleneck: Width b of the adapters.
        placement: ``houlsby``: behind attention and MLP; ``pfeiffer``: behind the MLP alone.
        activation: f.
        dropout: Behind f, in training.
        share: ``layers``: one adapter a tower and place, used in all its layers; ``none``: one a layer.
        towers: Which towers are adapted.
    """

    name: Literal["adapter"] = "adapter"
    bottleneck: int = Field(default=64, ge=1)
    placement: Literal["houlsby", "pfeiffer"] = "houlsby"
    activation: Literal["gelu", "relu"] = "gelu"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    share: Literal["none", "layers"] = "none"
    towers: Literal["both", "image", "text"] = "both"


class Method(base.Method):
    """Puts an adapter behind the chosen sublayers of every block; the rest of the model stays frozen."""

    Config = AdapterConfig
    config: AdapterConfig

    def _inject(self, encoder: Encoder, seed: int, /) -> set[str]:
        adapters = nn.ModuleDict()
        for tower in base.chosen_towers(encoder, self.config.towers):
            for number, block in enumerate(tower.blocks):
                for place, path in self._places(encoder, block):
                    key = f"{tower.name}_{place}" if self.config.share == "layers" else f"{tower.name}_{number}_{place}"
                    if key not in adapters:
                        with base.seeded(seed, "adapter", key):
                            adapters[key] = Bottleneck(
                                block.width, self.config.bottleneck, self.config.activation, self.config.dropout
                            )
                    encoder.set_submodule(path, After(encoder.get_submodule(path), adapters[key]))
        encoder.add_module("adapters", adapters.to(encoder.device))
        trained = base.parameters_under(encoder, "adapters")
        return trained | base.trained_along(encoder, self.config)

    def _places(self, encoder: Encoder, block: Block) -> Iterator[tuple[str, str]]:
        """Yield the name and path of every module of a block that an adapter follows."""
        if self.config.placement == "houlsby":
            yield "attention", attention_output(encoder, block)
        yield "mlp", block.mlp
