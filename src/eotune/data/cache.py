"""Images decoded once and kept as uint8 where memory allows: training must not wait for decoders."""

import copy
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np

from eotune.core.errors import InputError
from eotune.core.progress import progress
from eotune.data.captions import listed_error
from eotune.data.images import BandConfig, read_image

_MEMORY_SHARE = 0.5  # of what is free: the model, its gradients and the workers want the rest


class ImageReader(Protocol):
    """Reads an image as uint8 ``(h, w, c)``."""

    def __call__(self, path: Path, *, max_side: int | None = None) -> np.ndarray:
        """Read it, scaled down so that the shorter side has at most ``max_side`` pixels."""


class ImageCache:
    """Images by position, decoded at first use and kept while they fit.

    What does not fit is decoded each time, so results never depend on the limit.

    Args:
        paths: The images.
        bands: How rasters become RGB.
        max_side: Keep images scaled down so that the shorter side has at most this many pixels; None keeps them as
            they are. Twice the model's size loses nothing that a training crop could show.
        memory_limit_bytes: How much to keep; None for half of the memory that is free now.
        read: What reads an image instead of :func:`~eotune.data.images.read_image`, to uint8 ``(h, w, c)`` with any c;
            it gets the path and ``max_side``, and goes to worker processes with the cache.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> file = Path(tempfile.mkdtemp()) / "a.png"
        >>> Image.new("RGB", (30, 20)).save(file)
        >>> cache = ImageCache([file], max_side=10)
        >>> cache[0].shape
        (10, 15, 3)
    """

    def __init__(
        self,
        paths: Sequence[Path],
        bands: BandConfig | None = None,
        max_side: int | None = None,
        memory_limit_bytes: int | None = None,
        read: ImageReader | None = None,
    ) -> None:
        self.paths = tuple(Path(path) for path in paths)
        self.bands = bands
        self.read = read
        self.max_side = max_side
        self.memory_limit_bytes = (
            int(free_memory() * _MEMORY_SHARE) if memory_limit_bytes is None else memory_limit_bytes
        )
        self._kept = _Kept()

    def over(self, paths: Sequence[Path]) -> "ImageCache":
        """Return a cache of other images that shares with this one what is decoded, and the limit.

        Example:
            >>> cache = ImageCache([])
            >>> len(cache.over([Path("a.png"), Path("b.png")]))
            2
        """
        other = copy.copy(self)
        other.paths = tuple(Path(path) for path in paths)
        return other

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return image ``index`` as uint8 ``(h, w, 3)``, RGB, or as ``read`` gives it; not to be written to.

        Raises:
            InputError: It cannot be read.
        """
        kept = self._kept.images.get(self.paths[index])
        if kept is not None:
            return kept
        image = self._read(index)
        self._keep(index, image)
        return image

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    @property
    def kept(self) -> int:
        """The number of its images held in memory."""
        return sum(path in self._kept.images for path in self.paths)

    @property
    def kept_bytes(self) -> int:
        """What is held in memory, the images of caches made by :meth:`over` included."""
        return self._kept.bytes

    def fill(self, *, description: str = "decoding images", threads: int | None = None) -> None:
        """Decode every image once, in parallel, and keep those that fit, the first ones first.

        Raises:
            InputError: Some cannot be read; the message lists the first ten and their number.
        """
        threads = threads or min(16, os.cpu_count() or 1)
        problems: list[str] = []
        executor = ThreadPoolExecutor(threads)
        try:
            results = executor.map(self._attempt, range(len(self)))
            for index, result in enumerate(progress(results, total=len(self), description=description)):
                if isinstance(result, InputError):
                    problems.append(str(result))
                else:
                    self._keep(index, result)
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
        if problems:
            raise listed_error("images", problems, remedy="`eotune check` lists every bad file of a data set")

    def _read(self, index: int) -> np.ndarray:
        path, max_side = self.paths[index], self.max_side
        image = self.read(path, max_side=max_side) if self.read else read_image(path, self.bands, max_side=max_side)
        image.flags.writeable = False  # it is handed out again and again
        return image

    def _attempt(self, index: int) -> np.ndarray | InputError:
        kept = self._kept.images.get(self.paths[index])
        if kept is not None:
            return kept
        try:
            return self._read(index)
        except InputError as error:
            return error

    def _keep(self, index: int, image: np.ndarray) -> None:
        self._kept.add(self.paths[index], image, self.memory_limit_bytes)


class _Kept:
    """Decoded images by path."""

    def __init__(self) -> None:
        self.images: dict[Path, np.ndarray] = {}
        self.bytes = 0
        self._lock = threading.Lock()

    def add(self, path: Path, image: np.ndarray, limit: int) -> None:
        with self._lock:
            if path not in self.images and self.bytes + image.nbytes <= limit:
                self.images[path] = image
                self.bytes += image.nbytes

    def __getstate__(self) -> dict[str, object]:
        """Go to another process without the lock."""
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()


def free_memory() -> int:
    """Return the bytes of memory that this process may still take, as the system or its container says.

    Example:
        >>> free_memory() > 0
        True
    """
    candidates = [_free_of_container(), _free_of_linux()]
    known = [value for value in candidates if value is not None]
    if known:
        return max(1, min(known))
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)  # macOS says no more than the total


def _free_of_linux() -> int | None:
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    value = fields.get("MemAvailable", "").split()
    return int(value[0]) * 1024 if value else None


def _free_of_container() -> int | None:
    """Return what is left under the memory limit of the control group, version 2 or 1; None without a limit."""
    group = Path("/sys/fs/cgroup")
    for limit, used, cached in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        try:
            total, current = (group / limit).read_text().strip(), int((group / used).read_text())
            stat = dict(line.split() for line in (group / cached).read_text().splitlines())
        except (OSError, ValueError):
            continue
        if total.isdigit():
            reclaimable = int(stat.get("inactive_file", stat.get("total_inactive_file", 0)))
            return max(0, int(total) - current + reclaimable)
    return None
