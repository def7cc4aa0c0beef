"""Full fine-tuning: every weight moves."""

from typing import Literal

from eotune.encoders.base import Encoder, Tower
from eotune.methods import base


class FullConfig(base.TrainedConfig):
    """Settings of full fine-tuning.

    Attributes:
        towers: Which towers train, each with its projection head.
        freeze_embeddings: Leave patch, token and position embeddings as they are.
    """

    name: Literal["full"] = "full"
    towers: Literal["both", "image", "text"] = "both"
    freeze_embeddings: bool = False


class Method(base.Method):
    """Trains the whole encoder, or one tower with its projection head. What it saves is as large as the model."""

    Config = FullConfig
    config: FullConfig

    def _inject(self, encoder: Encoder, _seed: int, /) -> set[str]:
        trained: set[str] = set()
        for tower in base.chosen_towers(encoder, self.config.towers):
            trained |= base.parameters_under(encoder, tower.path)
            trained |= base.parameters_under(encoder, tower.projection) if tower.projection is not None else set()
            if self.config.freeze_embeddings:
                trained -= _embeddings(encoder, tower)
        return trained | (base.scale_parameters(encoder) if self.config.logit_scale == "learned" else set())


def _embeddings(encoder: Encoder, tower: Tower) -> set[str]:
    """Return the parameters below a module called ``embed...`` or ``...embeddings``, outside the blocks."""
    blocks = tuple(block.path + "." for block in tower.blocks)
    return {
        name
        for name in base.parameters_under(encoder, tower.path)
        if not name.startswith(blocks)
        and any(
            part.startswith("embed") or part.endswith("embeddings")
            for part in name.removeprefix(tower.path + ".").split(".")
        )
    }
