"""From the string that names an encoder to the encoder."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import get_args

from eotune.core.errors import InputError, shown
from eotune.core.lookup import resolve, unknown_name
from eotune.encoders.bands import take_bands
from eotune.encoders.base import DualEncoder, Feature, ImageEncoder

_LONGEST = 4000  # bytes of a path, under Linux's 4096; 255 a part

_SCHEMES = {
    "hf": "eotune.encoders.hf:load_hf",
    "composed": "eotune.encoders.composed:load_composed",
    "open_clip": "eotune.encoders.open_clip:load_open_clip",
    "tiny": "eotune.encoders.tiny:load_tiny",
}
_IMAGE_SCHEMES = {
    "hf": "eotune.encoders.image:load_hf_image",
    "satmae": "eotune.encoders.satmae:load_satmae",
    "scalemae": "eotune.encoders.satmae:load_scale_mae",
    "timm": "eotune.encoders.timm:load_timm",
    "diffusers": "eotune.encoders.diffusion:load_diffusion",
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
    scheme, rest = _parsed(name, _SCHEMES, "load_model")
    loader: Callable[..., DualEncoder] = resolve(_SCHEMES[scheme])
    encoder = loader(rest, image_size=image_size) if rest else loader(image_size=image_size)
    encoder.name = name
    return encoder.eval()


def load_image(
    name: str, *, image_size: int | None = None, channels: int | None = None, bands: Sequence[str] | None = None
) -> ImageEncoder:
    """Load a pretrained image encoder, in float32, on the CPU: a vision transformer, or a dual encoder's image tower.

    Its embeddings are pooled features as they come, not of unit length.

    Args:
        name: ``hf:ID_OR_DIR`` (ViT, DINOv2, DINOv3, MAE, and the image sides of CLIP and SigLIP), ``satmae:FILE``,
            ``scalemae:FILE@METRES``, ``timm:NAME@FILE``, ``diffusers:ID_OR_DIR``, or whatever :func:`load` takes. What
            an image's vector is can be added: ``#cls``, ``#mean`` (of the patches), ``#pooler`` or ``#projected`` (into
            a dual encoder's shared space). Without one it is what the model was trained with, before any projection.
            See docs/encoders.md.
        image_size: Side of the square that the model sees; None takes the model's own.
        channels: Number of an image's bands; None for the model's own, or one a name. Where it is not the model's, its
            patch embedding is widened, see :mod:`eotune.encoders.bands`.
        bands: Their names, in order; red, green and blue are recognised.

    Raises:
        InputError: The name is not one of these, or what it names cannot be read.

    Example:
        >>> encoder = load_image("tiny")
        >>> encoder.dim, list(encoder.towers), load_image("tiny#projected").dim
        (160, ['image'], 128)
    """
    schemes = _SCHEMES | _IMAGE_SCHEMES
    plain, feature = _feature(name)
    scheme, rest = _parsed(plain, schemes, "load_image_model")
    if scheme in _IMAGE_SCHEMES:
        encoder = resolve(schemes[scheme])(rest, image_size=image_size, feature=feature)
    else:
        from eotune.encoders.image import image_side

        encoder = image_side(load(plain, image_size=image_size), feature)
    encoder.name = name
    take_bands(encoder, channels, bands)
    return encoder.eval()


def check_dual(name: str, others: Sequence[str] = ()) -> None:
    """Check what can be known of a dual encoder before it is loaded: its name, and whether its directory is there.

    Args:
        name: As :func:`load` takes it, or an adapted model's (``run:``), which is not read.
        others: What the caller takes besides, for the message.

    Raises:
        InputError: The name is not one that :func:`load` takes, or names nothing.
    """
    if name.startswith("run:"):
        return
    scheme, rest = _parsed(name, _SCHEMES, "load_model", others)
    if scheme == "hf":
        from eotune.encoders.pretrained import check_source

        check_source(rest)
    if scheme == "composed":
        from eotune.encoders.composed import check_composed

        check_composed(rest)


def _feature(name: str) -> tuple[str, Feature | None]:
    """Split ``NAME#FEATURE``; a # inside a path that exists belongs to the path."""
    plain, mark, feature = name.rpartition("#")
    check_name(name)
    path = name.partition(":")[2]
    if not mark or (path and Path(path).exists()):
        return name, None
    for known in get_args(Feature):
        if feature == known:
            return plain, known
    raise unknown_name(f"feature in encoder {shown(name)}:", feature, get_args(Feature))


def _parsed(name: str, schemes: Mapping[str, str], adapted: str, others: Sequence[str] = ()) -> tuple[str, str]:
    """Return a name's scheme and what follows it.

    Args:
        name: What the user wrote.
        schemes: Those known.
        adapted: The function that loads adapted models.
        others: Schemes that the caller knows besides.
    """
    check_name(name)
    scheme, colon, rest = name.partition(":")
    if scheme == "run":  # an adapted model needs its method, and methods stand above encoders
        raise InputError(f"encoder {name!r} is an adapted model", remedy=f"use eotune.methods.adapted.{adapted}")
    if scheme not in schemes and scheme in _IMAGE_SCHEMES:
        raise InputError(f"encoder {name!r} reads no text", remedy="take it where images alone are asked for")
    if scheme not in schemes:
        if not colon and name and ("/" in name or Path(name).exists()):
            raise InputError(f"encoder {name!r} has no scheme", remedy=f"write hf:{name}, or composed:{name}")
        raise unknown_name("encoder scheme", scheme, [*schemes, "run", *others])
    if bool(rest) != (scheme != "tiny"):
        raise InputError(f"encoder {name!r}", remedy="write for instance hf:openai/clip-vit-base-patch32, or tiny")
    return scheme, rest


def check_name(name: str) -> None:
    """Refuse what no file system could hold: asking it would raise.

    Raises:
        InputError: A part of the name, or all of it, is too long.
    """
    if len(name.encode(errors="replace")) > _LONGEST or any(
        len(p.encode(errors="replace")) > 255 for p in name.split("/")
    ):
        raise InputError(f"encoder {shown(name)}: the name is too long", remedy="write for instance hf:DIR, or tiny")
