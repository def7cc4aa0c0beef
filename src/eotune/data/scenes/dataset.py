"""Synthetic scenes as a data set on disk, and as a contact sheet."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from eotune.core.files import write_text
from eotune.core.progress import progress
from eotune.core.seeds import derive_seed
from eotune.data.scenes.render import CLASSES, Scene, render


def write_dataset(directory: Path, per_class: Mapping[str, int], *, seed: int = 0, size: int = 96) -> Path:
    """Write scenes as PNG and their captions as JSON Lines.

    Args:
        directory: Gets ``images/<Class>/<name>.png`` and ``captions.jsonl``.
        per_class: Split name to images a class.
        seed: Of the whole set; no place occurs twice.
        size: Side in pixels.

    Returns:
        The path of ``captions.jsonl``, whose rows have ``image``, ``captions``, ``split`` and ``label``.

    Example:
        >>> import tempfile
        >>> write_dataset(Path(tempfile.mkdtemp()), {"train": 1, "test": 1}, size=16).name
        'captions.jsonl'
    """
    plan = [(split, label, n) for split, count in per_class.items() for label in CLASSES for n in range(count)]
    lines = []
    for split, label, number in progress(plan, description="rendering scenes"):
        scene = render(label, derive_seed(seed, split, number) % 2**31, size=size)
        name = f"images/{label}/{label.lower()}_{split}_{number}.png"
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene.image).save(path)
        lines.append(json.dumps({"image": name, "captions": scene.captions, "split": split, "label": label}))
    write_text(directory / "captions.jsonl", "\n".join(lines) + "\n")
    return directory / "captions.jsonl"


def contact_sheet(scenes: Sequence[Scene], *, columns: int = 5, gap: int = 4) -> Image.Image:
    """Return the scenes' pictures side by side.

    Example:
        >>> contact_sheet([render("Forest", seed, size=16) for seed in range(3)], columns=2).size
        (36, 36)
    """
    side = scenes[0].image.shape[0]
    rows = -(-len(scenes) // columns)
    sheet = Image.new("RGB", (columns * (side + gap) - gap, rows * (side + gap) - gap), "white")
    for index, scene in enumerate(scenes):
        sheet.paste(Image.fromarray(scene.image), (index % columns * (side + gap), index // columns * (side + gap)))
    return sheet
