"""Which bands of a raster become red, green and blue, and how their values become 0 to 255."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from eotune.core.config import Config
from eotune.core.lookup import nearest

# Tried in this order where nobody says which bands to show. Sentinel-2 and Landsat 8/9 number red, green, blue alike.
_USUAL_NAMES = (("red", "green", "blue"), ("b04", "b03", "b02"), ("b4", "b3", "b2"), ("r", "g", "b"))

# Sentinel-2's own true-colour product maps reflectance 0 to 0.3558 onto 8 bits (ESA, S2 Products Specification).
_PRODUCT_RANGE = (0.0, 0.3558)


class BandConfig(Config):
    """How a raster of any type and number of bands becomes an RGB image.

    Attributes:
        bands: One band (shown grey) or three, by name or by number from 1. By default red, green and blue where the
            file names them so (or B04, B03, B02), else the first three, else the first.
        scaling: ``none`` takes values as they are, cut to 0..255; ``percentile`` stretches each band between its own
            ``percentiles``; ``range`` maps ``low``..``high``, the same in every image; ``product`` maps reflectance 0
            to 0.3558, as Sentinel-2's true-colour product does (integers without a scale are reflectance times
            10,000). ``auto``: ``none`` for 8-bit values, else ``percentile``.
        percentiles: Lower and upper, in percent of the valid pixels.
        low: Value shown as 0 under ``range``, after scale, offset and decibels.
        high: Value shown as 255.
        use_scale: Apply the file's scale and offset tags.
        nodata: A further value that means no data, beside the one the file names; compared before scale and offset.
        decibels: For SAR stored linearly: ``power`` shows 10 log10(v), ``amplitude`` 20 log10(v). Values that are not
            positive have no decibels and count as no data.
    """

    bands: tuple[int | str, ...] | None = None
    scaling: Literal["auto", "none", "percentile", "range", "product"] = "auto"
    percentiles: tuple[float, float] = (2.0, 98.0)
    low: float | None = None
    high: float | None = None
    use_scale: bool = True
    nodata: float | None = Field(default=None, allow_inf_nan=True)
    decibels: Literal["power", "amplitude"] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "BandConfig":
        if self.bands is not None and len(self.bands) not in (1, 3):
            raise ValueError(f"bands wants one or three, got {len(self.bands)}")
        if not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise ValueError("percentiles wants 0 <= lower < upper <= 100")
        if self.scaling == "range" and (self.low is None or self.high is None or not self.low < self.high):
            raise ValueError("scaling 'range' wants low < high")
        return self


def select_bands(wanted: Sequence[int | str] | None, names: Sequence[Sequence[str]]) -> list[int] | str:
    """Return the positions from 1 of the wanted bands, or a line that says which cannot be found.

    Args:
        wanted: Names (case does not matter) or numbers from 1; None chooses three bands to show, or one.
        names: What each band of the file is called; a band may have several names, or none.

    Example:
        >>> select_bands(["B04", "B03", "B02"], [["B02"], ["B03"], ["B04"], ["B08"]])
        [3, 2, 1]
        >>> select_bands(["NIR"], [["red"], ["nir1"]])
        "no band 'NIR', did you mean 'nir1'? It has 2 bands: red, nir1"
    """
    position = {name.casefold(): number for number, band in reversed(list(enumerate(names, 1))) for name in band}
    if wanted is None:
        for usual in _USUAL_NAMES:
            if all(name in position for name in usual):
                return [position[name] for name in usual]
        return [1, 2, 3] if len(names) >= 3 else [1]
    listing = ", ".join(band[0] if band else f"{number} (no name)" for number, band in enumerate(names, 1))
    chosen = []
    for band in wanted:
        number = band if isinstance(band, int) else position.get(band.strip().casefold())
        if number is None or not 1 <= number <= len(names):
            near = nearest(str(band).casefold(), position) if isinstance(band, str) else None
            hint = f", did you mean {near!r}?" if near else "."
            return f"no band {band!r}{hint} It has {len(names)} band{'s' * (len(names) != 1)}: {listing}"
        chosen.append(number)
    return chosen


def to_rgb(values: np.ndarray, config: BandConfig, *, dtype: np.dtype, is_scaled: bool) -> np.ndarray:
    """Map band values to an image.

    Args:
        values: float32 ``(1 or 3, h, w)``, NaN where there is no data.
        config: Its scaling.
        dtype: Of the file; ``auto`` shows 8-bit values as they are.
        is_scaled: Whether a scale and offset of the file were applied.

    Returns:
        uint8 ``(h, w, 3)``; 0 where there is no data.
    """
    scaling = config.scaling
    if scaling == "auto":
        scaling = "none" if dtype == np.uint8 and not is_scaled and config.decibels is None else "percentile"
    valid = np.isfinite(values)
    result = np.zeros(values.shape, np.uint8)
    for band, mask, target in zip(values, valid, result, strict=True):
        pixels = band[mask]
        if pixels.size == 0:
            continue
        if scaling == "none":
            target[mask] = _rounded(pixels)
            continue
        if scaling == "percentile":
            low, high = np.percentile(pixels, config.percentiles)
        elif scaling == "range":
            low, high = float(config.low or 0), float(config.high or 0)
        else:
            low, high = _PRODUCT_RANGE
            if np.issubdtype(dtype, np.integer) and not is_scaled:
                pixels = pixels / 10_000
        spread = high - low
        target[mask] = _rounded((pixels - low) * (255 / spread)) if spread > 0 else 0
    if len(result) == 1:
        result = np.repeat(result, 3, axis=0)
    return np.ascontiguousarray(result.transpose(1, 2, 0))


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
