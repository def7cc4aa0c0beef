"""Find the transformer blocks of a tower by their structure, not by tables of names."""

from torch import nn

from eotune.core.errors import InputError
from eotune.encoders.base import Block, Tower

_ATTENTION = ("self_attn", "attention", "attn", "attn1")  # the last is diffusers'
# The module whose output is the MLP's before the residual sum: of post-LN families (BERT, DistilBERT) its last layer.
_MLP = ("mlp", "output.dense", "ffn.lin2", "ff")


def find_blocks(module: nn.Module, path: str, *, causal: bool) -> tuple[Block, ...]:
    """Return the blocks of the tower ``module``, which stands at ``path`` in the encoder, from the input up.

    Args:
        module: A transformer.
        path: Its path in the encoder, which block paths start with.
        causal: Whether its attention is causal.

    Raises:
        InputError: It has no list of transformer blocks.
    """
    blocks = []
    for name, child in module.named_modules():  # more than one list where widths change on the way up (Swin)
        # timm's lists are sequences.
        anatomies = [_anatomy(one) for one in child] if isinstance(child, nn.ModuleList | nn.Sequential) else []
        if not all(anatomies):
            continue
        for index, (attention, mlp, width) in enumerate(filter(None, anatomies)):
            here = ".".join(part for part in (path, name, str(index)) if part)
            blocks.append(Block(here, f"{here}.{attention}", f"{here}.{mlp}", width, causal))
    if not blocks:
        raise InputError(
            f"no transformer blocks in {type(module).__name__} at {path}",
            remedy="name a transformer: ViT, DINOv2, CLIP, BERT, ...",
        )
    return tuple(blocks)


def image_tower(module: nn.Module, path: str, projection: str | None) -> Tower:
    """Describe the vision transformer ``module``, which stands at ``path`` in the encoder.

    Args:
        module: A vision transformer.
        path: Its path in the encoder.
        projection: The path of the projection head behind it; None where there is none.

    Raises:
        InputError: It has no list of transformer blocks.
    """
    blocks = find_blocks(module, path, causal=False)
    return Tower("image", path, projection, blocks, find_patch_embedding(module, path))


def find_patch_embedding(module: nn.Module, path: str) -> str | None:
    """Return the path of the layer that turns pixels into tokens: the first convolution; None where there is none.

    NaFlex models have a linear layer there, which takes patches.
    """
    found = (name for name, child in module.named_modules() if isinstance(child, nn.Conv2d))
    name = next(found, None)
    return None if name is None else ".".join(part for part in (path, name) if part)


def _anatomy(layer: nn.Module) -> tuple[str, str, int] | None:
    """Return the paths of a block's attention and MLP and the width of its tokens; None if it is no block."""
    attention, mlp = _first(layer, _ATTENTION), _first(layer, _MLP)
    if not attention or not mlp:
        return None
    widths = [part.out_features for part in layer.get_submodule(mlp).modules() if isinstance(part, nn.Linear)]
    return (attention, mlp, widths[-1]) if widths else None


def _first(layer: nn.Module, paths: tuple[str, ...]) -> str:
    """Return the first of ``paths`` that leads to a submodule of ``layer``; empty where none does."""
    for path in paths:
        try:
            layer.get_submodule(path)
        except AttributeError:
            continue
        return path
    return ""
