"""Other bands than red, green and blue: a patch embedding for n bands, made from that of an RGB model.

A patch embedding is a convolution: a token is ``bias + sum_i w_i * x_i`` over the bands i. For n bands::

    w_i <- 3 / n * w_red, w_green or w_blue    where band i is named so
    w_i <- 3 / n * (w_red + w_green + w_blue) / 3    elsewhere

An image that is the same in all bands gives the tokens that the RGB model gives it, where red, green and blue are all
among the names or none is. Three bands without names, or named red, green and blue, are the RGB model to the bit.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from eotune.core.errors import InputError
from eotune.encoders.base import ImageEncoder

# B04, B03, B02 are Sentinel-2's and Landsat 8/9's numbers.
_COLOURS = ({"red", "r", "b04", "b4"}, {"green", "g", "b03", "b3"}, {"blue", "b", "b02", "b2"})


def take_bands(encoder: ImageEncoder, channels: int | None, bands: Sequence[str] | None) -> None:
    """Make an image encoder take ``channels`` bands, in place; its own mean and deviation follow the same rule.

    Args:
        encoder: Pretrained, not adapted.
        channels: How many; None for as many as there are names, or the encoder's own.
        bands: Their names, in order; case does not matter.

    Raises:
        InputError: The two disagree, or the encoder's first layer is not that of an RGB model.
    """
    wanted = channels if channels is not None else encoder.channels if bands is None else len(bands)
    if wanted < 1 or (bands is not None and len(bands) != wanted):
        names = "none" if bands is None else f"{len(bands)} ({', '.join(bands)})"
        raise InputError(f"{wanted} channels, but bands names {names}", remedy="leave channels out, or name each band")
    if encoder.bands is not None and bands is not None and not same_bands(encoder.bands, bands):
        raise InputError(
            f"encoder {encoder.name!r} takes the bands {', '.join(encoder.bands)}, not {', '.join(bands)}",
            remedy="give it those, in that order: by name, or by number where a file does not name its bands",
        )
    sources = _sources(wanted, bands)
    encoder.bands = encoder.bands if bands is None else tuple(bands)
    if wanted == encoder.channels and (wanted != 3 or sources == [0, 1, 2]):
        return
    path = encoder.towers["image"].patch_embedding
    first = None if path is None else encoder.get_submodule(path)
    if path is None or not isinstance(first, nn.Conv2d) or first.in_channels != 3:
        raise InputError(
            f"encoder {encoder.name!r} takes {encoder.channels} bands of its own, not {wanted}",
            remedy="give it those, or name a vision transformer of RGB images",
        )
    encoder.set_submodule(path, _widened(first, sources))
    for module in encoder.modules():  # transformers' check of its input
        for holder in (module, getattr(module, "config", None)):
            if getattr(holder, "num_channels", None) == 3:
                setattr(holder, "num_channels", wanted)  # noqa: B010  # a Module's own setattr is typed for modules
    mean, std = (_of_bands(one, sources) for one in (encoder.transform.mean, encoder.transform.std))
    encoder.transform = replace(encoder.transform, mean=mean, std=std)


def same_bands(own: Sequence[str], given: Sequence[str]) -> bool:
    """Return whether bands are those of a model, in its order; case does not matter, nor a zero: B2 is b02.

    Bands that have no names, only numbers, are taken for them where there are as many.

    Example:
        >>> same_bands(["B02", "B8A"], ["b2", "b8a"]), same_bands(["B02", "B8A"], ["B8A", "B02"])
        (True, False)
        >>> same_bands(["B02", "B8A"], ["2", "9"])
        True
    """
    if len(own) != len(given):
        return False
    return all(name.isdecimal() for name in given) or [*map(_plain, own)] == [*map(_plain, given)]


def _plain(band: str) -> str:
    return re.sub(r"^b0+(?=\d)", "b", band.casefold())


def _sources(channels: int, bands: Sequence[str] | None) -> list[int | None]:
    """Return for every band the RGB band that it takes after; None for the mean of the three."""
    if bands is None:
        return [0, 1, 2] if channels == 3 else [None] * channels
    return [next((i for i, names in enumerate(_COLOURS) if band.lower() in names), None) for band in bands]


def spread(weight: Tensor, sources: Sequence[int | None]) -> Tensor:
    """Return the filters ``(d, n, p, p)`` for n bands, from those of red, green and blue ``(d, 3, p, p)``.

    Example:
        >>> spread(torch.tensor([1.0, 2.0, 6.0]).view(1, 3, 1, 1), [0, None, None, 2]).flatten().tolist()
        [0.75, 2.25, 2.25, 4.5]
    """
    mean = weight.mean(1)
    return torch.stack([mean if one is None else weight[:, one] for one in sources], 1) * (3 / len(sources))


def _widened(first: nn.Conv2d, sources: Sequence[int | None]) -> nn.Conv2d:
    made = nn.Conv2d(
        len(sources), first.out_channels, first.kernel_size, first.stride, first.padding,  # type: ignore[arg-type]
        bias=first.bias is not None, device=first.weight.device,
    )  # fmt: skip
    with torch.no_grad():
        made.weight.copy_(spread(first.weight, sources))
        if made.bias is not None and first.bias is not None:
            made.bias.copy_(first.bias)
    return made.train(first.training)


def _of_bands(numbers: tuple[float, ...], sources: Sequence[int | None]) -> tuple[float, ...]:
    return tuple(sum(numbers) / 3 if one is None else numbers[one] for one in sources)
