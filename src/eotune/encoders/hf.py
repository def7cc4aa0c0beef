"""Dual encoders of transformers: the CLIP and SigLIP families."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eotune.core.errors import InputError
from eotune.encoders.base import DualEncoder, Tower
from eotune.encoders.blocks import find_blocks
from eotune.encoders.preprocess import ImageTransform
from eotune.encoders.pretrained import (
    checked_size,
    read_model,
    read_preprocessing,
    read_tokenizer,
    recompute_activations,
    transform_from,
)

_KINDS = {"clip": "CLIPModel", "siglip": "SiglipModel"}


class HFDualEncoder(DualEncoder):
    """A transformers model that holds both towers.

    Args:
        model: A ``CLIPModel`` or ``SiglipModel``.
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
        self.is_siglip = config.model_type == "siglip"
        self.native_size = int(config.vision_config.image_size)
        self.max_tokens = int(config.text_config.max_position_embeddings)
        self.backbones = {"": "model"}
        # SigLIP's attention-pooling head and text head are its projections.
        heads = ("vision_model.head", "text_model.head") if self.is_siglip else ("visual_projection", "text_projection")
        self.towers = {
            "image": Tower(
                "image", "model.vision_model", f"model.{heads[0]}",
                find_blocks(model.vision_model, "model.vision_model", causal=False),
            ),
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
        write_preprocessing(self.transform, directory)


def write_preprocessing(transform: ImageTransform, directory: Path) -> None:
    """Write preprocessor_config.json so that transformers and :func:`load_hf` read ``transform`` back."""
    from eotune.core.files import write_json
    from eotune.encoders.pretrained import _INTERPOLATION

    squash = transform.resize == "squash"
    side = {"height": transform.size, "width": transform.size}
    write_json(
        directory / "preprocessor_config.json",
        {
            "image_processor_type": "CLIPImageProcessor",
            "do_resize": True,
            "size": side if squash else {"shortest_edge": transform.size},
            "resample": next(code for code, name in _INTERPOLATION.items() if name == transform.interpolation),
            "do_center_crop": not squash,
            "crop_size": side,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(transform.mean),
            "image_std": list(transform.std),
            "do_convert_rgb": True,
        },
    )


def load_hf(source: str, *, image_size: int | None = None) -> HFDualEncoder:
    """Load CLIP, SigLIP or SigLIP 2 (fixed resolution) from a directory or the hub.

    Args:
        source: A directory, or a hub id.
        image_size: Side of the square that the model sees; None takes the model's own.

    Raises:
        InputError: It cannot be read, or is of another family.
    """
    import transformers

    from eotune.encoders.pretrained import check_source

    check_source(source)
    try:
        config = transformers.AutoConfig.from_pretrained(source, trust_remote_code=False)
    except Exception as error:  # many kinds, for a missing file, broken JSON, no network
        first = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{source}: no model configuration could be read ({first})",
            remedy="name a directory with config.json, or a hub id like org/name",
        ) from None
    if config.model_type not in _KINDS:
        raise InputError(
            f"{source}: is a {config.model_type} model, not a dual encoder that hf: reads ({', '.join(_KINDS)})",
            remedy="join an image and a text model with composed:IMAGE+TEXT@DIM",
        )
    model = read_model(getattr(transformers, _KINDS[config.model_type]), source)
    native, patch = model.config.vision_config.image_size, model.config.vision_config.patch_size
    transform = transform_from(read_preprocessing(source), native_size=native)
    if image_size is not None:
        size = checked_size(image_size, patch, source)
        transform = ImageTransform(size, transform.resize, transform.interpolation, transform.mean, transform.std)
    return HFDualEncoder(model, read_tokenizer(source), transform)


def _pooled(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output.pooler_output
