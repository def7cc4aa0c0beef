"""A dual encoder put together: any vision tower, any sentence encoder, and two linear projections."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from eotune.core.config import Config, parse
from eotune.core.errors import InputError
from eotune.core.files import read_json, replaced, write_json
from eotune.core.seeds import derive_seed
from eotune.encoders.base import DualEncoder, Tower
from eotune.encoders.blocks import find_blocks, image_tower
from eotune.encoders.hf import native_size
from eotune.encoders.preprocess import ImageTransform
from eotune.encoders.pretrained import (
    check_keys,
    checked_size,
    first_line,
    read_config,
    read_tokenizer,
    recompute_activations,
)
from eotune.encoders.processors import read_transform
from eotune.encoders.sources import PAIR, text_source
from eotune.encoders.towers import (
    ImagePooling,
    TextPooling,
    has_class_token,
    is_causal,
    patch_size,
    pool_text,
    pooled_image,
    read_text_tower,
    read_vision_tower,
    usual_image_pooling,
    usual_text_pooling,
)

_LONGEST = 64  # tokens: captions are shorter


class ComposedConfig(Config):
    """What config.json of a composed encoder holds.

    Attributes:
        image_size: Side of the square that the vision tower sees.
        image_mean: Per channel, in units of pixel / 255.
        image_std: Likewise.
        image_pooling: See :func:`~eotune.encoders.towers.pool_image`.
        text_pooling: See :func:`~eotune.encoders.towers.pool_text`.
        embed_dim: Size of the shared space.
        max_tokens: Longest text.
        resize: See :class:`~eotune.encoders.preprocess.ImageTransform`.
        interpolation: Likewise.
        scaled_to: Likewise.
    """

    image_size: int = Field(ge=1)
    image_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    image_std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    image_pooling: ImagePooling = "cls"
    text_pooling: TextPooling = "mean"
    embed_dim: int = Field(ge=1)
    max_tokens: int = Field(default=_LONGEST, ge=1)
    resize: Literal["shortest", "squash"] = "squash"
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    scaled_to: int | None = Field(default=None, ge=1)

    @property
    def transform(self) -> ImageTransform:
        """How an image becomes pixels."""
        return ImageTransform(
            self.image_size, self.resize, self.interpolation, self.image_mean, self.image_std, self.scaled_to
        )

    def prepared(self, transform: ImageTransform) -> "ComposedConfig":
        """Return the same settings with another way of preparing images."""
        values = {
            "image_size": transform.size, "image_mean": transform.mean, "image_std": transform.std,
            "resize": transform.resize, "interpolation": transform.interpolation, "scaled_to": transform.scaled_to,
        }  # fmt: skip
        return self.model_copy(update=values)


class ComposedDualEncoder(DualEncoder):
    """Two transformers models and two projections.

    Args:
        image_model: Gives ``last_hidden_state`` ``(n, 1 + patches, width)`` from pixels.
        text_model: Gives ``last_hidden_state`` ``(n, t, width)`` from tokens.
        tokenizer: Of the text model.
        config: Sizes, preprocessing and pooling.
    """

    def __init__(self, image_model: Any, text_model: Any, tokenizer: Any, config: ComposedConfig) -> None:
        super().__init__()
        self.image_model: Any = image_model
        self.text_model: Any = text_model
        self.tokenizer = tokenizer
        self.settings = config
        self.name = "composed"
        self.dim = config.embed_dim
        self.max_tokens = config.max_tokens
        self.transform = config.transform
        self.native_size = native_size(image_model.config)
        self.image_projection = nn.Linear(image_model.config.hidden_size, config.embed_dim)
        self.text_projection = nn.Linear(text_model.config.hidden_size, config.embed_dim, bias=False)
        self.scale = nn.Parameter(torch.tensor(1 / 0.07).log())
        self.backbones = {"image": "image_model", "text": "text_model"}
        text_blocks = find_blocks(text_model, "text_model", causal=is_causal(text_model))
        self.towers = {
            "image": image_tower(image_model, "image_model", "image_projection"),
            "text": Tower("text", "text_model", "text_projection", text_blocks),
        }

    def image_features(self, pixel_values: Tensor) -> Tensor:
        """See :meth:`DualEncoder.image_features`; the position grid is interpolated at other than the native size."""
        pooled = pooled_image(self.image_model, pixel_values, self.settings.image_pooling, self.native_size)
        return self.image_projection(pooled)

    def text_features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """See :meth:`DualEncoder.text_features`."""
        states = self.text_model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.text_projection(pool_text(states, attention_mask, self.settings.text_pooling))

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """See :meth:`DualEncoder.tokenize`."""
        batch = self.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self.max_tokens,
            return_tensors="pt",
            padding_side="right",
        )
        return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}

    @property
    def log_scale(self) -> nn.Parameter:
        """The learned logit scale, in log."""
        return self.scale

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass."""
        for model in (self.image_model, self.text_model):
            recompute_activations(model)

    def save(self, directory: Path) -> None:
        """Write the layout that :func:`load_composed` reads."""
        self.image_model.save_pretrained(directory / "vision")
        self.text_model.save_pretrained(directory / "text")
        self.tokenizer.save_pretrained(directory / "text")
        write_json(directory / "config.json", self.settings.prepared(self.transform).model_dump(mode="json"))
        state = {
            f"{name}.{key}": value.detach().cpu().contiguous()
            for name in ("image_projection", "text_projection")
            for key, value in getattr(self, name).state_dict().items()
        }
        state["logit_scale"] = self.scale.detach().cpu()
        with replaced(directory / "projection.safetensors") as temporary:
            save_file(state, temporary)


