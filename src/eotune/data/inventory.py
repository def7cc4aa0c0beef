"""What of a captioned set is compared with others: fingerprints of its images, its captions, its footprints."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eotune.core.errors import InputError
from eotune.core.progress import progress
from eotune.data.bands import BandConfig
from eotune.data.captions import CaptionSet
from eotune.data.duplicates import Fingerprint, fingerprint, normalised_caption
from eotune.data.footprints import footprint
from eotune.data.images import read_image


@dataclass(frozen=True)
class Inventory:
    """A set, taken stock of. All tuples are in the order of its samples.

    Attributes:
        captions: The set.
        fingerprints: Of each image; None where it cannot be read.
        texts: The normalised captions of each image, repeats kept.
        footprints: Where each image lies; None where it does not say.
        problems: One line for each image that cannot be read.
    """

    captions: CaptionSet
    fingerprints: tuple[Fingerprint | None, ...]
    texts: tuple[tuple[str, ...], ...]
    footprints: tuple[Any | None, ...]
    problems: tuple[str, ...]

    def subset(self, indices: Sequence[int]) -> "Inventory":
        """Return the samples at these positions; the problems stay with the whole."""
        return Inventory(
            captions=self.captions.subset(indices),
            fingerprints=tuple(self.fingerprints[index] for index in indices),
            texts=tuple(self.texts[index] for index in indices),
            footprints=tuple(self.footprints[index] for index in indices),
            problems=(),
        )

    def pixels(self) -> tuple[bytes | None, ...]:
        """Return the digest of each image's pixels: equal exactly where they are. None for one that cannot be read."""
        return tuple(None if one is None else one.pixels for one in self.fingerprints)


def take_inventory(
    captions: CaptionSet, *, bands: BandConfig | None = None, with_footprints: bool = False
) -> Inventory:
    """Decode every image of a set once, in parallel, and keep what comparisons need.

    Args:
        captions: The set.
        bands: How rasters become RGB.
        with_footprints: Also find where images lie.
    """

    def examine(path: Path) -> tuple[Fingerprint | None, Any | None, str | None]:
        try:
            taken = fingerprint(read_image(path, bands))
            return taken, footprint(path) if with_footprints else None, None
        except InputError as error:
            return None, None, str(error)

    results = _in_parallel(examine, captions.paths(), f"reading {captions.source.stem}")
    return Inventory(
        captions=captions,
        fingerprints=tuple(taken for taken, _, _ in results),
        texts=tuple(tuple(map(normalised_caption, sample.captions)) for sample in captions.samples),
        footprints=tuple(outline for _, outline, _ in results),
        problems=tuple(problem for _, _, problem in results if problem is not None),
    )


def _in_parallel(
    function: Callable[[Path], tuple[Fingerprint | None, Any | None, str | None]], paths: list[Path], description: str
) -> list[tuple[Fingerprint | None, Any | None, str | None]]:
    executor = ThreadPoolExecutor(min(16, os.cpu_count() or 1))
    try:
        return list(progress(executor.map(function, paths), total=len(paths), description=description))
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
