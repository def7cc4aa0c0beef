"""Dual encoders of transformers: the CLIP and SigLIP families."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eotune.core.errors import InputError
from eotune.encoders.base import DualEncoder, Tower
from eotune.encoders.blocks import find_blocks, image_tower
from eotune.encoders.preprocess import ImageTransform
from eotune.encoders.pretrained import checked_size, read_config, read_model, read_tokenizer, recompute_activations
from eotune.encoders.processors import read_transform, write_preprocessing

_KINDS = {"clip": "CLIPModel", "siglip": "SiglipModel", "siglip2": "Siglip2Model"}


class HFDualEncoder(DualEncoder):
    """A transformers model that holds both towers.

    Args:
        model: A ``CLIPModel``, a ``SiglipModel`` (SigLIP 2 of fixed resolution is one too), or a ``Siglip2Model``.
        tokenizer: Its tokenizer.
        transform: Its image preprocessing.
    """

    def __init__(self, model: Any, tokenizer: Any, transform: ImageTransform) -> None:
        super().__init__()
        self.model: Any = model
        self.tokenizer = tokenizer
        self.transform = transform
        self.name = "hf"
        config = model.config
        self.is_siglip = config.model_type in ("siglip", "siglip2")
        self.native_size = native_size(config.vision_config)
        self.max_tokens = int(config.text_config.max_position_embeddings)
        self.backbones = {"": "model"}
        # SigLIP's attention-pooling head and text head are its projections.
        heads = ("vision_model.head", "text_model.head") if self.is_siglip else ("visual_projection", "text_projection")
        self.towers = {
            "image": image_tower(model.vision_model, "model.vision_model", f"model.{heads[0]}"),
            "text": Tower(
                "text", "model.text_model", f"model.{heads[1]}",
                find_blocks(model.text_model, "model.text_model", causal=not self.is_siglip),
            ),
        }  # fmt: skip
        self.dim = int(config.text_config.projection_size if self.is_siglip else config.projection_dim)
        if self.is_siglip:
            self.max_logit_scale = None

    def image_features(self, pixel_values: Tensor) -> Tensor:
        """See :meth:`DualEncoder.image_features`; the position grid is interpolated at other than the native size."""
        resized = pixel_values.shape[-1] != self.native_size
        return _pooled(self.model.get_image_features(pixel_values=pixel_values, interpolate_pos_encoding=resized))

    def text_features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """See :meth:`DualEncoder.text_features`. SigLIP reads its padding, as it was trained to."""
        mask = None if self.is_siglip else attention_mask
        return _pooled(self.model.get_text_features(input_ids=input_ids, attention_mask=mask))

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """See :meth:`DualEncoder.tokenize`. SigLIP's texts are always padded to full length."""
        batch = self.tokenizer(
            list(texts),
            padding="max_length" if self.is_siglip else True,
            truncation=True,
            max_length=self.max_tokens,
            return_tensors="pt",
            padding_side="right",
        )
        ids = batch["input_ids"]
        mask = torch.ones_like(ids) if self.is_siglip else batch["attention_mask"]
        return {"input_ids": ids, "attention_mask": mask}

    @property
    def log_scale(self) -> nn.Parameter:
        """The learned logit scale, in log."""
        return self.model.logit_scale

    @property
    def logit_bias(self) -> nn.Parameter | None:
        """SigLIP's learned logit bias."""
        return self.model.logit_bias if self.is_siglip else None

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass."""
        recompute_activations(self.model)

    def save(self, directory: Path) -> None:
        """Write the model in transformers' own layout, which ``hf:DIR`` reads."""
        self.model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)
        self._write_preprocessing(directory)

    def _write_preprocessing(self, directory: Path) -> None:
        write_preprocessing(self.transform, directory)


class NaFlexDualEncoder(HFDualEncoder):
    """SigLIP 2 NaFlex, which takes patches; here every image is a square grid of them.

    Its own processor keeps the aspect and varies the grid. Squares give the same patches either way; other images are
    squashed, as fixed-resolution SigLIP does, so that one batch has one shape.

    Args:
        model: A ``Siglip2Model``.
        tokenizer: Its tokenizer.
        transform: To a square whose side is a multiple of the patch.
    """

    def image_features(self, pixel_values: Tensor) -> Tensor:
        """See :meth:`DualEncoder.image_features`; the model itself interpolates its positions."""
        patches = patchify(pixel_values, self.model.config.vision_config.patch_size)
        grid = pixel_values.shape[-1] // self.model.config.vision_config.patch_size
        output = self.model.get_image_features(
            pixel_values=patches,
            pixel_attention_mask=torch.ones(patches.shape[:2], dtype=torch.int32, device=patches.device),
            spatial_shapes=torch.full((len(patches), 2), grid, device=patches.device),
        )
        return _pooled(output)

    def _write_preprocessing(self, directory: Path) -> None:
        write_preprocessing(self.transform, directory, patches=self.model.config.vision_config.patch_size)


def patchify(pixels: Tensor, patch: int) -> Tensor:
    """Cut ``(n, 3, h, w)`` into ``(n, h / patch * w / patch, patch * patch * 3)``, row by row, channels last.

    Example:
        >>> patchify(torch.zeros(2, 3, 8, 8), 4).shape
        torch.Size([2, 4, 48])
    """
    return pixels.unfold(2, patch, patch).unfold(3, patch, patch).permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)


def load_hf(source: str, *, image_size: int | None = None) -> HFDualEncoder:
    """Load CLIP, SigLIP or SigLIP 2 from a directory or the hub.

    Args:
        source: A directory, or a hub id.
        image_size: Side of the square that the model sees; None takes the model's own.

    Raises:
        InputError: It cannot be read, or is of another family.
    """
    import transformers

    config = read_config(source)
    if config.model_type not in _KINDS:
        raise InputError(
            f"{source}: is a {config.model_type} model, not a dual encoder that hf: reads ({', '.join(_KINDS)})",
            remedy="join an image and a text model with composed:IMAGE+TEXT@DIM",
        )
    model = read_model(getattr(transformers, _KINDS[config.model_type]), source)
    vision = model.config.vision_config
    transform = read_transform(source, config, native_size=native_size(vision))
    if image_size not in (None, transform.size):
        transform = transform.at(checked_size(image_size, vision.patch_size, source))
    kind = NaFlexDualEncoder if config.model_type == "siglip2" else HFDualEncoder
    return kind(model, read_tokenizer(source, rows=model.config.text_config.vocab_size), transform)


def native_size(vision: Any) -> int:
    """Return the side in pixels of the square that a vision tower was trained with, from its configuration."""
    if hasattr(vision, "num_patches") and not hasattr(vision, "image_size"):  # NaFlex: the grid of its positions
        return math.isqrt(vision.num_patches) * int(vision.patch_size)
    side = vision.image_size
    return int(side if isinstance(side, int) else side[0])


def _pooled(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output.pooler_output
