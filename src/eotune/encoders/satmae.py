"""Masked autoencoders of satellite images by their own checkpoints: SatMAE (RGB and multispectral) and Scale-MAE.

Of a checkpoint the encoder is taken, without masking; its decoder is left out. Attention heads, which weights do not
show, are those of MAE's ViT-Base, -Large and -Huge.
"""

from itertools import accumulate
from math import isqrt
from pathlib import Path

import torch
from torch import Tensor

from eotune.core.errors import InputError
from eotune.encoders.base import Feature
from eotune.encoders.grouped import GROUPS, GroupedImageEncoder, GroupedViT, names
from eotune.encoders.image import HFImageEncoder, image_pooling
from eotune.encoders.mae_weights import (
    check_layout,
    encoder_weights,
    fill_model,
    sincos_positions,
    vit_config,
)
from eotune.encoders.open_clip_weights import read_state_dict
from eotune.encoders.preprocess import ImageTransform
from eotune.encoders.pretrained import checked_size

# Statistics of fMoW-RGB, and of ImageNet, in the authors' data sets.
_FMOW = ((0.4182007312774658, 0.4214799106121063, 0.3991275727748871),
         (0.28774282336235046, 0.27541765570640564, 0.2764017581939697))  # fmt: skip
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def load_satmae(source: str, *, image_size: int | None = None, feature: Feature | None = None) -> HFImageEncoder:
    """Load a checkpoint of SatMAE: fMoW RGB, or the multispectral one with groups of bands.

    A multispectral model takes its bands scaled to 8 bits, from the mean less two deviations of each band to the mean
    and two. The released ones read ten bands of Sentinel-2 (see ``encoder.bands``); which bands form a group is not in
    the weights: for other group sizes than theirs, bands are to be given group after group.

    Args:
        source: A ``.pth`` or ``.safetensors`` file.
        image_size: Side of the square that the model sees; None takes the model's own. Positions are interpolated.
        feature: ``cls`` (the default) or ``mean``.

    Raises:
        InputError: The file is missing or holds something else.
    """
    state = _read(source)
    if "channel_embed" in state:
        return _load_grouped(source, state, image_size, feature)
    check_layout(state, ("patch_embed.proj.weight",), source)
    patch = state["patch_embed.proj.weight"].shape[-1]
    native = _grid(state["pos_embed"]) * patch
    return _vit(source, state, native, _prepared(native, *_FMOW), image_size, feature)


def load_scale_mae(source: str, *, image_size: int | None = None, feature: Feature | None = None) -> HFImageEncoder:
    """Load a checkpoint of Scale-MAE, whose positions count in metres on the ground.

    Args:
        source: ``FILE``, or ``FILE@METRES`` with the ground sampling distance of the images as the model sees them,
            after resizing; 1 where it is left out.
        image_size: Side of the square that the model sees; None takes the model's own. Positions are computed for it.
        feature: ``cls`` (the default) or ``mean``.

    Raises:
        InputError: The file is missing or holds something else, or METRES is no length.
    """
    path, distance = _distance(source)
    state = _read(path)
    check_layout(state, ("patch_embed.proj.weight",), path)
    patch, width = state["patch_embed.proj.weight"].shape[-1], state["cls_token"].shape[-1]
    size = checked_size(image_size, patch, path) if image_size else _grid(state["pos_embed"]) * patch
    state["pos_embed"] = sincos_positions(width, size // patch, distance)
    return _vit(path, state, size, ImageTransform(size, mean=_IMAGENET[0], std=_IMAGENET[1]), None, feature)


def _read(source: str) -> dict[str, Tensor]:
    return encoder_weights(read_state_dict(Path(source)), source)


def _grid(positions: Tensor) -> int:
    return isqrt(positions.shape[1] - 1)


def _prepared(size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> ImageTransform:
    """Return SatMAE's rule of evaluation: the shorter side to 8/7 of the size, the centre cut out."""
    return ImageTransform(size, mean=mean, std=std, scaled_to=size * 8 // 7 if size <= 224 else None, centre="round")


def _at(transform: ImageTransform, image_size: int | None, patch: int, source: str) -> ImageTransform:
    if image_size in (None, transform.size):
        return transform
    return transform.at(checked_size(image_size, patch, source))


def _vit(
    source: str, state: dict[str, Tensor], native: int, transform: ImageTransform, image_size: int | None,
    feature: Feature | None,
) -> HFImageEncoder:  # fmt: skip
    from transformers import ViTModel

    weight = state["patch_embed.proj.weight"]
    config = vit_config(state, patch=weight.shape[-1], image_size=native, channels=weight.shape[1])
    if weight.shape[1] != 3:
        raise InputError(f"{source}: takes {weight.shape[1]} bands in one group", remedy="name an RGB checkpoint")
    model = fill_model(ViTModel(config, add_pooling_layer=False), state, source)
    transform = _at(transform, image_size, weight.shape[-1], source)
    return HFImageEncoder(model, transform, image_pooling(model, feature, source))


def _load_grouped(
    source: str, state: dict[str, Tensor], image_size: int | None, feature: Feature | None
) -> GroupedImageEncoder:
    check_layout(state, ("patch_embed.0.proj.weight",), source)
    count, group_width = state["channel_embed"].shape[1:]
    first = "patch_embed.{}.proj.weight"
    check_layout(state, tuple(map(first.format, range(count))), source)
    sizes = [state[first.format(number)].shape[1] for number in range(count)]
    groups = GROUPS if sizes == [len(group) for group in GROUPS] else _in_order(sizes)
    patch, grid = state[first.format(0)].shape[-1], _grid(state["pos_embed"])
    # Pretraining has no such vector; fine-tuning starts it at zero.
    state.setdefault("channel_cls_embed", torch.zeros(1, 1, group_width))
    config = vit_config(state, patch=patch, image_size=grid * patch, channels=sum(sizes))
    model = fill_model(GroupedViT(config, groups, group_width), state, source, names(count))
    transform = _prepared(grid * patch, (0.0,) * sum(sizes), (1.0,) * sum(sizes))
    return GroupedImageEncoder(model, _at(transform, image_size, patch, source), image_pooling(model, feature, source))


def _in_order(sizes: list[int]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(range(end - size, end)) for size, end in zip(sizes, accumulate(sizes), strict=True))


def _distance(source: str) -> tuple[str, float]:
    """Split ``FILE@METRES``."""
    path, mark, metres = source.rpartition("@")
    if not mark or Path(source).exists():
        return source, 1.0
    try:
        distance = float(metres)
    except ValueError:
        distance = 0.0
    if not 0 < distance < float("inf"):
        raise InputError(
            f"scalemae:{source}: {metres!r} is no ground sampling distance", remedy="write metres, as in FILE@0.5"
        )
    return path, distance
