"""A scene as a radar sees it: backscatter of its materials, corners, radar shadow, gamma speckle."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from eotune.core.errors import InputError
from eotune.core.lookup import unknown_name
from eotune.core.seeds import generator
from eotune.data.scenes.materials import NAMES, backscatters
from eotune.data.scenes.render import Scene

POLARISATIONS = ("VV", "VH")
_BUILT = [NAMES.index(name) for name in ("roof", "metal", "concrete")]  # trees have no corner with the ground
_CORNER = (4.0, 0.5)  # power that a wall one pixel high adds to its foot, VV and VH: two mirrors keep the polarisation
_NOISE = (10**-2.6, 10**-3.2)  # what the instrument adds, so that shadows are dark but not empty
_SHADOWED = 0.03  # share of the power left in shadow, scattered into it from outside


def sar(
    scene: Scene,
    *,
    polarisations: Sequence[str] = POLARISATIONS,
    looks: float | None = 4.0,
    incidence: float = 38.0,
    scale: Literal["decibels", "amplitude"] = "decibels",
    seed: int = 0,
) -> np.ndarray:
    """Return the scene as a radar that looks from the left sees it.

    Power is the mean backscatter of a pixel's materials, with roofs and metal bright and smooth water and asphalt
    dark. Where something built rises towards the radar, its foot is brighter still; what it hides lies in shadow. Tops
    are not displaced towards the radar (no layover), so that boxes stay where they are.

    Args:
        scene: What :func:`~eotune.data.scenes.render` returned.
        polarisations: ``VV``, ``VH`` or both, in the order wanted.
        looks: Number of independent looks L: speckle multiplies power by a gamma variate of mean 1 and variance 1/L,
            each pixel by its own. None leaves speckle out.
        incidence: Angle from the vertical, degrees, above 0 and below 90; shadows are ``tan(incidence)`` heights long.
        scale: ``decibels``, 10 log10(power), or ``amplitude``, its square root.
        seed: Of the speckle; other passes over the same place have other seeds.

    Returns:
        float32 ``(polarisations, size, size)``, finite.

    Raises:
        InputError: A polarisation or scale is not known, or ``looks`` or ``incidence`` is out of range.

    Example:
        >>> from eotune.data.scenes import render
        >>> sar(render("Harbour", 0, size=32)).shape
        (2, 32, 32)
    """
    _check(polarisations, looks, incidence, scale)
    fractions = scene.fractions()
    heights = scene.heights * scene.size
    # A wall faces the radar where heights rise from left to right.
    walls = np.diff(heights * fractions[_BUILT].sum(0), axis=1, prepend=0).clip(0)
    lit = np.where(_in_shadow(heights, incidence), np.float32(_SHADOWED), np.float32(1))
    backscatter = backscatters()
    powers = []
    for polarisation in polarisations:
        channel = POLARISATIONS.index(polarisation)
        power = np.tensordot(backscatter[:, channel], fractions, 1) * _texture(scene)
        power = (power + _CORNER[channel] * walls) * lit + _NOISE[channel]
        if looks is not None:
            rng = generator("speckle", scene.label, scene.seed, polarisation, seed)
            power = power * rng.gamma(looks, 1 / looks, power.shape)
        powers.append(power)
    stacked = np.maximum(np.stack(powers), 1e-8)  # a gamma variate of few looks can be 0, which has no decibels
    return (10 * np.log10(stacked) if scale == "decibels" else np.sqrt(stacked)).astype(np.float32)


def _check(polarisations: Sequence[str], looks: float | None, incidence: float, scale: str) -> None:
    for polarisation in polarisations:
        if polarisation not in POLARISATIONS:
            raise unknown_name("polarisation", polarisation, POLARISATIONS)
    if not polarisations:
        raise InputError("no polarisation", remedy="name VV, VH or both")
    if looks is not None and not 0 < looks < math.inf:
        raise InputError(f"looks is {looks}", remedy="give a positive number, or None for no speckle")
    if not 0 < incidence < 90:
        raise InputError(f"incidence is {incidence}", remedy="give degrees between 0 and 90")
    if scale not in ("decibels", "amplitude"):
        raise unknown_name("scale", scale, ("decibels", "amplitude"))


def _in_shadow(heights: np.ndarray, incidence: float) -> np.ndarray:
    """Return which pixels something nearer to the radar hides, bool, shaped as ``heights``.

    Seen along the ray, a point's height above the slant line through it is ``h + x cot(incidence)``; what lies lower
    than a nearer point is hidden.
    """
    above = heights + np.arange(heights.shape[1], dtype=np.float32) / math.tan(math.radians(incidence))
    return above < np.maximum.accumulate(above, axis=1) - 1e-4


def _texture(scene: Scene) -> np.ndarray:
    """Return what brightens and darkens ground smoothly, mean about 1: moisture, wind on water."""
    from scipy.ndimage import zoom

    coarse = generator("radar texture", scene.label, scene.seed).normal(0, 0.25, (9, 9))
    return np.exp(zoom(coarse, scene.size / 9, order=1, grid_mode=True, mode="nearest"))[: scene.size, : scene.size]
