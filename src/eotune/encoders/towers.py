"""Single towers out of transformers: any vision transformer, any text encoder, and how each is pooled."""

import inspect
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from eotune.core.errors import InputError
from eotune.core.files import read_json
from eotune.encoders.base import evaluating
from eotune.encoders.pretrained import find_file, read_config, read_model

ImagePooling = Literal["cls", "mean", "pooler"]
TextPooling = Literal["cls", "mean", "last"]

_POOLINGS: dict[str, TextPooling] = {"cls": "cls", "mean": "mean", "lasttoken": "last"}  # sentence-transformers' names
_CLASS_TOKENS = ("cls_token", "class_embedding")


def read_vision_tower(source: str) -> Any:
    """Load a vision transformer; of a dual encoder (CLIP, SigLIP), its image side.

    Args:
        source: A directory or a hub id.

    Raises:
        InputError: It cannot be read, or does not take images of one size.
    """
    model = _read(source, "vision")
    inputs = inspect.signature(model.forward).parameters
    if "pixel_values" not in inputs or "spatial_shapes" in inputs:
        what = "takes patches (NaFlex)" if "spatial_shapes" in inputs else "takes no images"
        raise InputError(
            f"{source}: a {model.config.model_type} model {what}", remedy="name a vision transformer (ViT, DINOv2, ...)"
        )
    return model


def read_text_tower(source: str) -> Any:
    """Load a text encoder; of a dual encoder (CLIP, SigLIP), its text side.

    Args:
        source: A directory, a hub id, or ``offline-text``.

    Raises:
        InputError: It cannot be read, or is no encoder of text.
    """
    model = _read(source, "text")
    if "input_ids" not in inspect.signature(model.forward).parameters or model.config.is_encoder_decoder:
        raise InputError(
            f"{source}: a {model.config.model_type} model is no text encoder",
            remedy="name a sentence encoder (MiniLM, MPNet, BERT, ...)",
        )
    return model


def _read(source: str, side: str) -> Any:
    import transformers

    config = read_config(source)
    config = getattr(config, f"{side}_config", config)
    # MAE's own class drops patches at random; its encoder is a ViT.
    usual = "ViTModel" if config.model_type == "vit_mae" else type(config).__name__.removesuffix("Config") + "Model"
    kind = getattr(transformers, usual, None) or MODEL_MAPPING.get(type(config), None)
    if kind is None:
        raise InputError(f"{source}: {config.model_type} has no plain model class", remedy="name another tower")
    # A pooler that the weights may lack, and that no pooling here reads.
    plain = "add_pooling_layer" in inspect.signature(kind.__init__).parameters
    return read_model(kind, source, part=True, **({"add_pooling_layer": False} if plain else {}))


@torch.inference_mode()
def is_causal(text_model: Any) -> bool:
    """Return whether a token attends only to itself and those before it: whether the first state ignores the last.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
        >>> is_causal(BertModel(BertConfig(vocab_size=8, **small)))
        False
    """
    with evaluating(text_model):
        first, second = (
            text_model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[:, 0]
            for ids in (torch.tensor([[3, 4, 5]]), torch.tensor([[3, 4, 4]]))
        )
    return torch.equal(first, second)


def has_class_token(vision_model: nn.Module) -> bool:
    """Return whether a vision transformer puts a class token before its patches."""
    return any(name.endswith(_CLASS_TOKENS) for name, _ in vision_model.named_parameters())


def usual_image_pooling(vision_model: Any) -> ImagePooling:
    """Return how a tower's images are pooled where nobody says: CLIP and SigLIP by their own trained pooler."""
    if vision_model.config.model_type.endswith("_vision_model"):
        return "pooler"
    return "cls" if has_class_token(vision_model) else "mean"


def patch_size(image_model: Any) -> int:
    """Return the side of a vision transformer's patch in pixels."""
    side = image_model.config.patch_size
    return int(side if isinstance(side, int) else side[0])


def asks_for_interpolation(image_model: Any) -> bool:
    """Return whether a call must ask for other sizes than the native one; others (DINOv2) interpolate of themselves."""
    return "interpolate_pos_encoding" in inspect.signature(image_model.forward).parameters


def pooled_image(image_model: Any, pixel_values: Tensor, pooling: ImagePooling, native_size: int) -> Tensor:
    """Run a vision transformer and pool its output, ``(n, width)``.

    Args:
        image_model: The transformer.
        pixel_values: ``(n, c, h, w)``, normalised.
        pooling: See :func:`pool_image`.
        native_size: Side that its table of positions was made for; at any other the table is interpolated.
    """
    side = pixel_values.shape[-1]
    asked = side != native_size and asks_for_interpolation(image_model)
    output = image_model(pixel_values=pixel_values, **({"interpolate_pos_encoding": True} if asked else {}))
    return pool_image(output, pooling, (side // patch_size(image_model)) ** 2)


def usual_text_pooling(source: str, text_model: Any) -> TextPooling:
    """Return how a tower's texts are pooled: as sentence-transformers' file beside it says.

    Without one, causal models take the last token, the only one that saw the whole text, and others the mean.

    Raises:
        InputError: It says something else than mean, cls or last token.
    """
    path = find_file(source, "1_Pooling/config.json")
    if path is None:
        return "last" if is_causal(text_model) else "mean"
    values = read_json(path)
    values = values if isinstance(values, dict) else {}
    # Before its release 5: one flag a mode, pooling_mode_mean_tokens and the like.
    flags = [key.removeprefix("pooling_mode_").partition("_")[0] for key, value in values.items() if value is True]
    mode = values.get("pooling_mode", flags[0] if len(flags) == 1 else None)
    if not isinstance(mode, str) or mode not in _POOLINGS:
        raise InputError(f"{path}: pools in a way that is not read here", remedy=f"known are {', '.join(_POOLINGS)}")
    return _POOLINGS[mode]


def pool_image(output: Any, pooling: ImagePooling, patches: int) -> Tensor:
    """Reduce a vision transformer's output to ``(n, width)``.

    Args:
        output: With ``last_hidden_state`` ``(n, prefix + patches, width)``; a prefix is class and register tokens.
        pooling: ``cls`` takes the first token, ``mean`` the patches, ``pooler`` what the model itself pooled.
        patches: Number of patches.
    """
    if pooling == "pooler":
        return output.pooler_output
    states = output.last_hidden_state
    return states[:, 0] if pooling == "cls" else states[:, max(0, states.shape[1] - patches) :].mean(1)


def pool_text(states: Tensor, attention_mask: Tensor, pooling: TextPooling) -> Tensor:
    """Reduce token states ``(n, t, width)`` to ``(n, width)``, blind to padding.

    Args:
        states: One vector a token.
        attention_mask: ``(n, t)``, 1 where a token is real; padding stands on the right.
        pooling: ``cls`` takes the first token, ``last`` the last real one, ``mean`` all real ones.

    Example:
        >>> states = torch.tensor([[[1.0], [3.0], [9.0]]])
        >>> [pool_text(states, torch.tensor([[1, 1, 0]]), how).item() for how in ("cls", "mean", "last")]
        [1.0, 2.0, 3.0]
    """
    if pooling == "cls":
        return states[:, 0]
    if pooling == "last":
        return states[torch.arange(len(states), device=states.device), attention_mask.sum(1) - 1]
    weight = attention_mask[..., None].to(states.dtype)
    return (states * weight).sum(1) / weight.sum(1)
