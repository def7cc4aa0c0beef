"""Images by file, by folder, by pattern."""

import glob
import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from eotune.core.errors import InputError, shown
from eotune.data.images import IMAGE_SUFFIXES

_WILDCARDS = frozenset("*?[")


def find_images(places: Sequence[str | Path]) -> list[Path]:
    """Return the images that are meant, each once, in the order in which they are named.

    Args:
        places: Files, whatever their suffix; folders, for every image below them that is not hidden, by name; patterns
            such as ``tiles/**/*.tif``, for every image and folder that they fit.

    Raises:
        InputError: A file or folder is not there or cannot be read, or a folder or pattern leads to no image.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("b.tif", "a.png", "notes.txt"):
        ...     (folder / name).touch()
        >>> [path.name for path in find_images([folder / "*.tif", folder])]
        ['b.tif', 'a.png']
    """
    if not places:
        raise InputError("no image is named", remedy="name files, folders or patterns such as 'tiles/*.tif'")
    first: dict[tuple[str, str], Path] = {}
    real = cache(os.path.realpath)
    for place in places:
        for path in _found(place):
            folder, name = os.path.split(path)  # a link and what it leads to are two images
            first.setdefault((real(folder), name), path)
    return list(first.values())


def _found(place: str | Path) -> list[Path]:
    path = Path(place)
    if _exists(path):
        found = list(_below(path)) if path.is_dir() else [path]
    elif _WILDCARDS & set(str(place)):
        matches = map(Path, sorted(glob.glob(str(place), recursive=True)))  # noqa: PTH207 - Path's knows no absolute ones
        found = [image for match in matches for image in (_below(match) if match.is_dir() else [match])]
        found = [image for image in found if _is_image(image.name)]
    else:
        raise InputError(f"{place}: no such image or folder", remedy="check the path")
    if not found:
        known = ", ".join(sorted(IMAGE_SUFFIXES))
        raise InputError(f"{place}: leads to no image", remedy=f"in folders and patterns, images end in {known}")
    return found


def _below(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(files) if not name.startswith(".") and _is_image(name))


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError) as error:  # a name too long for any file system, or one with a null byte
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{shown(str(path))}: cannot be looked up ({reason})", remedy="check the path") from None


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename}: cannot be read ({error.strerror})", remedy="check its permissions")
