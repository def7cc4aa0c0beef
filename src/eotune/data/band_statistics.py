"""Images of any bands as 8-bit input of a model, scaled by statistics that are taken once, on training images."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from eotune.core.config import Config, parse
from eotune.core.errors import InputError
from eotune.core.progress import progress
from eotune.core.seeds import generator
from eotune.data.bands import BandConfig, select_bands
from eotune.data.captions import listed_error
from eotune.data.rasters import BandChoice, band_names, load_bands

_SAMPLED = 2**20  # pixels in all: percentiles to a thousandth of the range, 50 MB for 13 bands


class BandInput(Config):
    """Which bands a model sees, and how their values become 0 to 255, the same in every image.

    Attributes:
        bands: By name or by number from 1; None for all bands of the first training image, a mask (alpha) left out.
            What has a name in that image is found by it in the others, in whatever order they have it.
        scaling: ``percentile`` maps a band's ``percentiles`` over the training pixels to 0 and 255, ``sigma`` its mean
            less and plus ``sigmas`` standard deviations (SatMAE, arXiv 2207.08051: 2); what lies outside is cut.
        percentiles: Lower and upper, in percent.
        sigmas: Standard deviations.
        decibels: For SAR stored linearly: ``power`` takes 10 log10(v), ``amplitude`` 20 log10(v); leave it out for
            values in dB. Values that are not positive then count as no data.
        nodata: A value that means no data, beside what the file names and NaN.
    """

    bands: tuple[int | str, ...] | None = None
    scaling: Literal["percentile", "sigma"] = "percentile"
    percentiles: tuple[float, float] = (2.0, 98.0)
    sigmas: float = Field(default=2.0, gt=0)
    decibels: Literal["power", "amplitude"] | None = None
    nodata: float | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "BandInput":
        if self.bands is not None and (not self.bands or len(set(self.bands)) < len(self.bands)):
            raise ValueError("bands wants at least one, and each once")
        if not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise ValueError("percentiles wants 0 <= lower < upper <= 100")
        return self


class BandStatistics(Config):
    """What the bands of the training images are called, and how they are scaled.

    Attributes:
        names: Of the bands, in order; a band without a name has its number.
        low: Value that becomes 0, of each band, after scale, offset and decibels.
        high: Value that becomes 255.
        mean: Of each band's scaled values, 0 to 1, over the training pixels with data.
        std: Likewise.

    Example:
        >>> one = BandStatistics(names=("VV",), low=(-20,), high=(0,), mean=(0.5,), std=(0.2,))
        >>> BandStatistics.from_dict(one.to_dict()) == one
        True
    """

    names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @model_validator(mode="after")
    def _of_one_length(self) -> "BandStatistics":
        if len({len(one) for one in (self.names, self.low, self.high, self.mean, self.std)}) != 1:
            raise ValueError("names, low, high, mean and std want one value for each band")
        if not all(low < high for low, high in zip(self.low, self.high, strict=True)):
            raise ValueError("low wants to be below high in every band")
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, source: str = "") -> "BandStatistics":
        """Return what :meth:`to_dict` wrote.

        Raises:
            InputError: It is something else; ``source`` names the file.
        """
        return parse(cls, values, source=source)


@dataclass(frozen=True)
class BandReader:
    """:func:`read_scaled` with its settings, as :class:`~eotune.data.cache.ImageCache` takes it.

    Attributes:
        config: Which bands.
        statistics: How they are scaled.
    """

    config: BandInput
    statistics: BandStatistics

    def __call__(self, path: Path, *, max_side: int | None = None) -> np.ndarray:
        """Read an image as uint8 ``(h, w, b)``."""
        return read_scaled(path, self.config, self.statistics, max_side=max_side)


def compute_band_statistics(
    paths: Sequence[Path], config: BandInput | None = None, *, pixels: int = _SAMPLED, threads: int | None = None
) -> BandStatistics:
    """Read each image once and take the statistics of its bands.

    Of larger sets, ``pixels`` are drawn in all, as many of each image; the same paths give the same ones.

    Args:
        paths: The training images, never those of a test set. The first says which bands there are.
        config: Which bands, and how they are scaled.
        pixels: How many to look at.
        threads: That read; None for as many as there are processors, at most 16.

    Raises:
        InputError: Images cannot be read or lack a band, a band holds no data, or next to one value.

    Example:
        >>> import tempfile
        >>> from eotune.data.scenes import render, write_scene
        >>> file = Path(tempfile.mkdtemp()) / "a.tif"
        >>> write_scene(file, render("Harbour", 0, size=32), spectrum="sar")
        >>> statistics = compute_band_statistics([file])
        >>> statistics.names, read_scaled(file, BandInput(), statistics).shape
        (('VV', 'VH'), (32, 32, 2))
    """
    config = config or BandInput()
    if not paths:
        raise InputError("band statistics of no image", remedy="give the training images")
    names = _names_of(Path(paths[0]), config)
    share = -(-pixels // len(paths))

    def sample(index: int) -> np.ndarray | InputError:
        try:
            values = _load(Path(paths[index]), config, names, None).reshape(len(names), -1)
        except InputError as error:
            return error
        held = np.flatnonzero(np.isfinite(values).any(0))
        if len(held) > share:
            held = generator(0, "band statistics", index).choice(held, share, replace=False, shuffle=False)
        return values[:, held]

    results = _mapped(sample, len(paths), threads)
    if problems := [str(result) for result in results if isinstance(result, InputError)]:
        raise listed_error("images", problems, remedy="correct or remove what is listed")
    return _statistics(np.concatenate([one for one in results if isinstance(one, np.ndarray)], axis=1), names, config)


def read_scaled(
    path: Path, config: BandInput, statistics: BandStatistics, *, max_side: int | None = None
) -> np.ndarray:
    """Read an image as a model's input.

    Args:
        path: GeoTIFF, JPEG 2000, PNG or JPEG.
        config: Which bands.
        statistics: Of the training images.
        max_side: Read decimated, so that the shorter side has at most this many pixels.

    Returns:
        uint8 ``(h, w, b)``, the bands as ``statistics.names`` has them; where there is no data, the band's mean.

    Raises:
        InputError: It cannot be read, lacks a band (the message has those wanted and those found), or holds no data.
    """
    values = _load(Path(path), config, statistics.names, max_side)
    scaled = _scaled(values, np.array(statistics.low), np.array(statistics.high))
    filled = np.where(np.isfinite(scaled), scaled, np.array(statistics.mean)[:, None, None])
    return np.ascontiguousarray(np.rint(filled * 255).astype(np.uint8).transpose(1, 2, 0))


def _load(path: Path, config: BandInput, names: Sequence[str], max_side: int | None) -> np.ndarray:
    """Return float32 ``(b, h, w)``, NaN where there is no data."""
    reading = BandConfig(nodata=config.nodata, decibels=config.decibels)
    choose = _choice(names, config.bands)
    return load_bands(path, reading, display=False, max_side=max_side, choose=choose).values


def _names_of(path: Path, config: BandInput) -> tuple[str, ...]:
    """Return what the chosen bands of the first image are called."""
    named = _with_numbers(band_names(path))
    if config.bands is None:
        return tuple(band[0] for band in named if band[0] != "alpha")
    chosen = select_bands(config.bands, named)
    if isinstance(chosen, str):
        raise InputError(f"{path}: {chosen}", remedy="set bands to what it has, or name images that have this")
    return tuple(named[number - 1][0] for number in chosen)


def _with_numbers(names: Sequence[Sequence[str]]) -> list[list[str]]:
    """Give bands without a name, or with one that several have, their number as a name."""
    everyone = [name.casefold() for band in names for name in band]
    unique = [[name for name in band if everyone.count(name.casefold()) == 1] for band in names]
    return [band or [str(number)] for number, band in enumerate(unique, 1)]


def _choice(wanted: Sequence[str], given: Sequence[int | str] | None) -> BandChoice:
    """Find bands by name; by number where they have no name, or where the user gave numbers."""
    numbers = [name if isinstance(name, int) else None for name in given or [""] * len(wanted)]

    def choose(names: Sequence[Sequence[str]]) -> list[int] | str:
        named = _with_numbers(names)
        known = {name.casefold() for band in named for name in band}
        found = [band[0] for band in named if band[0] != "alpha"]
        is_unnamed = all(name.isdecimal() for name in found)
        if "palette" in known:
            return "its values stand for colours of a palette, which are no measurements; convert it to RGB"
        if given is None and len(found) != len(wanted) and any(name.isdecimal() for name in wanted):
            return f"expected {len(wanted)} bands without names, found {len(found)}: {', '.join(found)}"
        asked = [
            name if name.casefold() in known or given is None
            else int(name) if name.isdecimal()
            else number if is_unnamed and number is not None
            else name
            for name, number in zip(wanted, numbers, strict=True)
        ]  # fmt: skip
        chosen = select_bands(asked, named)
        return chosen if isinstance(chosen, list) else f"{chosen}; expected are {', '.join(wanted)}"

    return choose


def _statistics(samples: np.ndarray, names: tuple[str, ...], config: BandInput) -> BandStatistics:
    """Return the statistics of ``(b, n)`` values, NaN where there is no data."""
    bounds, moments = [], []
    for name, band in zip(names, samples.astype(np.float64), strict=True):
        held = band[np.isfinite(band)]
        if len(held) == 0:
            raise InputError(f"band {name} holds no data in any training image", remedy="leave it out of bands")
        if config.scaling == "percentile":
            low, high = np.percentile(held, config.percentiles)
        else:
            low, high = held.mean() - config.sigmas * held.std(), held.mean() + config.sigmas * held.std()
        if not low < high:
            raise InputError(
                f"band {name} is scaled from {low:g} to {high:g}: nearly all training pixels have one value",
                remedy="leave it out of bands, or widen the percentiles",
            )
        scaled = _scaled(held[None], np.array([low]), np.array([high]))
        bounds.append((float(low), float(high)))
        moments.append((float(scaled.mean()), float(scaled.std())))
    (low, high), (mean, std) = zip(*bounds, strict=True), zip(*moments, strict=True)
    return BandStatistics(names=names, low=low, high=high, mean=mean, std=std)


def _scaled(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Map each band's low..high to 0..1 and cut the rest; NaN stays."""
    shape = (-1,) + (1,) * (values.ndim - 1)
    return np.clip((values - low.reshape(shape)) / (high - low).reshape(shape), 0, 1)


def _mapped(work: Callable[[int], Any], count: int, threads: int | None) -> list[Any]:
    executor = ThreadPoolExecutor(threads or min(16, os.cpu_count() or 1))
    try:
        return list(progress(executor.map(work, range(count)), total=count, description="band statistics"))
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
