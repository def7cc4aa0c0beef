"""One overhead scene as a pure function of (class, seed): picture, materials, captions, class, oriented boxes."""

from dataclasses import dataclass, field

import numpy as np

from eotune.core.lookup import unknown_name
from eotune.core.seeds import generator
from eotune.data.scenes.canvas import SUPERSAMPLING
from eotune.data.scenes.materials import NAMES
from eotune.data.scenes.painter import Facts, Painter
from eotune.data.scenes.places import PLACES
from eotune.data.scenes.words import captions

CLASSES = tuple(PLACES)


@dataclass(frozen=True)
class SceneBox:
    """One object.

    Attributes:
        label: As DOTA names it.
        corners: ``(4, 2)`` float32, pixels, clockwise.
    """

    label: str
    corners: np.ndarray


@dataclass(frozen=True)
class Scene:
    """One rendered scene.

    Attributes:
        image: uint8 ``(size, size, 3)``.
        label: Its class.
        seed: What it was rendered from.
        captions: Five.
        boxes: Its objects.
        facts: What its captions tell.
        fine_materials: uint8 ``(3 size, 3 size)``, positions in ``materials.NAMES``.
        heights: float32 ``(size, size)``, above ground, in units of the side.
    """

    image: np.ndarray
    label: str
    seed: int
    captions: tuple[str, ...]
    boxes: tuple[SceneBox, ...]
    facts: Facts = field(repr=False)
    fine_materials: np.ndarray = field(repr=False)
    heights: np.ndarray = field(repr=False)

    @property
    def size(self) -> int:
        """Side in pixels."""
        return len(self.image)

    def fractions(self) -> np.ndarray:
        """Return the share of each material in each pixel, float32 ``(m, size, size)``; shares of a pixel sum to 1."""
        pixels = np.arange(self.size**2).reshape(self.size, self.size).repeat(SUPERSAMPLING, 0).repeat(SUPERSAMPLING, 1)
        places = pixels * len(NAMES) + self.fine_materials
        counts = np.bincount(places.ravel(), minlength=self.size**2 * len(NAMES)).reshape(self.size, self.size, -1)
        return np.ascontiguousarray(counts.transpose(2, 0, 1), np.float32) / np.float32(SUPERSAMPLING**2)

    def materials(self) -> np.ndarray:
        """Return the largest material of each pixel, uint8 ``(size, size)``, as a position in ``NAMES``."""
        return self.fractions().argmax(0).astype(np.uint8)


def render(label: str, seed: int, *, size: int = 96) -> Scene:
    """Render a scene; the same (label, seed) always shows the same place, whatever the size.

    Args:
        label: One of :data:`CLASSES`.
        seed: Chooses the place.
        size: Side in pixels.

    Raises:
        InputError: The class is not known.

    Example:
        >>> scene = render("Airport", 0, size=32)
        >>> scene.image.shape, len(scene.captions)
        ((32, 32, 3), 5)
    """
    if label not in PLACES:
        raise unknown_name("scene class", label, CLASSES)
    painter = Painter(size, label, seed)
    facts = PLACES[label](painter)
    return Scene(
        image=painter.canvas.finished(),
        label=label,
        seed=seed,
        captions=captions(label, facts, generator("words", label, seed)),
        boxes=tuple(SceneBox(name, np.array(corners, np.float32) * size) for name, corners in painter.objects),
        facts=facts,
        fine_materials=painter.canvas.materials(),
        heights=painter.canvas.heights(),
    )
