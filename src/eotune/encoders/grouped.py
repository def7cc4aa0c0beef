"""SatMAE's vision transformer of multispectral images: every group of bands has tokens of its own (arXiv 2207.08051).

Bands are split into groups. Each is cut into the same patches, embedded by a convolution of its own, and its tokens
carry where they are (the larger part of a vector) and which group they belong to (the rest). All groups' tokens go
through one transformer together, a class token in front.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import ViTConfig, ViTModel
from transformers.modeling_outputs import BaseModelOutput

from eotune.core.files import replaced
from eotune.encoders.base import Tower
from eotune.encoders.image import HFImageEncoder
from eotune.encoders.mae_weights import from_model
from eotune.encoders.preprocess import ImageTransform
from eotune.encoders.towers import ImagePooling

WEIGHTS = "model.safetensors"

# fMoW-Sentinel's bands without B01, B09 and B10, and which of them form a group, as the released models were trained.
BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
GROUPS = ((0, 1, 2, 6), (3, 4, 5, 7), (8, 9))


class GroupedEmbeddings(nn.Module):
    """Pixels to tokens.

    Args:
        groups: Numbers of the bands of each group.
        width: Of a token.
        patch: Side of a patch in pixels.
        grid: Patches a side that the positions are for; other numbers are interpolated.
        group_width: How many of a token's numbers tell its group.
    """

    def __init__(self, groups: Sequence[Sequence[int]], width: int, patch: int, grid: int, group_width: int) -> None:
        super().__init__()
        self.groups = tuple(tuple(group) for group in groups)
        self.grid, self.patch = grid, patch
        convolutions = [nn.Conv2d(len(group), width, kernel_size=patch, stride=patch) for group in self.groups]
        self.patch_embeddings = nn.ModuleList(convolutions)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position_embeddings = nn.Parameter(torch.zeros(1, 1 + grid * grid, width - group_width))
        self.group_embeddings = nn.Parameter(torch.zeros(1, len(self.groups), group_width))
        self.cls_group_embedding = nn.Parameter(torch.zeros(1, 1, group_width))

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Map ``(n, c, h, w)`` to ``(n, 1 + groups * patches, width)``, group after group."""
        positions = self._positions(pixel_values.shape[-1] // self.patch)
        tokens = []
        for number, (group, convolution) in enumerate(zip(self.groups, self.patch_embeddings, strict=True)):
            embedded = convolution(pixel_values[:, group]).flatten(2).transpose(1, 2)
            belongs = self.group_embeddings[:, number : number + 1].expand(-1, positions.shape[1], -1)
            tokens.append(embedded + torch.cat([positions, belongs], -1))
        first = self.cls_token + torch.cat([self.position_embeddings[:, :1], self.cls_group_embedding], -1)
        return torch.cat([first.expand(len(pixel_values), -1, -1), *tokens], 1)

    def _positions(self, grid: int) -> Tensor:
        table = self.position_embeddings[:, 1:]
        if grid == self.grid:
            return table
        square = table.transpose(1, 2).unflatten(2, (self.grid, self.grid))
        return functional.interpolate(square, size=(grid, grid), mode="bicubic").flatten(2).transpose(1, 2)


class GroupedViT(ViTModel):
    """Transformers' ViT with :class:`GroupedEmbeddings` in front.

    Args:
        config: Sizes; its image size and patch size give the grid.
        groups: See :class:`GroupedEmbeddings`.
        group_width: Likewise.
    """

    def __init__(self, config: ViTConfig, groups: Sequence[Sequence[int]], group_width: int) -> None:
        super().__init__(config, add_pooling_layer=False)
        grid = config.image_size // config.patch_size
        self.embeddings = GroupedEmbeddings(groups, config.hidden_size, config.patch_size, grid, group_width)

    def forward(self, pixel_values: Tensor) -> BaseModelOutput:
        """Map ``(n, c, h, w)`` to ``last_hidden_state`` ``(n, 1 + groups * patches, width)``."""
        states = self.embeddings(pixel_values)
        for layer in self.layers:
            states = layer(states)
        return BaseModelOutput(last_hidden_state=self.layernorm(states))


class GroupedImageEncoder(HFImageEncoder):
    """A :class:`GroupedViT` as an image encoder.

    Args:
        model: The model.
        transform: Its preprocessing.
        pooling: ``cls``, or ``mean`` over the tokens of all groups.
    """

    takes_sigma = True

    def __init__(self, model: GroupedViT, transform: ImageTransform, pooling: ImagePooling) -> None:
        super().__init__(model, transform, pooling)
        tower = self.towers["image"]
        self.towers = {"image": Tower("image", "model", None, tower.blocks, "model.embeddings.patch_embeddings")}
        if model.embeddings.groups == GROUPS:
            self.bands = BANDS

    def image_features(self, pixel_values: Tensor) -> Tensor:
        """See :meth:`ImageEncoder.image_features`."""
        states = self.model(pixel_values=pixel_values).last_hidden_state
        return states[:, 0] if self.pooling == "cls" else states[:, 1:].mean(1)

    def save(self, directory: Path) -> None:
        """Write ``model.safetensors`` in SatMAE's layout, which ``satmae:DIR/model.safetensors`` reads."""
        directory.mkdir(parents=True, exist_ok=True)
        with replaced(directory / WEIGHTS) as temporary:
            save_file(from_model(self.model, names(len(self.model.embeddings.groups))), temporary)


def names(groups: int) -> dict[str, str]:
    """Return SatMAE's names of the weights outside the blocks, to ours."""
    inside = {
        "cls_token": "cls_token", "pos_embed": "position_embeddings", "channel_embed": "group_embeddings",
        "channel_cls_embed": "cls_group_embedding",
    }  # fmt: skip
    inside |= {
        f"patch_embed.{number}.proj.{leaf}": f"patch_embeddings.{number}.{leaf}"
        for number in range(groups)
        for leaf in ("weight", "bias")
    }
    outside = {"norm.weight": "layernorm.weight", "norm.bias": "layernorm.bias"}
    return {theirs: f"embeddings.{ours}" for theirs, ours in inside.items()} | outside
