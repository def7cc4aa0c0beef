"""A dual encoder put together: any vision tower, any sentence encoder, and two linear projections."""

from collections.abc import Sequence
from dataclasses import replace
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


class ComposedConfig(Config):
    """What config.json of a composed encoder holds.

    Attributes:
        image_size: Side of the square that the vision tower was trained with.
        image_mean: Per channel, in units of pixel / 255.
        image_std: Likewise.
        image_pooling: ``cls`` takes the first token, ``mean`` the mean over patches.
        text_pooling: ``mean`` over tokens that are no padding, ``cls`` the first, ``last`` the last of them.
        embed_dim: Size of the shared space.
        max_tokens: Longest text.
        resize: See :class:`~eotune.encoders.preprocess.ImageTransform`.
        interpolation: Likewise.
    """

    image_size: int = Field(ge=1)
    image_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    image_std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    image_pooling: Literal["cls", "mean"] = "cls"
    text_pooling: Literal["cls", "mean", "last"] = "mean"
    embed_dim: int = Field(ge=1)
    max_tokens: int = Field(default=64, ge=1)
    resize: Literal["shortest", "squash"] = "squash"
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"


class ComposedDualEncoder(DualEncoder):
    """Two transformers models and two projections.

    Args:
        image_model: Gives ``last_hidden_state`` ``(n, 1 + patches, width)`` from pixels.
        text_model: Gives ``last_hidden_state`` ``(n, t, width)`` from tokens.
        tokenizer: Of the text model.
        config: Sizes and pooling.
        size: Side of the square that the vision tower sees now.
    """

    def __init__(self, image_model: Any, text_model: Any, tokenizer: Any, config: ComposedConfig, *, size: int) -> None:
        super().__init__()
        self.image_model: Any = image_model
        self.text_model: Any = text_model
        self.tokenizer = tokenizer
        self.settings = config
        self.name = "composed"
        self.dim = config.embed_dim
        self.max_tokens = config.max_tokens
        self.transform = ImageTransform(size, config.resize, config.interpolation, config.image_mean, config.image_std)
        self.image_projection = nn.Linear(image_model.config.hidden_size, config.embed_dim)
        self.text_projection = nn.Linear(text_model.config.hidden_size, config.embed_dim, bias=False)
        self.scale = nn.Parameter(torch.tensor(1 / 0.07).log())
        self.backbones = {"image": "image_model", "text": "text_model"}
        self.towers = {
            "image": Tower(
                "image", "image_model", "image_projection", find_blocks(image_model, "image_model", causal=False)
            ),
            "text": Tower("text", "text_model", "text_projection", find_blocks(text_model, "text_model", causal=False)),
        }

    def image_features(self, pixel_values: Tensor) -> Tensor:
        """See :meth:`DualEncoder.image_features`; the position grid is interpolated at other than the native size."""
        resized = pixel_values.shape[-1] != self.settings.image_size
        options = {"interpolate_pos_encoding": True} if resized else {}
        states = self.image_model(pixel_values=pixel_values, **options).last_hidden_state
        pooled = states[:, 0] if self.settings.image_pooling == "cls" else states[:, 1:].mean(1)
        return self.image_projection(pooled)

    def text_features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """See :meth:`DualEncoder.text_features`."""
        states = self.text_model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        if self.settings.text_pooling == "cls":
            pooled = states[:, 0]
        elif self.settings.text_pooling == "last":
            pooled = states[torch.arange(len(states), device=states.device), attention_mask.sum(1) - 1]
        else:
            weight = attention_mask[..., None].to(states.dtype)
            pooled = (states * weight).sum(1) / weight.sum(1)
        return self.text_projection(pooled)

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
        write_json(directory / "config.json", self.settings.model_dump(mode="json"))
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
            names of models that are joined by fresh projections into DIM dimensions (to be trained: method heads or
            full, or ``heads: true``).
        image_size: Side of the square that the vision tower sees; None takes its own.

    Raises:
        InputError: Something is missing or does not fit.
    """
    if "+" in source and not Path(source).is_dir():
        return _compose(source, image_size)
    directory = Path(source)
    if not directory.is_dir():
        raise InputError(f"{source}: no such directory", remedy="composed: takes a directory, or IMAGE+TEXT@DIM")
    values = read_json(directory / "config.json")
    if not isinstance(values, dict):
        raise InputError(f"{directory / 'config.json'}: holds no JSON object", remedy="see docs/encoders.md")
    config = parse(ComposedConfig, values, source=str(directory / "config.json"))
    encoder = _assemble(str(directory / "vision"), str(directory / "text"), config, image_size)
    _read_projections(encoder, directory / "projection.safetensors")
    return encoder


def _assemble(vision: str, text: str, config: ComposedConfig, image_size: int | None) -> ComposedDualEncoder:
    image_model, text_model = _vision_model(vision), _text_model(text)
    size = config.image_size
    if image_size is not None:
        patch = image_model.config.patch_size
        size = checked_size(image_size, patch if isinstance(patch, int) else patch[0], vision)
    return ComposedDualEncoder(image_model, text_model, read_tokenizer(text), config, size=size)


def _vision_model(source: str) -> Any:
    from transformers import AutoConfig, AutoModel, CLIPVisionModel, ViTModel

    from eotune.encoders.pretrained import check_source

    check_source(source)
    try:
        kind = AutoConfig.from_pretrained(source, trust_remote_code=False).model_type
    except Exception as error:  # a missing or broken config.json, no network
        raise InputError(
            f"{source}: no model configuration could be read ({str(error)[:200]})",
            remedy="name a vision model's directory or hub id",
        ) from None
    if kind == "vit":
        return read_model(ViTModel, source, add_pooling_layer=False)
    return read_model(CLIPVisionModel if kind == "clip_vision_model" else AutoModel, source)


def _text_model(source: str) -> Any:
    from transformers import AutoModel, BertModel

    if _is_bert(source):
        return read_model(BertModel, source, add_pooling_layer=False)
    return read_model(AutoModel, source)


def _is_bert(source: str) -> bool:
    from transformers import AutoConfig

    from eotune.encoders.pretrained import check_source

    check_source(source)
    try:
        return bool(AutoConfig.from_pretrained(source, trust_remote_code=False).model_type == "bert")
    except Exception as error:  # as above
        raise InputError(
            f"{source}: no model configuration could be read ({str(error)[:200]})",
            remedy="name a text model's directory or hub id",
        ) from None


def _read_projections(encoder: ComposedDualEncoder, path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path}: no such file", remedy="a composed encoder needs its projections")
    try:
        state = load_file(path)
    except Exception as error:  # safetensors has its own error kind
        raise InputError(f"{path}: not a safetensors file ({str(error)[:200]})", remedy="check the file") from None
    if "logit_scale" in state and state["logit_scale"].numel() == 1:
        state["logit_scale"] = state["logit_scale"].reshape(())
    targets = {
        **{f"image_projection.{k}": v for k, v in encoder.image_projection.named_parameters()},
        "text_projection.weight": encoder.text_projection.weight,
        "logit_scale": encoder.scale,
    }
    missing, extra = sorted(set(targets) - set(state)), sorted(set(state) - set(targets))
    wrong = [
        f"{k} {tuple(state[k].shape)} instead of {tuple(v.shape)}"
        for k, v in targets.items()
        if k in state and state[k].shape != v.shape
    ]
    if missing or extra or wrong:
        parts = [f"missing {', '.join(missing)}"] * bool(missing) + [f"unexpected {', '.join(extra)}"] * bool(extra)
        raise InputError(f"{path}: {'; '.join([*parts, *wrong])}", remedy="check embed_dim in config.json")
    with torch.no_grad():
        for name, parameter in targets.items():
            parameter.copy_(state[name].float())


def _compose(source: str, image_size: int | None) -> ComposedDualEncoder:
    names, _, dim = source.partition("@")
    vision, _, text = names.partition("+")
    vision, text = vision.removeprefix("hf:"), text.removeprefix("hf:")
    if not vision or not text or (dim and not dim.isdigit()):
        raise InputError(
            f"composed:{source}", remedy="write composed:IMAGE+TEXT@DIM, for instance composed:vit+minilm@256"
        )
    native = transform_from(read_preprocessing(vision), native_size=224)
    config = ComposedConfig(
        image_size=native.size,
        image_mean=native.mean,
        image_std=native.std,
        resize=native.resize,
        interpolation=native.interpolation,
        embed_dim=int(dim) if dim else 256,
        text_pooling=_sentence_pooling(text),
    )
    encoder = _assemble(vision, text, config, image_size)
    native_model = int(encoder.image_model.config.image_size)
    encoder.settings = config.model_copy(update={"image_size": native_model})
    generator = torch.Generator().manual_seed(derive_seed("projections", source))
    with torch.no_grad():
        for layer in (encoder.image_projection, encoder.text_projection):
            layer.weight.normal_(0, layer.in_features**-0.5, generator=generator)
        encoder.image_projection.bias.zero_()
    encoder.transform = replace(encoder.transform, size=image_size or native.size)
    return encoder


def _sentence_pooling(source: str) -> Literal["cls", "mean", "last"]:
    """Return how a sentence-transformers directory pools; mean where it does not say."""
    path = Path(source) / "1_Pooling" / "config.json"
    if not path.is_file():
        return "mean"
    values = read_json(path)
    if isinstance(values, dict) and values.get("pooling_mode_cls_token"):
        return "cls"
    return "last" if isinstance(values, dict) and values.get("pooling_mode_lasttoken") else "mean"
