"""Write position tables that are interpolated in every pass into the weights, for tools that do not interpolate."""

from typing import Any

import torch
from torch import nn

from eotune.encoders.hf import HFDualEncoder, NaFlexDualEncoder


def settle_positions(encoder: HFDualEncoder) -> None:
    """Make the size that ``encoder`` sees its native one, in place; embeddings stay the same.

    CLIP and SigLIP at another size than they were trained at interpolate their grid of positions in every pass, and
    transformers does so only where a call asks for it. Afterwards the weights hold the interpolated grid and the
    configuration names the new size. NaFlex models interpolate of themselves and are left as they are.

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
    vision: Any = encoder.model.config.vision_config
    embeddings: Any = encoder.model.vision_model.embeddings
    patches = (size // vision.patch_size) ** 2
    old: nn.Embedding = embeddings.position_embedding
    before = old.num_embeddings - (encoder.native_size // vision.patch_size) ** 2  # tokens before the patches
    with torch.no_grad():
        # Of the embeddings, transformers reads no more than their number and width.
        like = old.weight.new_empty(1, before + patches, old.embedding_dim)
        table = embeddings.interpolate_pos_encoding(like, size, size)[0]
    embeddings.position_embedding = nn.Embedding.from_pretrained(table, freeze=not old.weight.requires_grad)
    embeddings.num_patches, embeddings.num_positions = patches, before + patches
    embeddings.position_ids = torch.arange(before + patches, device=table.device)[None]
    embeddings.image_size = vision.image_size = encoder.native_size = size