def load_composed(source: str, *, image_size: int | None = None) -> ComposedDualEncoder:
    """Load a composed encoder.

    Args:
        source: A directory with config.json, vision/, text/ and projection.safetensors; or ``IMAGE+TEXT@DIM``, two
            names of models that are joined by fresh projections into DIM dimensions (256 where it is left out), to be
            trained by methods heads or full, or with ``heads: true``. TEXT may be ``offline-text``.
        image_size: Side of the square that the vision tower sees; None takes its own.

    Raises:
        InputError: Something is missing or does not fit.
        MissingExtraError: TEXT is ``offline-text`` and its package is not installed.
    """
    pair = check_composed(source)
    if pair is None:
        return _read_composed(Path(source), image_size)
    vision, text = (name.removeprefix("hf:") for name in pair.group("image", "text"))
    return _join(vision, text_source(text), int(pair["dim"] or 256), image_size)


def check_composed(source: str) -> re.Match[str] | None:
    """Return the parts of ``IMAGE+TEXT@DIM``; None for a directory, which is not read.

    Raises:
        InputError: It is neither.
    """
    if Path(source).is_dir():
        return None
    pair = PAIR.fullmatch(source)
    if pair is None:
        what = "not of the form IMAGE+TEXT@DIM" if "+" in source else "no such directory"
        raise InputError(
            f"composed:{source}: {what}",
            remedy="name a directory, or two models as in composed:google/vit-base-patch16-224+offline-text@256",
        )
    return pair


def _read_composed(directory: Path, image_size: int | None) -> ComposedDualEncoder:
    values = read_json(directory / "config.json")
    if not isinstance(values, dict):
        raise InputError(f"{directory / 'config.json'}: holds no JSON object", remedy="see docs/encoders.md")
    config = parse(ComposedConfig, values, source=str(directory / "config.json"))
    image_model = read_vision_tower(str(directory / "vision"))
    text_model, tokenizer = _read_text(str(directory / "text"))
    config = _checked(config, image_model, _longest(text_model, tokenizer), str(directory), image_size)
    encoder = ComposedDualEncoder(image_model, text_model, tokenizer, config)
    _read_projections(encoder, directory / "projection.safetensors")
    return encoder


def _join(vision: str, text: str, dim: int, image_size: int | None) -> ComposedDualEncoder:
    """Join two towers by fresh projections, prepared and pooled as each usually is."""
    image_model = read_vision_tower(vision)
    text_model, tokenizer = _read_text(text)
    transform = read_transform(vision, read_config(vision), native_size=native_size(image_model.config))
    longest = _longest(text_model, tokenizer)
    config = ComposedConfig(
        image_size=transform.size,
        image_pooling=usual_image_pooling(image_model),
        text_pooling=usual_text_pooling(text, text_model),
        embed_dim=dim,
        max_tokens=min(_LONGEST, longest),
    ).prepared(transform)
    config = _checked(config, image_model, longest, vision, image_size)
    encoder = ComposedDualEncoder(image_model, text_model, tokenizer, config)
    _draw_projections(encoder)
    return encoder


def _read_text(source: str) -> tuple[Any, Any]:
    model = read_text_tower(source)
    return model, read_tokenizer(source, rows=model.config.vocab_size)


def _checked(config: ComposedConfig, image_model: Any, longest: int, source: str, size: int | None) -> ComposedConfig:
    """Return the settings at the size asked for, if the towers can follow them."""
    if size not in (None, config.image_size):
        config = config.prepared(config.transform.at(checked_size(size, patch_size(image_model), source)))
    if config.image_pooling == "cls" and not has_class_token(image_model):
        raise InputError(
            f"{source}: image_pooling 'cls', but the vision tower has no class token", remedy="write 'mean' or 'pooler'"
        )
    if config.max_tokens > longest:
        raise InputError(
            f"{source}: max_tokens {config.max_tokens}, but the text tower reads at most {longest}",
            remedy=f"write {longest} or less",
        )
    return config


def _longest(text_model: Any, tokenizer: Any) -> int:
    """Return how many tokens a text tower reads; RoBERTa's tokenizer knows better than its table of positions."""
    positions = getattr(text_model.config, "max_position_embeddings", None) or sys.maxsize
    return min(int(tokenizer.model_max_length), int(positions))


def _draw_projections(encoder: ComposedDualEncoder) -> None:
    """Draw both projections so that unit-variance states stay so; the same for a pair of towers wherever they lie."""
    generator = torch.Generator().manual_seed(derive_seed("projections", encoder.dim))
    with torch.no_grad():
        for layer in (encoder.image_projection, encoder.text_projection):
            layer.weight.normal_(0, layer.in_features**-0.5, generator=generator)
        encoder.image_projection.bias.zero_()


def _read_projections(encoder: ComposedDualEncoder, path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path}: no such file", remedy="a composed encoder needs its projections")
    try:
        state = load_file(path)
    except Exception as error:  # safetensors has its own error kind
        raise InputError(f"{path}: not a safetensors file ({first_line(error)})", remedy="check the file") from None
    if "logit_scale" in state and state["logit_scale"].numel() == 1:
        state["logit_scale"] = state["logit_scale"].reshape(())
    targets = {
        **{f"image_projection.{k}": v for k, v in encoder.image_projection.named_parameters()},
        "text_projection.weight": encoder.text_projection.weight,
        "logit_scale": encoder.scale,
    }
    reshaped = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(parameter.shape)}"
        for name, parameter in targets.items()
        if name in state and state[name].shape != parameter.shape
    ]
    check_keys(str(path), set(targets) - set(state), set(state) - set(targets), reshaped)
    with torch.no_grad():
        for name, parameter in targets.items():
            parameter.copy_(state[name].float())
