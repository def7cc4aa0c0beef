"""Vision transformers of transformers as image encoders: alone, or out of a dual encoder."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from eotune.core.errors import InputError
from eotune.encoders.base import DualEncoder, Feature, ImageEncoder
from eotune.encoders.blocks import image_tower
from eotune.encoders.composed import ComposedDualEncoder
from eotune.encoders.hf import HFDualEncoder, NaFlexDualEncoder, load_hf, native_size
from eotune.encoders.preprocess import ImageTransform
from eotune.encoders.pretrained import checked_size, read_config, recompute_activations
from eotune.encoders.processors import read_transform, write_preprocessing
from eotune.encoders.towers import (
    ImagePooling,
    has_class_token,
    patch_size,
    pooled_image,
    read_vision_tower,
    usual_image_pooling,
)


class HFImageEncoder(ImageEncoder):
    """A vision transformer of transformers and how its output is pooled.

    Args:
        model: Gives ``last_hidden_state`` ``(n, prefix + patches, width)`` from pixels.
        transform: Its image preprocessing.
        pooling: See :func:`~eotune.encoders.towers.pool_image`.
        projection: Applied to the pooled feature, where there is one.
    """

    def __init__(
        self, model: Any, transform: ImageTransform, pooling: ImagePooling, projection: nn.Linear | None = None
    ) -> None:
        super().__init__()
        self.model: Any = model
        self.projection = projection
        self.pooling = pooling
        self.transform = transform
        self.name = "hf"
        self.native_size = native_size(model.config)
        self.dim = int(model.config.hidden_size if projection is None else projection.out_features)
        self.bands = tuple(getattr(model.config, "bands", ())) or None  # written by save
        self.backbones = {"": "model"}
        self.towers = {"image": image_tower(model, "model", None if projection is None else "projection")}

    def image_features(self, pixel_values: Tensor) -> Tensor:
        """See :meth:`ImageEncoder.image_features`; the position grid is interpolated at other than the native size."""
        pooled = pooled_image(self.model, pixel_values, self.pooling, self.native_size)
        return pooled if self.projection is None else self.projection(pooled)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass."""
        recompute_activations(self.model)

    def save(self, directory: Path) -> None:
        """Write the transformer, without a projection, in transformers' own layout, which ``hf:DIR`` reads."""
        if self.bands is not None:
            self.model.config.bands = list(self.bands)
        self.model.save_pretrained(directory)
        write_preprocessing(self.transform, directory)

    def _settings(self) -> tuple[object, ...]:
        return (self.transform, self.pooling)


def load_hf_image(source: str, *, image_size: int | None = None, feature: Feature | None = None) -> HFImageEncoder:
    """Load a vision transformer from a directory or the hub.

    Args:
        source: ViT, DINOv2, DINOv3, MAE (its encoder, which sees every patch), or any other that transformers has; of
            a classifier, its backbone without the head; of a dual encoder, its image side.
        image_size: Side of the square that the model sees; None takes the model's own.
        feature: What an image's vector is: the class token, the mean of the patches, what the model's own pooler
            returns, or that through a dual encoder's projection; None takes what is usual for the model.

    Raises:
        InputError: It cannot be read, is no vision transformer, or has no such feature.
    """
    if feature == "projected":
        return image_side(load_hf(source, image_size=image_size), feature)
    model = read_vision_tower(source)
    transform = read_transform(source, read_config(source), native_size=native_size(model.config))
    if image_size not in (None, transform.size):
        transform = transform.at(checked_size(image_size, patch_size(model), source))
    return HFImageEncoder(model, transform, image_pooling(model, feature, source))


def image_side(encoder: DualEncoder, feature: Feature | None) -> HFImageEncoder:
    """Return the image tower of a dual encoder; its modules are shared, not copied.

    Args:
        encoder: A dual encoder of transformers, or a composed one.
        feature: See :func:`load_hf_image`. SigLIP's pooler is all the projection that it has.

    Raises:
        InputError: It takes patches instead of images (NaFlex), or has no such feature.
    """
    model, pooling, projection = _parts(encoder)
    if feature not in (None, "projected"):
        pooling = image_pooling(model, feature, encoder.name)
    return HFImageEncoder(model, encoder.transform, pooling, projection if feature == "projected" else None)


def _parts(encoder: DualEncoder) -> tuple[Any, ImagePooling, nn.Linear | None]:
    if isinstance(encoder, ComposedDualEncoder):
        return encoder.image_model, encoder.settings.image_pooling, encoder.image_projection
    if isinstance(encoder, HFDualEncoder) and not isinstance(encoder, NaFlexDualEncoder):
        return encoder.model.vision_model, "pooler", None if encoder.is_siglip else encoder.model.visual_projection
    raise InputError(
        f"encoder {encoder.name!r} takes patches (NaFlex), not images",
        remedy="name a model of fixed resolution, such as google/siglip2-base-patch16-224",
    )


def image_pooling(model: Any, feature: Feature | None, source: str) -> ImagePooling:
    """Return how a vision transformer alone is pooled for a feature.

    Raises:
        InputError: It has no such feature.
    """
    usual = usual_image_pooling(model)
    if feature == "projected":
        raise InputError(f"{source}: #projected, but the model has no projection", remedy="write #cls or #mean")
    if feature == "cls" and not has_class_token(model):
        raise InputError(f"{source}: #cls, but the model has no class token", remedy="write #mean")
    if feature == "pooler" and usual != "pooler":
        raise InputError(f"{source}: #pooler, but the model has no trained pooler", remedy="write #cls or #mean")
    return feature or usual
