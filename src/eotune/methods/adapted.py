"""Adapted models on disk: an adapter beside what it takes to rebuild the encoder that it was trained for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from eotune import __version__
from eotune.core.config import Config, parse
from eotune.core.errors import InputError, shown
from eotune.core.files import read_json, write_json
from eotune.encoders.bands import same_bands
from eotune.encoders.base import DualEncoder, Encoder, ImageEncoder
from eotune.encoders.by_name import check_name
from eotune.encoders.sources import files_mark, folder_mark
from eotune.methods.base import Method
from eotune.methods.by_name import create, method_config

DESCRIPTION = "eotune.json"
ADAPTER = "adapter"
_SCHEME = "run:"


class Description(Config):
    """What eotune.json holds.

    Attributes:
        version: Of eotune, which wrote it.
        encoder: The string that loads the pretrained encoder.
        image_size: In pixels.
        fingerprint: Of the pretrained encoder.
        method: The method's settings.
        seed: What the method drew its fresh weights from.
        kind: ``image`` for an image encoder, ``dual`` for one of images and texts, ``vlm`` for a vision-language model.
        channels: Number of an image's bands.
        bands: Their names, where they were given.
        image_mean: What an image encoder's images were normalised by, in units of pixel / 255.
        image_std: Likewise.
    """

    version: str
    encoder: str
    image_size: int
    fingerprint: str
    method: Mapping[str, Any]
    seed: int
    kind: Literal["image", "dual", "vlm"] = "dual"
    channels: int = 3
    bands: tuple[str, ...] | None = None
    image_mean: tuple[float, ...] | None = None
    image_std: tuple[float, ...] | None = None


def save_adapted(directory: Path, method: Method, encoder: Encoder) -> Path:
    """Write ``directory/adapter``: the adapter's weights and how to rebuild the encoder.

    Args:
        directory: A run directory.
        method: What was applied.
        encoder: What it was applied to.

    Returns:
        The adapter's folder. A write that is cut short leaves a folder that does not load.

    Raises:
        ValueError: ``method`` was not applied.
    """
    origin = method.origin
    if origin is None:
        raise ValueError("method.apply(encoder) comes before save_adapted")
    folder = directory / ADAPTER
    (folder / DESCRIPTION).unlink(missing_ok=True)  # written last: without it the folder is no adapter
    method.save(encoder, folder)
    image = isinstance(encoder, ImageEncoder)
    description = Description(
        version=__version__,
        encoder=origin.encoder,
        image_size=origin.image_size,
        fingerprint=origin.fingerprint,
        method=method.config.model_dump(mode="json"),
        seed=origin.seed,
        kind="image" if image else "dual" if isinstance(encoder, DualEncoder) else "vlm",
        channels=encoder.channels,
        bands=encoder.bands,
        image_mean=encoder.transform.mean if image else None,
        image_std=encoder.transform.std if image else None,
    )
    write_json(folder / DESCRIPTION, description.model_dump(mode="json"))
    return folder


def load_adapted(directory: Path) -> Encoder:
    """Load an adapted model: its pretrained encoder, with the method applied and the trained weights in place.

    Args:
        directory: A run directory or its ``adapter`` folder.

    Raises:
        InputError: Files are missing, broken or pickles; keys are unknown; the pretrained encoder is not the one that
            the adapter was trained for.
    """
    return _load(directory)[0]


def load_adapted_method(directory: Path) -> tuple[Encoder, Method]:
    """As :func:`load_adapted`, with the method, which can merge the adapter into the weights."""
    return _load(directory)


def load_model(name: str, image_size: int | None = None) -> DualEncoder:
    """Load any dual encoder, adapted ones (``run:DIR``) included.

    Args:
        name: What ``eotune.encoders.load`` takes, or ``run:DIR``.
        image_size: Side of the images in pixels; None takes the model's own.

    Raises:
        InputError: The name, or what it names, is wrong.
    """
    if not name.startswith(_SCHEME):
        from eotune import encoders

        return encoders.load(name, image_size=image_size)
    encoder, _ = _load_run(name, image_size)
    if not isinstance(encoder, DualEncoder):
        is_image = isinstance(encoder, ImageEncoder)
        what = "an image encoder, which reads no text" if is_image else "a vision-language model, which embeds nothing"
        raise InputError(f"{name}: adapts {what}", remedy="name an image-text model")
    return encoder


def load_image_model(
    name: str, image_size: int | None = None, *, channels: int | None = None, bands: Sequence[str] | None = None
) -> ImageEncoder:
    """Load any image encoder, adapted ones (``run:DIR``) included.

    Of an adapted dual encoder this is the image tower, where the method can be merged into it.

    Args:
        name: What ``eotune.encoders.load_image`` takes, or ``run:DIR``.
        image_size: Side of the images in pixels; None takes the model's own.
        channels: See ``load_image``; an adapted model takes what it was adapted for.
        bands: Likewise.

    Raises:
        InputError: The name, or what it names, is wrong.
    """
    if not name.startswith(_SCHEME):
        from eotune import encoders

        return encoders.load_image(name, image_size=image_size, channels=channels, bands=bands)
    encoder, method = _load_run(name, image_size)
    if channels not in (None, encoder.channels) or (bands is not None and not same_bands(encoder.bands or (), bands)):
        named = f" ({', '.join(encoder.bands)})" if encoder.bands else ""
        raise InputError(
            f"{name}: was adapted for {encoder.channels} bands{named}, not {', '.join(bands or [str(channels)])}",
            remedy="leave channels and bands out",
        )
    if isinstance(encoder, ImageEncoder):
        return encoder
    from eotune.encoders.image import image_side

    if not isinstance(encoder, DualEncoder) or not method.merge(encoder):
        raise InputError(
            f"{name}: method {method.config.name!r} cannot be merged into the image tower of {encoder.name!r}",
            remedy="name a run of an image encoder",
        )
    image = image_side(encoder, None)
    image.name = name
    return image


def model_mark(name: str) -> str:
    """Return what changes with any file that a model is read from, adapted ones included; nothing is loaded.

    An adapter's own files say which encoder it was trained for: loading refuses another one.

    Raises:
        InputError: ``run:DIR`` is no adapted model.
    """
    if not name.startswith(_SCHEME):
        return files_mark(name)
    check_name(name)
    return f"{_SCHEME}{folder_mark(read_description(Path(name.removeprefix(_SCHEME)))[0])}"


def _load_run(name: str, image_size: int | None) -> tuple[Encoder, Method]:
    """Load ``run:DIR`` as :func:`load_adapted_method` does."""
    check_name(name)
    encoder, method = _load(Path(name.removeprefix(_SCHEME)))
    if image_size not in (None, encoder.transform.size):
        raise InputError(
            f"{name}: was adapted at {encoder.transform.size} px, not {image_size}", remedy="leave the image size out"
        )
    return encoder, method


def read_description(directory: Path) -> tuple[Path, Description]:
    """Return the adapter's folder and what its eotune.json says.

    Raises:
        InputError: There is none, or it is wrong.
    """
    folder = next((one for one in (directory / ADAPTER, directory) if (one / DESCRIPTION).is_file()), None)
    if folder is None:
        problem = "is not an adapted model" if directory.is_dir() else "no such directory"
        raise InputError(
            f"{directory}: {problem} (no {ADAPTER}/{DESCRIPTION})",
            remedy="name a run directory, or its adapter folder, of a run that finished",
        )
    values = read_json(folder / DESCRIPTION)
    if not isinstance(values, dict):
        raise InputError(f"{folder / DESCRIPTION}: holds no JSON object", remedy="check that the file is complete")
    return folder, parse(Description, values, source=str(folder / DESCRIPTION))


def _load(directory: Path) -> tuple[Encoder, Method]:
    folder, description = read_description(directory)
    method = create(method_config(description.method, source=str(folder / DESCRIPTION)))
    encoder = _base_encoder(description)
    fingerprint = encoder.fingerprint()
    if fingerprint != description.fingerprint:
        raise InputError(
            f"{folder}: was trained for {shown(description.encoder)} with fingerprint "
            f"{shown(description.fingerprint)}, but that encoder now has {fingerprint!r}",
            remedy="restore the encoder's weights of then, or train the adapter again",
        )
    method.apply(encoder, seed=description.seed)
    method.load(encoder, folder)
    encoder.name = f"{_SCHEME}{directory}"
    return encoder, method


def _base_encoder(description: Description) -> Encoder:
    if description.kind == "vlm":
        from eotune.encoders.multimodal_vlm import load_vlm

        check_name(description.encoder)
        return load_vlm(description.encoder.removeprefix("vlm:"))
    if description.kind == "dual":
        return load_model(description.encoder, description.image_size)
    encoder = load_image_model(
        description.encoder, description.image_size, channels=description.channels, bands=description.bands
    )
    if description.image_mean is not None and description.image_std is not None:
        encoder.normalise_by(description.image_mean, description.image_std)
    return encoder
