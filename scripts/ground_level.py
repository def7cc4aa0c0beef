"""Synthetic ground-level pictures with captions: what the bundled `tiny` model is trained on.

Everything is seen from the side, under a horizon, so that overhead scenes are a real change of domain; the words
(colours, numbers, things, left and right) are those that overhead captions use too.
"""

import numpy as np
from PIL import Image, ImageDraw

from eotune.core.seeds import generator

COLOURS = {
    "white": (235, 235, 232), "red": (190, 52, 44), "blue": (52, 92, 170), "grey": (138, 140, 142),
    "brown": (128, 90, 60), "green": (70, 130, 74), "black": (40, 42, 46), "yellow": (214, 186, 70),
}  # fmt: skip
GROUNDS = {
    "green grass": (104, 140, 76), "brown ground": (132, 110, 80), "yellow sand": (216, 198, 156),
    "grey asphalt": (100, 101, 104), "blue water": (56, 96, 130), "a yellow field": (186, 170, 92),
}  # fmt: skip
NUMBERS = ("no", "one single", "two", "three", "four", "five", "six", "seven")
THINGS = ("plane", "ship", "car", "house", "tree", "storage tank", "ball", "tower")


def _thing(draw: ImageDraw.ImageDraw, kind: str, x: float, y: float, s: float, colour: tuple[int, int, int]) -> None:
    """Draw one thing of height about ``s`` standing at (x, y)."""
    dark = tuple(int(c * 0.6) for c in colour)
    if kind == "plane":
        draw.ellipse((x - s, y - 0.55 * s, x + s, y - 0.2 * s), fill=colour)
        draw.polygon([(x - s, y - 0.4 * s), (x - s, y - s), (x - 0.65 * s, y - 0.4 * s)], fill=dark)
        draw.polygon([(x - 0.2 * s, y - 0.35 * s), (x + 0.3 * s, y - 0.35 * s), (x - 0.3 * s, y)], fill=dark)
    elif kind == "ship":
        draw.polygon([(x - s, y - 0.4 * s), (x + s, y - 0.4 * s), (x + 0.7 * s, y), (x - 0.7 * s, y)], fill=colour)
        draw.rectangle((x - 0.35 * s, y - 0.8 * s, x + 0.25 * s, y - 0.4 * s), fill=(225, 220, 205))
    elif kind == "car":
        draw.rectangle((x - 0.8 * s, y - 0.5 * s, x + 0.8 * s, y - 0.15 * s), fill=colour)
        draw.polygon(
            [
                (x - 0.5 * s, y - 0.5 * s),
                (x - 0.3 * s, y - 0.8 * s),
                (x + 0.3 * s, y - 0.8 * s),
                (x + 0.5 * s, y - 0.5 * s),
            ],
            fill=dark,
        )
        for wheel in (-0.45, 0.45):
            draw.ellipse((x + (wheel - 0.18) * s, y - 0.3 * s, x + (wheel + 0.18) * s, y + 0.05 * s), fill=(25, 25, 25))
    elif kind == "house":
        draw.rectangle((x - 0.6 * s, y - 0.7 * s, x + 0.6 * s, y), fill=(214, 206, 190))
        draw.polygon([(x - 0.75 * s, y - 0.7 * s), (x, y - 1.2 * s), (x + 0.75 * s, y - 0.7 * s)], fill=colour)
        draw.rectangle((x - 0.12 * s, y - 0.4 * s, x + 0.12 * s, y), fill=dark)
    elif kind == "tree":
        draw.rectangle((x - 0.08 * s, y - 0.5 * s, x + 0.08 * s, y), fill=(96, 70, 48))
        draw.ellipse((x - 0.45 * s, y - 1.3 * s, x + 0.45 * s, y - 0.4 * s), fill=colour)
    elif kind == "storage tank":
        draw.rectangle((x - 0.55 * s, y - 0.9 * s, x + 0.55 * s, y), fill=colour)
        draw.ellipse((x - 0.55 * s, y - 1.05 * s, x + 0.55 * s, y - 0.75 * s), fill=dark)
    elif kind == "ball":
        draw.ellipse((x - 0.4 * s, y - 0.8 * s, x + 0.4 * s, y), fill=colour)
    else:
        draw.rectangle((x - 0.2 * s, y - 1.6 * s, x + 0.2 * s, y), fill=colour)
        draw.rectangle((x - 0.32 * s, y - 1.75 * s, x + 0.32 * s, y - 1.5 * s), fill=dark)


def picture(seed: int, *, size: int = 64) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return a picture, uint8 ``(size, size, 3)``, and captions from precise to vague, as a function of ``seed``."""
    rng = generator("ground level", seed)
    side = size * 3
    kind, colour, ground = (str(rng.choice(list(x))) for x in (THINGS, COLOURS, GROUNDS))
    count = int(rng.integers(1, 8))
    where = str(rng.choice(["left", "right", "middle"]))
    horizon = float(rng.uniform(0.35, 0.55))
    image = Image.new("RGB", (side, side), (150 + int(rng.integers(50)), 180 + int(rng.integers(40)), 225))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, horizon * side, side, side), fill=GROUNDS[ground])
    back = str(rng.choice(["trees", "houses", "nothing"]))
    for slot in range(6 if back != "nothing" else 0):
        paint = (58, 104, 62) if back == "trees" else (150, 84, 70)
        _thing(draw, back[:-1], (slot + 0.5) / 6 * side, horizon * side, 0.09 * side, paint)
    low, high = {"left": (0.08, 0.5), "right": (0.5, 0.92), "middle": (0.15, 0.85)}[where]
    spots = np.linspace(low, high, count) if count > 1 else np.array([(low + high) / 2])
    for x in spots:
        y = horizon + (1 - horizon) * float(rng.uniform(0.35, 0.95))
        _thing(draw, kind, float(x) * side, y * side, float(rng.uniform(0.08, 0.13)) * side, COLOURS[colour])
    small = np.asarray(image.resize((size, size), Image.Resampling.BOX)).astype(float)
    noisy = small + rng.normal(0, 4, small.shape)
    n, plural = NUMBERS[count], kind + ("es" if kind.endswith("s") else "s")
    behind = f"with {back} behind" if back != "nothing" else "with nothing else behind"
    captions = (
        f"{n} {colour} {plural} on {ground} {behind} .",
        f"{n} {colour} {plural} stand at the {where} .",
        f"{colour} {plural} on {ground} .",
        f"there are {n} {plural} {behind} .",
        f"some {colour} {plural} are near {back if back != 'nothing' else ground} .",
    )
    return noisy.clip(0, 255).astype(np.uint8), captions
