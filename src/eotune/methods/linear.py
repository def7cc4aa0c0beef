"""A linear map of each tower's final embeddings, trained on embeddings that are computed once.

With f an embedding of the frozen model: ``f <- f + W f``. W starts at zero, so that the start is exactly the pretrained
model and weight decay pulls back to it. Nothing in front of f trains: every epoch reuses the same embeddings, of images
without augmentation, and costs a few small matrix products. It is the "linear projection (cached features)" baseline;
method ``heads`` trains the projection heads themselves, through both towers, with augmentation.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from eotune.encoders.base import DualEncoder, DualOutput, Encoder, TowerName
from eotune.methods import base


class LinearConfig(base.TrainedConfig):
    """Settings of the linear projection.

    Attributes:
        towers: Whose embeddings are mapped.
    """

    name: Literal["linear"] = "linear"
    towers: Literal["both", "image", "text"] = "both"


class Mapped(nn.Module):
    """Stands where a projection head stood and maps its output: ``f + W f``, ``(n, d)``."""

    def __init__(self, frozen: nn.Module, dim: int) -> None:
        super().__init__()
        self.frozen = frozen
        self.map = nn.Parameter(torch.zeros(dim, dim))  # W

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Run the projection head, then map."""
        return self.after(self.frozen(*args, **kwargs))

    def after(self, embeddings: Tensor) -> Tensor:
        """Map what the projection head returned. A factor on it is a factor on the result."""
        return embeddings + functional.linear(embeddings, self.map)


class OnFeatures(nn.Module):
    """The adapted encoder as a function of the pretrained model's embeddings, of any length."""

    def __init__(self, encoder: DualEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, image_features: Tensor, text_features: Tensor) -> DualOutput:
        """Map ``(n, d)`` and ``(m, d)`` embeddings of the pretrained model to those of the adapted one."""
        encoder = self.encoder
        images, texts = self._map("image", image_features), self._map("text", text_features)
        return DualOutput(images, texts, encoder.logit_scale(), encoder.logit_bias)

    def _map(self, name: TowerName, features: Tensor) -> Tensor:
        head = self.encoder.get_submodule(base.projection_path(self.encoder, self.encoder.towers[name]))
        return head.after(features) if isinstance(head, Mapped) else features


class Method(base.Method):
    """Puts a linear map behind the projection heads; the rest of the model stays frozen."""

    Config = LinearConfig
    needs_text = True
    config: LinearConfig

    def phases(self) -> tuple[base.Phase, ...]:
        """Return one phase, on the pretrained model's embeddings."""
        return (base.Phase("train", on_features=OnFeatures),)

    def _inject(self, encoder: Encoder, _seed: int, /) -> set[str]:
        trained = set()
        for tower in base.chosen_towers(encoder, self.config.towers):
            path = base.projection_path(encoder, tower)
            encoder.set_submodule(path, Mapped(encoder.get_submodule(path), encoder.dim).to(encoder.device))
            trained.add(f"{path}.map")
        return trained | (base.scale_parameters(encoder) if self.config.logit_scale == "learned" else set())

    def _merge(self, encoder: Encoder) -> bool:
        """Fold the maps into the projection heads, where those are linear: ``(I + W)(P x + b)``."""
        mapped = [(path, module) for path, module in encoder.named_modules() if isinstance(module, Mapped)]
        if not all(isinstance(module.frozen, nn.Linear) for _, module in mapped):
            return False
        for path, module in mapped:
            head = module.frozen
            for parameter in head.parameters():  # the weight (d, in), and where there is one the bias (d,)
                parameter.data += module.map.data @ parameter.data
            encoder.set_submodule(path, head)
        return True
