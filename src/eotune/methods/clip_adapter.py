"""CLIP-Adapter: a residual MLP on the final embeddings (arXiv 2110.04544).

With f an embedding of the frozen model (eq. 4 to 7 there)::

    f <- alpha * W2 ReLU(W1 f) + (1 - alpha) * f

In the source W1 and W2 start at random: training starts near the pretrained model, not at it. With ``start: identity``
W2 starts at zero: (1 - alpha) f has f's direction, and cosine similarities start where they were. The released code
applies a second ReLU, behind W2, that the paper does not have; it is left out.
"""

from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from eotune.core.errors import InputError
from eotune.encoders.base import Encoder
from eotune.methods import base


class ClipAdapterConfig(base.TrainedConfig):
    """Settings of CLIP-Adapter.

    Attributes:
        alpha: Share of the adapter in the sum.
        reduction: How many times narrower the MLP is than the embedding.
        towers: Whose embeddings are adapted.
        start: ``paper``: W2 starts at random; ``identity``: at zero.
    """

    name: Literal["clip_adapter"] = "clip_adapter"
    alpha: float = Field(default=0.2, gt=0, lt=1)
    reduction: int = Field(default=4, ge=1)
    towers: Literal["both", "image", "text"] = "image"
    start: Literal["paper", "identity"] = "paper"


class Mixed(nn.Module):
    """Stands where a projection head stood and mixes its output with an MLP of it: ``(n, d)``."""

    def __init__(self, frozen: nn.Module, dim: int, config: ClipAdapterConfig) -> None:
        super().__init__()
        self.frozen = frozen
        self.alpha = config.alpha
        self.down = nn.Linear(dim, dim // config.reduction, bias=False)
        self.up = nn.Linear(dim // config.reduction, dim, bias=False)
        if config.start == "identity":
            nn.init.zeros_(self.up.weight)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Run the projection head, then mix."""
        embeddings = self.frozen(*args, **kwargs)
        return self.alpha * self.up(self.down(embeddings).relu()) + (1 - self.alpha) * embeddings


class Method(base.Method):
    """Puts an MLP behind the projection heads; the rest of the model stays frozen."""

    Config = ClipAdapterConfig
    needs_text = True
    config: ClipAdapterConfig

    def starts_pretrained(self) -> bool:
        """Return whether W2 starts at zero."""
        return self.config.start == "identity"

    def _inject(self, encoder: Encoder, seed: int, /) -> set[str]:
        if self.config.reduction > encoder.dim:
            raise InputError(
                f"method.reduction: {self.config.reduction} is more than the {encoder.dim} numbers of an "
                f"embedding of {encoder.name!r}",
                remedy="lower it",
            )
        trained = set()
        for tower in base.chosen_towers(encoder, self.config.towers):
            path = base.projection_path(encoder, tower)
            with base.seeded(seed, "clip_adapter", tower.name):
                mixed = Mixed(encoder.get_submodule(path), encoder.dim, self.config).to(encoder.device)
            encoder.set_submodule(path, mixed)
            trained |= {f"{path}.down.weight", f"{path}.up.weight"}
        return trained | (base.scale_parameters(encoder) if self.config.logit_scale == "learned" else set())
