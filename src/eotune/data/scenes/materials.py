"""What things are made of, and how each material looks in the visible, to Sentinel-2 and to a radar."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

Colour = tuple[int, int, int]


class Surface(NamedTuple):
    """What is drawn: a colour, and the name of the material that has it."""

    colour: Colour
    material: str


@dataclass(frozen=True)
class Material:
    """One material.

    The values are typical ones, rounded; they are meant to order materials as real images do, not to retrieve anything.

    Attributes:
        colour: The colour to which ``reflectance`` belongs; where a scene paints it otherwise, the visible follows.
        reflectance: Of Sentinel-2's 13 bands, in percent, B01 to B12 with B8A after B08.
        backscatter: Of C band in VV and VH, dB, far from any corner.
    """

    colour: Colour
    reflectance: tuple[float, ...]
    backscatter: tuple[float, float]


# Vegetation: dark in red, steep red edge from B05 to B07, water absorption in B11 and B12. Water: dark from B06 on.
# B10 (1375 nm) sees no ground at all.
MATERIALS: dict[str, Material] = {
    "water": Material((52, 88, 112), (6.0, 6.5, 6.0, 4.0, 3.0, 2.2, 2.0, 1.8, 1.6, 1.2, 0.1, 0.8, 0.5), (-20, -29)),
    "grass": Material((104, 136, 74), (3.0, 4.0, 8.0, 5.0, 11, 27, 34, 37, 39, 38, 0.2, 22, 12), (-12, -18.5)),
    "straw": Material((166, 156, 92), (6.0, 8.0, 13, 17, 20, 23, 25, 27, 29, 29, 0.2, 34, 24), (-11.5, -19)),
    "crop": Material((104, 136, 74), (2.5, 3.5, 7.5, 3.5, 10, 33, 43, 47, 49, 48, 0.2, 20, 9), (-9.5, -15.5)),
    "forest": Material((54, 93, 48), (2.0, 2.5, 4.5, 2.5, 6, 20, 26, 29, 30, 30, 0.2, 13, 5.5), (-7.5, -13)),
    "soil": Material((132, 112, 80), (7.0, 9.0, 13, 18, 20, 21.5, 23, 25, 27, 27, 0.2, 36, 31), (-13, -21.5)),
    "sand": Material((214, 196, 158), (16, 20, 27, 33, 35, 37, 38, 40, 41, 40, 0.3, 46, 42), (-17, -26)),
    "asphalt": Material((96, 97, 99), (7, 8, 9, 10, 10.5, 11, 11.5, 12, 12.5, 12, 0.2, 14, 13), (-19, -27)),
    "concrete": Material((168, 166, 160), (17, 20, 23, 25, 26, 26.5, 27, 27.5, 28, 27.5, 0.3, 30, 28), (-15, -24)),
    "court": Material((110, 112, 106), (10, 12, 14, 15, 16, 17, 18, 20, 21, 20, 0.2, 22, 18), (-18, -26)),
    "paint": Material((232, 232, 228), (30, 34, 36, 37, 37, 38, 38, 38, 38, 37, 0.3, 32, 28), (-18, -26)),
    "roof": Material((132, 112, 98), (10, 12, 14, 16, 17, 18, 19, 20, 21, 20, 0.2, 25, 23), (-7, -15)),
    "metal": Material((170, 170, 168), (24, 26, 27, 28, 28, 28, 28, 28, 28, 27, 0.3, 25, 22), (-3, -11)),
}
NAMES = tuple(MATERIALS)


def colours() -> np.ndarray:
    """Return each material's colour, float32 ``(m, 3)``, 0 to 255, in the order of :data:`NAMES`."""
    return np.array([material.colour for material in MATERIALS.values()], np.float32)


def reflectances() -> np.ndarray:
    """Return each material's reflectance, float32 ``(m, 13)``, 0 to 1, in the order of :data:`NAMES`.

    Example:
        >>> red, near_infrared = reflectances()[NAMES.index("forest"), [3, 7]]
        >>> bool((near_infrared - red) / (near_infrared + red) > 0.8)
        True
    """
    return np.array([material.reflectance for material in MATERIALS.values()], np.float32) / 100


def backscatters() -> np.ndarray:
    """Return each material's backscatter as power, float32 ``(m, 2)`` for VV and VH, in the order of :data:`NAMES`."""
    decibels = np.array([material.backscatter for material in MATERIALS.values()], np.float32)
    return np.power(10, decibels / 10, dtype=np.float32)
