"""Vision transformers of timm, through the interop extra: its own pretrained weights, or a checkpoint file."""

import difflib
from math import floor
from pathlib import Path
from types import ModuleType
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from eotune.core.errors import InputError
from eotune.core.files import replaced
from eotune.core.lookup import require, unknown_name
from eotune.encoders.base import Feature, ImageEncoder
from eotune.encoders.blocks import image_tower
from eotune.encoders.open_clip_weights import read_state_dict
from eotune.encoders.preprocess import ImageTransform
from eotune.encoders.pretrained import check_keys, checked_size, first_line

WEIGHTS = "model.safetensors"


class TimmImageEncoder(ImageEncoder):
    """A vision transformer of timm.

    Args:
        model: Without its classifier.
        transform: Its image preprocessing.
        feature: ``pooler`` is what timm itself pools; ``cls`` and ``mean`` are taken from its last tokens.
    """

    def __init__(self, model: Any, transform: ImageTransform, feature: Feature) -> None:
        super().__init__()
        self.model: Any = model
        self.transform = transform
        self.feature = feature
        self.name = "timm"
        self.dim = int(model.num_features)
        self.backbones = {"": "model"}
        self.towers = {"image": image_tower(model, "model", None)}

    def image_features(self, pixel_values: Tensor) -> Tensor:
        """See :meth:`ImageEncoder.image_features`."""
        states = self.model.forward_features(pixel_values)
        if self.feature == "pooler":
            return self.model.forward_head(states, pre_logits=True)
        return states[:, 0] if self.feature == "cls" else states[:, _prefix(self.model) :].flatten(1, -2).mean(1)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass."""
        self.model.set_grad_checkpointing(True)

    def save(self, directory: Path) -> None:
        """Write ``model.safetensors``, which ``timm:NAME@DIR/model.safetensors`` reads."""
        directory.mkdir(parents=True, exist_ok=True)
        weights = {name: value.detach().cpu().contiguous() for name, value in self.model.state_dict().items()}
        with replaced(directory / WEIGHTS) as temporary:
            save_file(weights, temporary)

    def _settings(self) -> tuple[object, ...]:
        return (self.transform, self.feature)


def load_timm(source: str, *, image_size: int | None = None, feature: Feature | None = None) -> TimmImageEncoder:
    """Load a vision transformer that timm knows.

    Args:
        source: ``NAME``, whose weights timm downloads, or ``NAME@FILE`` with a state dict in timm's names.
        image_size: Side of the square that the model sees; None takes the model's own. timm interpolates positions.
        feature: ``pooler`` (the default: as timm pools), ``cls`` or ``mean``.

    Raises:
        InputError: The name is unknown, the weights do not fit, or it is no vision transformer.
        MissingExtraError: timm is not installed.
    """
    timm = require("timm", "interop")
    name, _, file = source.partition("@")
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=5)  # of more than a thousand
        raise unknown_name("timm model", name, near or ["vit_base_patch16_224"])
    model = _from_file(timm, name, Path(file)) if file else _from_hub(timm, name)
    transform = _transform(timm, model, source)
    if image_size not in (None, transform.size):
        transform = transform.at(_resize(model, image_size, source))
    feature = feature or "pooler"
    if feature == "projected" or (feature == "cls" and getattr(model, "cls_token", None) is None):
        raise InputError(f"timm:{source}: the model has no #{feature}", remedy="write #mean, or leave it out")
    return TimmImageEncoder(model.float(), transform, feature)


def _from_hub(timm: ModuleType, name: str) -> Any:
    try:
        return timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # no network, no weights, an unknown tag
        raise InputError(
            f"timm:{name}: {first_line(error)}", remedy="check the network, or name a file as in timm:NAME@FILE"
        ) from None


def _from_file(timm: ModuleType, name: str, path: Path) -> Any:
    state = read_state_dict(path)
    model = timm.create_model(name, pretrained=False, num_classes=0)
    classifiers = (model.default_cfg or {}).get("classifier") or ()
    heads = tuple(f"{one}." for one in ([classifiers] if isinstance(classifiers, str) else classifiers))
    state = {key: value.float() for key, value in state.items() if not key.startswith(heads)}
    wanted = model.state_dict()
    reshaped = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(value.shape)}"
        for key, value in wanted.items()
        if key in state and state[key].shape != value.shape
    ]
    check_keys(str(path), wanted.keys() - state.keys(), state.keys() - wanted.keys(), reshaped)
    model.load_state_dict(state)
    return model


def _transform(timm: ModuleType, model: Any, source: str) -> ImageTransform:
    """Return timm's rule of evaluation as ours."""
    how = timm.data.resolve_model_data_config(model)
    size, mode = how["input_size"][-1], how["crop_mode"]
    known = mode in ("center", "squash") and how["interpolation"] in ("nearest", "bilinear", "bicubic", "lanczos")
    if not known or how["input_size"] != (3, size, size):
        raise InputError(
            f"timm:{source}: prepares images in a way that is not followed here ({how})",
            remedy="name a model of square RGB images",
        )
    scaled = floor(size / how["crop_pct"])
    return ImageTransform(
        size,
        "squash" if mode == "squash" else "shortest",
        how["interpolation"],
        tuple(map(float, how["mean"])),
        tuple(map(float, how["std"])),
        scaled_to=None if scaled == size else scaled,
        centre="round",
    )


def _resize(model: Any, size: int, source: str) -> int:
    if not hasattr(model, "set_input_size"):
        raise InputError(f"timm:{source}: the model keeps its size", remedy="leave image_size out")
    patch = model.patch_embed.patch_size
    checked = checked_size(size, patch if isinstance(patch, int) else patch[0], f"timm:{source}")
    model.set_input_size(img_size=(checked, checked))
    return checked


def _prefix(model: Any) -> int:
    """Return the number of tokens before the patches."""
    return int(getattr(model, "num_prefix_tokens", 0))
