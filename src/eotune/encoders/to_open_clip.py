"""CLIP models as open_clip reads them: open_clip_config.json, weights under its names, the tokenizer beside them."""

from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from transformers import CLIPModel

from eotune.core.errors import InputError
from eotune.core.files import read_json, write_json
from eotune.encoders.base import DualEncoder
from eotune.encoders.hf import HFDualEncoder
from eotune.encoders.open_clip_weights import (
    Architecture,
    from_transformers,
    read_state_dict,
    to_transformers,
)
from eotune.encoders.positions import settle_positions
from eotune.encoders.preprocess import ImageTransform
from eotune.encoders.pretrained import read_tokenizer

CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"  # the name that open_clip looks for
_EPS = 1e-5
_LEGACY_END = 2  # transformers' CLIP reads this as: pool at the token of the highest number


def is_clip(encoder: DualEncoder) -> bool:
    """Return whether ``encoder`` is a CLIP, the one family that is written here."""
    return isinstance(encoder, HFDualEncoder) and isinstance(encoder.model, CLIPModel)


def write_open_clip(encoder: HFDualEncoder, directory: Path) -> None:
    """Write what ``open_clip.create_model("local-dir:DIRECTORY")`` and ``open_clip.get_tokenizer`` read.

    open_clip always rounds where it cuts out the centre (``transform.centre``), whatever ``encoder`` does.
    Where the encoder sees another size than its native one, its positions are settled first, in place.

    Args:
        encoder: A CLIP in its own layout: adapters merged.
        directory: Where to; it exists.

    Raises:
        InputError: The model is no CLIP, or has a size or preprocessing that open_clip cannot be told.
    """
    if not is_clip(encoder):
        raise InputError(f"{encoder.name!r} is no CLIP", remedy="only CLIP models have an open_clip form")
    settle_positions(encoder)
    config = {"model_cfg": _model_config(encoder.model.config), "preprocess_cfg": _preprocessing(encoder.transform)}
    save_file(from_transformers(encoder.model), directory / WEIGHTS, metadata={"format": "pt"})
    encoder.tokenizer.save_pretrained(directory)
    write_json(directory / CONFIG, config)


def read_open_clip(directory: Path) -> HFDualEncoder:
    """Read what :func:`write_open_clip` wrote, without open_clip: from the names and sizes in the files alone.

    Raises:
        InputError: A file is missing or broken.
    """
    config = read_json(directory / CONFIG)
    model, images = config["model_cfg"], config["preprocess_cfg"]
    vision, text = model["vision_cfg"], model["text_cfg"]
    arch = Architecture(
        image_size=vision["image_size"], patch=vision["patch_size"], image_width=vision["width"],
        image_layers=vision["layers"], head_width=vision["head_width"], text_width=text["width"],
        text_layers=text["layers"], text_heads=text["heads"], dim=model["embed_dim"],
    )  # fmt: skip
    clip = to_transformers(
        read_state_dict(directory / WEIGHTS),
        arch,
        "quick_gelu" if model["quick_gelu"] else "gelu",
        source=str(directory),
        end_of_text=text["eos_id"] if text["pool_type"] == "eos" else _LEGACY_END,
    )
    transform = ImageTransform(
        arch.image_size,
        images["resize_mode"],
        images["interpolation"],
        tuple(images["mean"]),
        tuple(images["std"]),
        centre="round",
    )
    return HFDualEncoder(clip, read_tokenizer(str(directory), rows=clip.config.text_config.vocab_size), transform)


def _model_config(config: Any) -> dict[str, Any]:
    vision, text = config.vision_config, config.text_config
    _check(config)
    first = text.eos_token_id in (_LEGACY_END, text.vocab_size - 1)  # the end is the token of the highest number
    pooling = {"pool_type": "argmax"} if first else {"pool_type": "eos", "eos_id": text.eos_token_id}
    return {
        "embed_dim": config.projection_dim,
        "quick_gelu": vision.hidden_act == "quick_gelu",
        "vision_cfg": {
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            "width": vision.hidden_size,
            "layers": vision.num_hidden_layers,
            "head_width": vision.hidden_size // vision.num_attention_heads,
        },
        "text_cfg": {
            "context_length": text.max_position_embeddings,
            "vocab_size": text.vocab_size,
            "width": text.hidden_size,
            "heads": text.num_attention_heads,
            "layers": text.num_hidden_layers,
            # Of a local-dir: model open_clip takes the files beside this one, whatever the name.
            "hf_tokenizer_name": ".",
            **pooling,
        },
    }


def _check(config: Any) -> None:
    """Refuse what the file has no word for here: open_clip's ViTs fix the MLPs' width and the norms' epsilon."""
    sides = {"vision": config.vision_config, "text": config.text_config}
    wrong = [
        f"its {name} MLPs have another width" for name, c in sides.items() if c.intermediate_size != 4 * c.hidden_size
    ]
    wrong += [
        f"its {name} norms have epsilon {c.layer_norm_eps}" for name, c in sides.items() if c.layer_norm_eps != _EPS
    ]
    activations = {c.hidden_act for c in sides.values()}
    if len(activations) > 1 or not activations <= {"gelu", "quick_gelu"}:
        wrong.append(f"its activation is {' and '.join(sorted(activations))}")
    if wrong:
        raise InputError(
            f"this CLIP is none of open_clip's ViTs ({', '.join(wrong)})", remedy="export it as hf or onnx"
        )


def _preprocessing(transform: ImageTransform) -> dict[str, Any]:
    if transform.scaled_to is not None or transform.interpolation not in ("bilinear", "bicubic"):
        cut = f"scaled to {transform.scaled_to} px and cut" if transform.scaled_to else transform.interpolation
        raise InputError(f"open_clip cannot prepare images as this model needs ({cut})", remedy="export as hf or onnx")
    return {
        "mean": list(transform.mean),
        "std": list(transform.std),
        "interpolation": transform.interpolation,
        "resize_mode": transform.resize,
    }
