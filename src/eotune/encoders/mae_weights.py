"""Translate checkpoints of masked autoencoders (MAE, SatMAE, Scale-MAE: timm's names) into transformers' ViTModel."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from eotune.core.errors import InputError
from eotune.encoders.pretrained import check_keys

# What pretraining and fine-tuning put behind the encoder.
_LEFT_OUT = ("decoder", "mask_token", "head.", "fpn.", "fcn", "pos_emb_projection.")
_PLAIN = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
    "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
    "norm.weight": "layernorm.weight",
    "norm.bias": "layernorm.bias",
}
_IN_BLOCK = {
    "norm1": "layernorm_before", "norm2": "layernorm_after", "attn.proj": "attention.o_proj",
    "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2",
}  # fmt: skip
_PACKED = ("attention.q_proj", "attention.k_proj", "attention.v_proj")  # one matrix, attn.qkv, in timm
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)\.(weight|bias)")
_OUR_BLOCK = re.compile(r"layers\.(\d+)\.(.+)\.(weight|bias)")


def encoder_weights(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Return the encoder's part of a checkpoint in float32, without decoder and heads.

    Raises:
        InputError: The model was fine-tuned on the mean of its patches, whose norm stands behind the mean.
    """
    if "fc_norm.weight" in state:
        raise InputError(
            f"{source}: was fine-tuned with global pooling (fc_norm), which is not read here",
            remedy="name the pretrained checkpoint",
        )
    return {name: value.float() for name, value in state.items() if not name.startswith(_LEFT_OUT)}


def vit_config(state: Mapping[str, Tensor], *, patch: int, image_size: int, channels: int) -> Any:
    """Return the ViTConfig of an encoder's weights; attention heads, which they do not show, are MAE's."""
    from transformers import ViTConfig

    width = state["cls_token"].shape[-1]
    return ViTConfig(
        hidden_size=width,
        num_hidden_layers=1 + max(int(match[1]) for match in map(_BLOCK.fullmatch, state) if match),
        num_attention_heads=16 if width == 1280 else width // 64,  # ViT-Huge alone has heads of 80
        intermediate_size=state["blocks.0.mlp.fc1.weight"].shape[0],
        layer_norm_eps=1e-6,
        image_size=image_size,
        patch_size=patch,
        num_channels=channels,
    )


def check_layout(state: Mapping[str, Tensor], needed: tuple[str, ...], source: str) -> None:
    """Refuse what is no such checkpoint, before its sizes are read off.

    Raises:
        InputError: A weight that every one of them has is missing.
    """
    check_keys(
        source, {name for name in (*needed, "cls_token", "blocks.0.mlp.fc1.weight") if name not in state}, (), ()
    )


def fill_model(model: Any, state: Mapping[str, Tensor], source: str, plain: Mapping[str, str] = _PLAIN) -> Any:
    """Copy a checkpoint's weights into a ViTModel, every one accounted for.

    Args:
        model: A ``ViTModel`` without pooler, or one whose embeddings were replaced.
        state: What :func:`encoder_weights` returned.
        source: For messages.
        plain: The checkpoint's names of weights outside the blocks, to the model's.

    Raises:
        InputError: Keys are missing or left over, or a shape differs; the message names them.
    """
    renamed: dict[str, Tensor] = {}
    unexpected: list[str] = []
    for name, value in state.items():
        inside = _inside(name, value)
        if name in plain:
            renamed[plain[name]] = value
        elif inside:
            renamed |= inside
        else:
            unexpected.append(name)
    wanted = model.state_dict()
    reshaped = [
        f"{name} {tuple(renamed[name].shape)} instead of {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in renamed and renamed[name].shape != value.shape
    ]
    unexpected += sorted(set(renamed) - set(wanted))
    check_keys(source, set(wanted) - set(renamed), unexpected, reshaped)
    model.load_state_dict(renamed)
    return model.eval()


def _inside(name: str, value: Tensor) -> dict[str, Tensor]:
    match = _BLOCK.fullmatch(name)
    if match is None:
        return {}
    number, stem, leaf = match.groups()
    if stem == "attn.qkv":
        return {f"layers.{number}.{part}.{leaf}": one for part, one in zip(_PACKED, value.chunk(3), strict=True)}
    return {f"layers.{number}.{_IN_BLOCK[stem]}.{leaf}": value} if stem in _IN_BLOCK else {}


def from_model(model: Any, plain: Mapping[str, str] = _PLAIN) -> dict[str, Tensor]:
    """Return a model's weights under a checkpoint's names: the inverse of :func:`fill_model`."""
    names = {ours: theirs for theirs, ours in plain.items()}
    inside = {ours: theirs for theirs, ours in _IN_BLOCK.items()}
    weights = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    state = {}
    for name, value in weights.items():
        match = _OUR_BLOCK.fullmatch(name)
        if match is None:
            state[names[name]] = value.contiguous()
        elif match[2] in inside:
            state[f"blocks.{match[1]}.{inside[match[2]]}.{match[3]}"] = value.contiguous()
        elif match[2] == _PACKED[0]:
            parts = [weights[f"layers.{match[1]}.{part}.{match[3]}"] for part in _PACKED]
            state[f"blocks.{match[1]}.attn.qkv.{match[3]}"] = torch.cat(parts)
    return state


def sincos_positions(width: int, grid: int, step: float) -> Tensor:
    """Return the fixed positions ``(1, 1 + grid * grid, width)`` of Scale-MAE (arXiv 2212.14532, eq. 2).

    The first half of a vector tells the column, the second the row; the class token's is zero.

    Args:
        width: Of a token.
        grid: Patches a side.
        step: How much a patch further counts: the ground sampling distance over that of the reference.

    Example:
        >>> sincos_positions(8, 2, 1.0)[0, 1].tolist()  # the first patch: sin 0, cos 0
        [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]
    """
    frequencies = 10000.0 ** -(torch.arange(width // 4, dtype=torch.float32) / (width / 4))
    angles = step * torch.arange(grid, dtype=torch.float32)[:, None] * frequencies
    line = torch.cat([angles.sin(), angles.cos()], 1)  # (grid, width / 2)
    columns, rows = line[None].expand(grid, -1, -1), line[:, None].expand(-1, grid, -1)
    table = torch.cat([columns, rows], -1).flatten(0, 1)
    return torch.cat([torch.zeros(1, width), table])[None]
