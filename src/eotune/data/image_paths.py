"""Where the images that a file names lie, and what is wrong with a name that leads to none of them."""

import os
import posixpath
import stat
from collections.abc import Sequence
from pathlib import Path

from eotune.core.errors import InputError, shown

PROBES = 32  # names looked up to find the folder of the images


def image_root(folder: Path, names: Sequence[str], images: Path | None) -> Path:
    """Return the folder that the names in a file are relative to.

    Args:
        folder: Where the file lies.
        names: Of images in it; the first 32 are looked up.
        images: What the user says. If nothing, it is ``folder``, or its ``images`` folder where more of the names are
            found there.

    Raises:
        InputError: ``images`` is no folder.
    """
    if images is not None:
        if not Path(images).is_dir():
            raise InputError(f"{images}: no such folder of images", remedy="check the path")
        return Path(images)
    beside = folder / "images"
    found = {root: sum(_is_file(root / name) for name in names[:PROBES]) for root in (folder, beside)}
    return beside if found[beside] > found[folder] else folder


def misplaced(image: str, root: Path) -> str | None:
    """Return what is wrong with a name as it is written, or None where it stays under ``root``.

    Example:
        >>> misplaced("a/b.png", Path("data")) is None
        True
        >>> misplaced("../b.png", Path("data")).split(";")[0]
        "image '../b.png' leads out of the image folder data"
    """
    normal = posixpath.normpath(image)
    if posixpath.isabs(normal) or normal == ".." or normal.startswith("../"):
        return (
            f"image {shown(image)} leads out of the image folder {root}; "
            "write it relative to that folder, or name another folder"
        )
    if "\0" in image or _unencodable(image):
        return f"image {shown(image)} is not a possible file name; rename it"
    return None


class ImageFolder:
    """The files under a root; each folder's real place is looked up once: 10^5 images take less than a second.

    Args:
        root: The folder of the images.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._real_root = os.path.realpath(root)
        self._folders: dict[str, str] = {}

    def missing(self, image: str) -> str | None:
        """Return what is wrong where ``image`` is no file under the root, or a link that leads out of it."""
        folder, name = os.path.split(self._root / image)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        target = _resolved(self._folders[folder], name)
        if target is None:
            return f"image {shown(image)}: no such file in {self._root}"
        if os.path.commonpath([self._real_root, target]) != self._real_root:
            return f"image {shown(image)} is a link out of the image folder, to {target}"
        return None


def _resolved(folder: str, name: str) -> str | None:
    """Return the real path of a regular file, or None where there is none."""
    target = os.path.join(folder, name)  # noqa: PTH118 - strings, for speed
    try:
        mode = os.lstat(target).st_mode
        if stat.S_ISLNK(mode):
            target = os.path.realpath(target)
            mode = os.stat(target).st_mode  # noqa: PTH116
    except OSError:
        return None
    return target if stat.S_ISREG(mode) else None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _unencodable(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return True
    return False
