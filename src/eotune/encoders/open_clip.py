"""open_clip models by name: checkpoint files without open_clip installed, its own tags through the interop extra."""

from pathlib import Path
from typing import Any

from eotune.core.errors import InputError
from eotune.core.lookup import require
from eotune.encoders.hf import HFDualEncoder
from eotune.encoders.open_clip_weights import MEAN, STD, architecture, read_state_dict, to_transformers
from eotune.encoders.preprocess import ImageTransform
from eotune.encoders.pretrained import checked_size, read_tokenizer

TOKENIZER = "openai/clip-vit-base-patch32"


def load_open_clip(source: str, *, image_size: int | None = None) -> HFDualEncoder:
    """Load ``ARCH@FILE`` (converted here) or ``ARCH@TAG`` (fetched by open_clip, from the interop extra).

    The activation is QuickGELU where ARCH ends in ``-quickgelu`` or TAG is ``openai``, else GELU: GeoRSCLIP, RemoteCLIP
    and SkyCLIP of ViT-B/32 were trained with GELU on open_clip's ``ViT-B-32``; name ``ViT-B-32-quickgelu`` for weights
    that continue OpenAI's. The tokenizer is taken from tokenizer files beside the checkpoint, else from
    the hub model openai/clip-vit-base-patch32.

    Raises:
        InputError: The architecture is unknown, the file is wrong, or the extra is missing.
    """
    name, _, weights = source.partition("@")
    arch, activation = architecture(name)
    if not weights:
        raise InputError(f"open_clip:{source}", remedy="write open_clip:ARCH@FILE or open_clip:ARCH@TAG")
    path = Path(weights)
    if path.suffix in {".pt", ".pth", ".bin", ".safetensors"} or path.exists():
        state = read_state_dict(path)
    else:
        activation = "quick_gelu" if weights == "openai" else activation
        open_clip = require("open_clip", "interop")
        try:
            state = open_clip.create_model(name, pretrained=weights).state_dict()
        except (RuntimeError, OSError) as error:
            raise InputError(
                f"open_clip:{source}: {str(error).splitlines()[0][:200]}", remedy="see open_clip.list_pretrained()"
            ) from None
    return assemble(to_transformers(state, arch, activation, source=source), _tokenizer(path), image_size)


def assemble(model: Any, tokenizer: Any, image_size: int | None) -> HFDualEncoder:
    """Return the encoder around a converted model, with CLIP's preprocessing; the activation is in its config."""
    vision = model.config.vision_config
    size = vision.image_size if image_size is None else checked_size(image_size, vision.patch_size, "the model")
    return HFDualEncoder(model, tokenizer, ImageTransform(size, "shortest", "bicubic", MEAN, STD))


def _tokenizer(path: Path) -> Any:
    if (path.parent / "tokenizer.json").is_file() or (path.parent / "vocab.json").is_file():
        return read_tokenizer(str(path.parent))
    try:
        return read_tokenizer(TOKENIZER)
    except InputError:
        raise InputError(
            f"{path}: no tokenizer beside it, and {TOKENIZER} cannot be fetched",
            remedy=f"put tokenizer.json of {TOKENIZER} into {path.parent}",
        ) from None
