"""Write docs/images/scenes*.png: three synthetic scenes of each class as a camera, a radar and Sentinel-2 see them.

python scripts/contact_sheet.py
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from eotune.data.scenes import BANDS, CLASSES, Scene, contact_sheet, multispectral, render, sar

FOLDER = Path(__file__).parents[1] / "docs" / "images"
SEEDS, SIZE, GAP, CLASSES_A_ROW = (0, 2, 4), 128, 4, 3
LIMIT = 400_000  # bytes a picture


def optical(scene: Scene) -> np.ndarray:
    return scene.image


def radar(scene: Scene) -> np.ndarray:
    """Show VV from -24 to 0 dB as 20 greys: more would only store speckle."""
    grey = ((sar(scene, polarisations=("VV",))[0] + 24) / 24).clip(0, 1)
    return np.repeat((np.rint(grey * 19) * 255 / 19).astype(np.uint8)[..., None], 3, axis=2)


def false_colour(scene: Scene) -> np.ndarray:
    """Show near infrared, red and green as red, green and blue: vegetation is red."""
    bands = multispectral(scene)[[BANDS.index(name) for name in ("B08", "B04", "B03")]].astype(np.float32)
    high = np.array([5200, 3600, 3600], np.float32)[:, None, None]
    return (255 * (bands / high).clip(0, 1) ** 0.8).astype(np.uint8).transpose(1, 2, 0)


SHEETS: dict[str, Callable[[Scene], np.ndarray]] = {
    "scenes.png": optical, "scenes_sar.png": radar, "scenes_multispectral.png": false_colour,
}  # fmt: skip


def labelled(sheet: Image.Image) -> Image.Image:
    """Write each class's name on the first of its pictures."""
    pen, step = ImageDraw.Draw(sheet), SIZE + GAP
    for index, label in enumerate(CLASSES):
        row, column = divmod(index, CLASSES_A_ROW)
        where = (column * len(SEEDS) * step + 4, row * step + 3)
        pen.rectangle((where[0] - 4, where[1] - 3, where[0] + pen.textlength(label) + 4, where[1] + 11), fill="white")
        pen.text(where, label, fill="black")
    return sheet


def main() -> None:
    scenes = [render(label, seed, size=SIZE) for label in CLASSES for seed in SEEDS]
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, view in SHEETS.items():
        sheet = contact_sheet([view(scene) for scene in scenes], columns=CLASSES_A_ROW * len(SEEDS), gap=GAP)
        target = FOLDER / name
        labelled(sheet).quantize(128).save(target, optimize=True)
        size = target.stat().st_size
        print(f"{target}: {size / 1000:.0f} kB")
        if size > LIMIT:
            raise SystemExit(f"{target} is larger than {LIMIT / 1000:.0f} kB")


if __name__ == "__main__":
    main()
