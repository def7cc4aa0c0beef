"""Synthetic scenes as a data set on disk, and as a contact sheet."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from eotune.core.errors import InputError
from eotune.core.files import write_text
from eotune.core.lookup import unknown_name
from eotune.core.progress import progress
from eotune.core.seeds import derive_seed
from eotune.data.scenes.dota import write_dota
from eotune.data.scenes.georeference import Georeference, write_geotiff
from eotune.data.scenes.multispectral import BANDS, multispectral
from eotune.data.scenes.radar import POLARISATIONS, sar
from eotune.data.scenes.render import CLASSES, Scene, render

Spectrum = Literal["rgb", "multispectral", "sar"]
SPECTRA = ("rgb", "multispectral", "sar")

# The figures in the documentation are of these; classes added since are asked for by name.
DEFAULT_CLASSES = tuple(label for label in CLASSES if label not in ("Junction", "River", "Runway"))


def write_dataset(
    directory: Path,
    per_class: Mapping[str, int],
    *,
    classes: Sequence[str] = DEFAULT_CLASSES,
    spectrum: Spectrum = "rgb",
    georeference: Georeference | None = None,
    seed: int = 0,
    size: int = 96,
) -> Path:
    """Write scenes as images, their captions and boxes as JSON Lines, and their boxes as DOTA label files.

    Args:
        directory: Gets ``images/<Class>/<name>.png`` (or ``.tif``), ``labelTxt/<name>.txt`` and ``captions.jsonl``.
        per_class: Split name to images a class.
        classes: Which; by default the ten of the demo, :data:`~eotune.data.scenes.CLASSES` for all.
        spectrum: ``rgb`` (8 bits), ``multispectral`` (13 bands, reflectance times 10,000, nodata 0) or ``sar`` (VV and
            VH, dB, nodata NaN).
        georeference: Where the first scene lies; the others lie beside it. None writes PNG for ``rgb``, and for the
            others GeoTIFF at a default place.
        seed: Of the whole set; no place occurs twice, and every spectrum shows the same ones.
        size: Side in pixels.

    Returns:
        The path of ``captions.jsonl``, whose rows have ``image``, ``captions``, ``split``, ``label``, and ``boxes``, a
        list of ``label`` and ``corners`` (four of x, y, in pixels).

    Raises:
        InputError: A class or spectrum is not known, or there is nothing to write.

    Example:
        >>> import tempfile
        >>> write_dataset(Path(tempfile.mkdtemp()), {"train": 1, "test": 1}, size=16).name
        'captions.jsonl'
    """
    if spectrum not in SPECTRA:
        raise unknown_name("spectrum", spectrum, SPECTRA)
    plan = [(split, label, n) for split, count in per_class.items() for label in classes for n in range(count)]
    if not plan:
        raise InputError(f"{directory}: no scene to write", remedy="ask for at least one class, split and image")
    origin = georeference if georeference is not None or spectrum == "rgb" else Georeference()
    suffix = "png" if origin is None else "tif"
    lines = []
    for index, (split, label, number) in enumerate(progress(plan, description="rendering scenes")):
        scene = render(label, derive_seed(seed, split, number) % 2**31, size=size)
        stem = f"{label.lower()}_{split}_{number}"
        name = f"images/{label}/{stem}.{suffix}"
        place = origin.tile(index, size) if origin is not None else None
        write_scene(directory / name, scene, spectrum=spectrum, georeference=place)
        sampling = place.ground_sampling if place is not None else None
        write_dota(directory / "labelTxt" / f"{stem}.txt", scene.boxes, ground_sampling=sampling)
        boxes = [{"label": box.label, "corners": box.corners.round(2).tolist()} for box in scene.boxes]
        row = {"image": name, "captions": scene.captions, "split": split, "label": label, "boxes": boxes}
        lines.append(json.dumps(row))
    write_text(directory / "captions.jsonl", "\n".join(lines) + "\n")
    return directory / "captions.jsonl"


def write_scene(
    path: Path, scene: Scene, *, spectrum: Spectrum = "rgb", georeference: Georeference | None = None
) -> None:
    """Write one scene's image: GeoTIFF, or for ``rgb`` without ``georeference`` whatever PIL makes of the suffix.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "a.tif"
        >>> write_scene(file, render("Beach", 0, size=16), spectrum="sar")
        >>> from eotune.data.images import read_bands
        >>> read_bands(file).shape
        (2, 16, 16)
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if spectrum == "rgb" and georeference is None:
        Image.fromarray(scene.image).save(path)
        return
    place = georeference or Georeference()
    if spectrum == "rgb":
        write_geotiff(path, scene.image.transpose(2, 0, 1), place, names=("red", "green", "blue"))
    elif spectrum == "multispectral":
        write_geotiff(path, multispectral(scene), place, names=BANDS, nodata=0)
    else:
        write_geotiff(path, sar(scene), place, names=POLARISATIONS, nodata=float("nan"))


def contact_sheet(pictures: Sequence[np.ndarray], *, columns: int = 5, gap: int = 4) -> Image.Image:
    """Return pictures of one size side by side.

    Args:
        pictures: uint8 ``(size, size, 3)`` each.
        columns: Pictures a row.
        gap: White pixels between them.

    Example:
        >>> contact_sheet([render("Forest", seed, size=16).image for seed in range(3)], columns=2).size
        (36, 36)
    """
    side = len(pictures[0])
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (side + gap) - gap, rows * (side + gap) - gap), "white")
    for index, picture in enumerate(pictures):
        sheet.paste(Image.fromarray(picture), (index % columns * (side + gap), index // columns * (side + gap)))
    return sheet
