"""From the string that names an encoder to the encoder."""

from collections.abc import Callable
from pathlib import Path

from eotune.core.errors import InputError, shown
from eotune.core.lookup import resolve, unknown_name
from eotune.encoders.base import DualEncoder

_LONGEST = 4000  # bytes of a path, under Linux's 4096; 255 a part

_SCHEMES = {
    "hf": "eotune.encoders.hf:load_hf",
    "composed": "eotune.encoders.composed:load_composed",
    "open_clip": "eotune.encoders.open_clip:load_open_clip",
    "tiny": "eotune.encoders.tiny:load_tiny",
}


def load(name: str, *, image_size: int | None = None) -> DualEncoder:
    """Load a pretrained dual encoder, in float32, on the CPU.

    Args:
        name: ``hf:ID_OR_DIR`` (CLIP, SigLIP, SigLIP 2), ``composed:DIR``, ``composed:IMAGE+TEXT@DIM`` (a new pair),
            ``open_clip:ARCH@TAG_OR_FILE``, or ``tiny``. See docs/encoders.md.
        image_size: Side of the square that the model sees; None takes the model's own.

    Raises:
        InputError: The name is not one of these, or what it names cannot be read.

    Example:
        >>> load("tinny")
        Traceback (most recent call last):
        ...
        eotune.core.errors.InputError: unknown encoder scheme 'tinny'; did you mean 'tiny'? Known: composed, hf, ...
    """
    check_name(name)
    scheme, colon, rest = name.partition(":")
    if scheme == "run":  # an adapted model needs its method, and methods stand above encoders
        raise InputError(f"encoder {name!r} is an adapted model", remedy="use eotune.methods.adapted.load_model")
    if scheme not in _SCHEMES:
        if not colon and name and ("/" in name or Path(name).exists()):
            raise InputError(f"encoder {name!r} has no scheme", remedy=f"write hf:{name}, or composed:{name}")
        raise unknown_name("encoder scheme", scheme, [*_SCHEMES, "run"])
    if bool(rest) != (scheme != "tiny"):
        raise InputError(f"encoder {name!r}", remedy="write for instance hf:openai/clip-vit-base-patch32, or tiny")
    loader: Callable[..., DualEncoder] = resolve(_SCHEMES[scheme])
    encoder = loader(rest, image_size=image_size) if colon else loader(image_size=image_size)
    encoder.name = name
    return encoder.eval()


def check_name(name: str) -> None:
    """Refuse what no file system could hold: asking it would raise.

    Raises:
        InputError: A part of the name, or all of it, is too long.
    """
    if len(name.encode(errors="replace")) > _LONGEST or any(
        len(p.encode(errors="replace")) > 255 for p in name.split("/")
    ):
        raise InputError(f"encoder {shown(name)}: the name is too long", remedy="write for instance hf:DIR, or tiny")
