"""Between transformers' image processors and :class:`~eotune.encoders.preprocess.ImageTransform`."""

from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eotune.core.errors import InputError
from eotune.core.files import read_json, write_json
from eotune.encoders.preprocess import ImageTransform
from eotune.encoders.pretrained import find_file, first_line

_FILES = ("preprocessor_config.json", "processor_config.json")  # transformers 5 writes the second
_LARGEST = 2**14  # pixels; what asks for more is damaged
_WIDEST = 1e6  # likewise, of pixel statistics
_INTERPOLATION = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}


def read_transform(source: str, config: Any, *, native_size: int) -> ImageTransform:
    """Return how a model's images are prepared, held against transformers' own processor.

    Args:
        source: A directory or a hub id.
        config: The model's configuration. Where no file says how to prepare images, its family's rule counts, at
            ``native_size``.
        native_size: Side of the square that the model was trained with.

    Raises:
        InputError: Nothing says how, or in a way that :class:`ImageTransform` cannot follow.
    """
    from transformers import AutoImageProcessor
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING

    files = [path for name in _FILES if (path := find_file(source, name))]
    if files:
        try:
            # Pillow's resizing, whatever is installed: torchvision's gives other pixels.
            processor = _dinov3(files[0]) or AutoImageProcessor.from_pretrained(
                source, backend="pil", trust_remote_code=False
            )
        except Exception as error:  # transformers raises many kinds for a bad file
            raise InputError(
                f"{source}: {_FILES[0]} cannot be read ({first_line(error)})",
                remedy="take the file that came with the model",
            ) from None
        return transform_of(processor, source=source, channels=getattr(config, "num_channels", 3))
    kinds = IMAGE_PROCESSOR_MAPPING.get(type(config), None)
    if kinds is None or "pil" not in kinds:
        raise InputError(
            f"{source}: no {_FILES[0]}, and {config.model_type} has no usual preprocessing",
            remedy="add the file that came with the model",
        )
    return transform_of(kinds["pil"](), source=source).at(native_size)


def _dinov3(path: Path) -> Any:
    """Return a processor with a DINOv3 file's values; None for other files.

    Transformers has none for it without torchvision, where it resizes floats: up to one step of 8 bits from Pillow's.
    """
    from transformers import ViTImageProcessorPil
    from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    values = read_json(path)
    values = values.get("image_processor", values)
    if not str(values.get("image_processor_type")).startswith("DINOv3ViTImageProcessor"):
        return None
    defaults = {"image_mean": IMAGENET_DEFAULT_MEAN, "image_std": IMAGENET_DEFAULT_STD}
    return ViTImageProcessorPil.from_dict(defaults | values)


def transform_of(processor: Any, *, source: str, channels: int = 3) -> ImageTransform:
    """Translate one of transformers' ``...ImageProcessorPil`` objects and check the result on an image.

    SigLIP 2's NaFlex processor keeps the aspect and varies the grid; here its images are squashed to a square of as
    many patches, which is the same for square images.

    Args:
        processor: The processor.
        source: For messages.
        channels: Number of bands. Other than three, which transformers' processors do not take, go unchecked.

    Raises:
        InputError: It prepares images in another way than resize, crop and normalise.

    Example:
        >>> from transformers import ViTImageProcessorPil
        >>> transform_of(ViTImageProcessorPil(size={"height": 64, "width": 64}), source="vit").resize
        'squash'
    """
    try:
        if hasattr(processor, "max_num_patches"):
            return _rule(processor, {"height": isqrt(processor.max_num_patches) * processor.patch_size})
        transform = _rule(processor, dict(processor.size), channels)
        if channels != 3:
            return transform
        image = np.random.default_rng(0).integers(0, 256, (45, 124, 3), dtype=np.uint8)
        with np.errstate(all="ignore"):  # of numbers that make no sense, which do not equal ours then
            theirs = np.asarray(processor(image, return_tensors="np")["pixel_values"][0])
        ours = transform.normalise(torch.from_numpy(transform(image))).numpy()
        follows = ours.shape == theirs.shape and np.allclose(ours, theirs, atol=1e-4)
    # Sizes that are no square, steps that need other arguments, numbers that make no sense, keys of another model.
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        follows = False
    if not follows:
        raise InputError(
            f"{source}: {type(processor).__name__} prepares images in a way that is not followed here",
            remedy="models are read whose images are resized, cropped to a square and normalised",
        )
    return transform


def _rule(processor: Any, size: dict[str, int], channels: int = 3) -> ImageTransform:
    squash = "height" in size
    target = int(size["height"] if squash else size["shortest_edge"])
    side = int(dict(processor.crop_size)["height"]) if getattr(processor, "do_center_crop", False) else target
    normalise = getattr(processor, "do_normalize", True)
    mean = tuple(map(float, processor.image_mean)) if normalise else (0.0,) * channels
    std = tuple(map(float, processor.image_std)) if normalise else (1.0,) * channels
    sane = all(abs(one) < _WIDEST for one in mean) and all(1 / _WIDEST < one < _WIDEST for one in std)
    if not sane or not len(mean) == len(std) == channels or not 0 < side <= _LARGEST or not 0 < target <= _LARGEST:
        raise ValueError(f"size {target}, crop {side}, mean {mean}, std {std}")
    return ImageTransform(
        size=side,
        resize="squash" if squash else "shortest",
        interpolation=_INTERPOLATION.get(int(processor.resample), "bicubic"),  # type: ignore[arg-type]
        mean=mean,
        std=std,
        scaled_to=None if side == target else target,
    )


def write_preprocessing(transform: ImageTransform, directory: Path, *, patches: int | None = None) -> None:
    """Write preprocessor_config.json so that transformers and :func:`read_transform` read ``transform`` back.

    Args:
        transform: The rule.
        directory: Where the model is.
        patches: Side of a patch in pixels, for models that take patches instead of images (NaFlex); None for others.
    """
    target = transform.scaled_to or transform.size
    squash = transform.resize == "squash"
    values: dict[str, Any] = {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"height": target, "width": target} if squash else {"shortest_edge": target},
        "resample": next(code for code, name in _INTERPOLATION.items() if name == transform.interpolation),
        "do_center_crop": not squash or transform.scaled_to is not None,
        "crop_size": {"height": transform.size, "width": transform.size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(transform.mean),
        "image_std": list(transform.std),
        "do_convert_rgb": len(transform.mean) == 3,
    }
    if patches:
        values |= {"image_processor_type": "Siglip2ImageProcessor", "patch_size": patches}
        values |= {"max_num_patches": (transform.size // patches) ** 2}
        del values["size"], values["crop_size"], values["do_center_crop"]
    write_json(directory / "preprocessor_config.json", values)
