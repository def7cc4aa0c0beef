"""Read pretrained transformers models and their preprocessing: from a directory, or from the hub when named."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eotune.core.errors import InputError
from eotune.core.files import read_json
from eotune.encoders.preprocess import ImageTransform

_INTERPOLATION = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}


def read_model(kind: Any, source: str, **options: Any) -> Any:
    """Load ``kind.from_pretrained(source)`` in float32 from safetensors.

    Args:
        kind: A transformers class.
        source: A directory or a hub id.
        options: Passed on.

    Raises:
        InputError: Nothing loadable is there; weights are missing or left over.
    """
    import torch

    check_source(source)
    try:
        with _quiet():
            model, info = kind.from_pretrained(
                source, dtype=torch.float32, use_safetensors=True, output_loading_info=True, trust_remote_code=False,
                **options,
            )  # fmt: skip
    except Exception as error:  # transformers raises many kinds for a bad directory, and safetensors its own
        raise InputError(f"{source}: no model could be read ({_first_line(error)})", remedy=_remedy(source)) from None
    problems = [
        f"{label} {', '.join(sorted(map(str, info[key]))[:5])}"
        + (f" and {len(info[key]) - 5} more" if len(info[key]) > 5 else "")
        for key, label in (("missing_keys", "missing"), ("mismatched_keys", "of another shape"))
        if info.get(key)
    ]
    if problems:
        raise InputError(
            f"{source}: the weights do not fit the model: {'; '.join(problems)}", remedy="check the checkpoint"
        )
    return model


def recompute_activations(model: Any) -> None:
    """Switch a transformers model to gradient checkpointing, which its releases since 5.17 name in two ways."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' own bars and reports off the terminal: what matters of them becomes an InputError."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def read_tokenizer(source: str) -> Any:
    """Load the tokenizer beside a model.

    Raises:
        InputError: There is none.
    """
    from transformers import AutoTokenizer

    check_source(source)
    try:
        return AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except Exception as error:  # as above
        raise InputError(
            f"{source}: no tokenizer could be read ({_first_line(error)})", remedy=_remedy(source)
        ) from None


def check_source(source: str) -> None:
    """Refuse what is neither a directory nor looks like a hub id.

    Raises:
        InputError: It is neither.
    """
    path = Path(source)
    if path.is_dir() or (source.count("/") == 1 and not source.startswith((".", "/", "~")) and not path.exists()):
        return
    if "/" not in source and not path.exists() and not source.startswith((".", "~")):
        return
    what = "is a file, not a directory" if path.is_file() else "no such directory"
    raise InputError(
        f"{source}: {what}", remedy="name a directory with config.json and safetensors, or a hub id like org/name"
    )


def read_preprocessing(source: str) -> dict[str, Any]:
    """Return preprocessor_config.json of a model; empty where there is none."""
    path = Path(source) / "preprocessor_config.json"
    if not Path(source).is_dir():
        from transformers.utils import cached_file

        found = cached_file(source, path.name, _raise_exceptions_for_missing_entries=False)
        if found is None:
            return {}
        path = Path(found)
    if not path.is_file():
        return {}
    values = read_json(path)
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds no JSON object", remedy="take the file that came with the model")
    return values


def transform_from(
    values: Mapping[str, Any], *, native_size: int, mean: float = 0.5, std: float = 0.5
) -> ImageTransform:
    """Translate transformers' image processor settings; what they leave out falls back to the arguments.

    Example:
        >>> transform_from({"size": {"shortest_edge": 224}, "do_center_crop": True}, native_size=224).resize
        'shortest'
        >>> transform_from({"size": {"height": 64, "width": 64}}, native_size=64).resize
        'squash'
    """
    size = values.get("size", native_size)
    if isinstance(size, Mapping):
        squash = "height" in size
        side = int(size.get("height", size.get("shortest_edge", native_size)))
    else:
        squash, side = not values.get("do_center_crop", False), int(size)
    crop = values.get("crop_size", side)
    crop = int(crop.get("height", side)) if isinstance(crop, Mapping) else int(crop)

    def triple(key: str, default: float) -> tuple[float, float, float]:
        numbers = values.get(key, [default] * 3)
        return (float(numbers[0]), float(numbers[1]), float(numbers[2]))

    return ImageTransform(
        size=side if squash else crop,
        resize="squash" if squash else "shortest",
        interpolation=_INTERPOLATION.get(values.get("resample", 3), "bicubic"),  # type: ignore[arg-type]
        mean=triple("image_mean", mean),
        std=triple("image_std", std),
    )


def checked_size(size: int, patch: int, name: str) -> int:
    """Return ``size`` if the model's patches tile it.

    Raises:
        InputError: They do not; the message names the nearest sizes.
    """
    if size % patch == 0 and size > 0:
        return size
    below = max(patch, size // patch * patch)
    raise InputError(
        f"image_size {size} is not a multiple of {name}'s patch size {patch}", remedy=f"take {below} or {below + patch}"
    )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]


def _remedy(source: str) -> str:
    if Path(source).is_dir():
        return "the directory needs config.json, model.safetensors and, for text, tokenizer files"
    offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
    return f"check the name and the network{offline}, or download it and name its directory"
