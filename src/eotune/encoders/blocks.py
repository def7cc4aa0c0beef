"""Find the transformer blocks of a tower by their structure, not by tables of names."""

from collections.abc import Iterator

from torch import nn

from eotune.core.errors import InputError
from eotune.encoders.base import Block

_ATTENTION = ("self_attn", "attention", "attn")
# The module whose output is the MLP's before the residual sum; the last two are post-LN families (BERT, DistilBERT).
_MLP = ("mlp", "output.dense", "ffn.lin2")


def find_blocks(module: nn.Module, path: str, *, causal: bool) -> tuple[Block, ...]:
    """Return the blocks of the tower ``module``, which stands at ``path`` in the encoder, from the input up.

    Args:
        module: A transformer.
        path: Its path in the encoder, which block paths start with.
        causal: Whether its attention is causal.

    Raises:
        InputError: It has no list of transformer blocks.
    """
    lists = list(_block_lists(module))
    if not lists:
        raise InputError(
            f"no transformer blocks in {type(module).__name__} at {path}",
            remedy="only transformer towers can be adapted block by block; use method heads, full or frozen",
        )
    name, layers = max(lists, key=lambda found: len(found[1]))
    blocks = []
    for index, layer in enumerate(layers):
        here = ".".join(part for part in (path, name, str(index)) if part)
        mlp = _first(layer, _MLP)
        blocks.append(
            Block(
                path=here,
                attention=f"{here}.{_first(layer, _ATTENTION)}",
                mlp=f"{here}.{mlp}",
                width=_width(layer),
                causal=causal,
            )
        )
    return tuple(blocks)


def _block_lists(module: nn.Module) -> Iterator[tuple[str, nn.ModuleList]]:
    for name, child in module.named_modules():
        if (
            isinstance(child, nn.ModuleList)
            and len(child)
            and all(_first(layer, _ATTENTION) and _first(layer, _MLP) for layer in child)
        ):
            yield name, child


def _first(layer: nn.Module, paths: tuple[str, ...]) -> str | None:
    """Return the first of ``paths`` that leads to a submodule of ``layer``."""
    for path in paths:
        try:
            layer.get_submodule(path)
        except AttributeError:
            continue
        return path
    return None


def _width(layer: nn.Module) -> int:
    """Return the token width of a block: that of its first layer norm."""
    for child in layer.modules():
        if isinstance(child, nn.LayerNorm):
            return child.normalized_shape[0]
    raise InputError(f"{type(layer).__name__} has no layer norm", remedy="use method heads, full or frozen")
