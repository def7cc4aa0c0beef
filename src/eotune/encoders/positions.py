"""Write position tables that are interpolated in every pass into the weights, for tools that do not interpolate."""

from typing import Any

import torch
from torch import nn

from eotune.encoders.hf import HFDualEncoder, NaFlexDualEncoder
from eotune.encoders.image import HFImageEncoder
from eotune.encoders.towers import asks_for_interpolation, patch_size


def settle_positions(encoder: HFDualEncoder | HFImageEncoder) -> None:
    """Make the size that ``encoder`` sees its native one, in place; embeddings stay the same.

    CLIP, SigLIP and ViT at another size than they were trained at interpolate their grid of positions in every pass,
    and transformers does so only where a call asks for it. Afterwards the weights hold the interpolated grid and the
    configuration names the new size. Models that interpolate of themselves (DINOv2, NaFlex) are left as they are, and
    so are those whose table is kept in another way.

    Example:
        >>> from eotune import encoders
        >>> encoder = encoders.load("tiny", image_size=96)
        >>> settle_positions(encoder)
        >>> encoder.native_size, encoder.model.config.vision_config.image_size
        (96, 96)
    """
    size = encoder.transform.size
    if size == encoder.native_size or isinstance(encoder, NaFlexDualEncoder):
        return
    model: Any = encoder.model if isinstance(encoder, HFImageEncoder) else encoder.model.vision_model
    embeddings: Any = getattr(model, "embeddings", None)
    kept = next((name for name in ("position_embedding", "position_embeddings") if hasattr(embeddings, name)), None)
    old: Any = getattr(embeddings, kept) if kept else None
    table = old.weight[None] if isinstance(old, nn.Embedding) else old
    if kept is None or not isinstance(table, torch.Tensor) or not asks_for_interpolation(model):
        return
    patches, before = ((side // patch_size(model)) ** 2 for side in (size, encoder.native_size))
    tokens = table.shape[1] - before + patches  # with those before the patches
    with torch.no_grad():
        # Of the embeddings, transformers reads no more than their number and width.
        table = embeddings.interpolate_pos_encoding(table.new_empty(1, tokens, table.shape[2]), size, size)
    if isinstance(old, nn.Embedding):
        new: Any = nn.Embedding.from_pretrained(table[0], freeze=not old.weight.requires_grad)
        embeddings.num_positions, embeddings.position_ids = tokens, torch.arange(tokens, device=table.device)[None]
    else:
        new = nn.Parameter(table.detach().clone(), requires_grad=old.requires_grad)
    setattr(embeddings, kept, new)
    holders: list[Any] = [model.config, embeddings, getattr(embeddings, "patch_embeddings", None)]
    for holder in holders:
        if hasattr(holder, "image_size"):
            holder.image_size = size if isinstance(holder.image_size, int) else (size, size)
        if hasattr(holder, "num_patches"):
            holder.num_patches = patches
    encoder.native_size = size
