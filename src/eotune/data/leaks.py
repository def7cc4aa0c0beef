"""What two sets share: images and captions that a model was trained on and is then tested on."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from eotune.data.captions import CaptionSet
from eotune.data.duplicates import Fingerprint, near_image_pairs
from eotune.data.inventory import Inventory, take_inventory

LONG_CAPTION = 8  # words; shorter captions ("many trees are in a forest") coincide without being copied
_EXAMPLES = 5


@dataclass(frozen=True)
class LeakReport:
    """What of set b stands also in set a; with a trained on and b tested on, what flatters b's figures.

    Attributes:
        images: Number of images of b.
        shared_images: Images of b that stand in a pixel for pixel.
        near_images: Further images of b that look the same as one of a.
        shared_origins: Images of b that were cut from one that images of a were cut from too.
        shared_captions: Different captions, case and punctuation aside, in both.
        images_with_shared_caption: Images of b with at least one caption that stands in a.
        shared_long_captions: Likewise, captions of eight words and more only.
        images_with_shared_long_caption: Likewise.
        examples: A few of each kind, ``a's image = b's image`` or the caption.
    """

    images: int
    shared_images: int
    near_images: int
    shared_origins: int
    shared_captions: int
    images_with_shared_caption: int
    shared_long_captions: int
    images_with_shared_long_caption: int
    examples: dict[str, tuple[str, ...]]

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        examples = {kind: list(found) for kind, found in self.examples.items()}
        return {**self.__dict__, "examples": examples}


def leaks(a: CaptionSet | Inventory, b: CaptionSet | Inventory) -> LeakReport:
    """Find what of ``b`` stands also in ``a``.

    Args:
        a: What is trained on.
        b: What is tested on. Where a set takes part in several comparisons, hand over its inventory: images are then
            decoded once. Images that cannot be read are left out.
    """
    first = a if isinstance(a, Inventory) else take_inventory(a)
    second = b if isinstance(b, Inventory) else take_inventory(b)
    equal, near = shared_images(first, second)
    cut = shared_origins(first.captions, second.captions)
    texts = {text for captions in first.texts for text in captions}
    shared = [{text for text in captions if text in texts} for captions in second.texts]
    long = [{text for text in found if is_long(text)} for found in shared]
    return LeakReport(
        images=len(second.texts),
        shared_images=len({j for _, j in equal}),
        near_images=len({j for _, j in near}),
        shared_origins=len(cut),
        shared_captions=len(set().union(*shared)),
        images_with_shared_caption=sum(map(bool, shared)),
        shared_long_captions=len(set().union(*long)),
        images_with_shared_long_caption=sum(map(bool, long)),
        examples={
            "shared_images": _image_examples(first, second, equal),
            "near_images": _image_examples(first, second, near),
            "shared_origins": _image_examples(first, second, cut),
            "shared_long_captions": tuple(sorted(set().union(*long))[:_EXAMPLES]),
        },
    )


def shared_images(first: Inventory, second: Inventory) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return (i, j), image i of the first and j of the second, that are equal, and that are nearly so.

    Each image of the second stands at most once among the equal ones; one that has an equal is not among the near.
    """
    by_pixels: dict[bytes, int] = {}
    for position, item in enumerate(first.fingerprints):
        if item is not None:
            by_pixels.setdefault(item.pixels, position)
    positions: dict[bytes, list[int]] = defaultdict(list)
    equal, rest = [], []
    for position, item in enumerate(second.fingerprints):
        if item is None:
            continue
        if item.pixels in by_pixels:
            equal.append((by_pixels[item.pixels], position))
        else:
            positions[item.pixels].append(position)
            rest.append(item)
    pool: list[Fingerprint] = [item for item in first.fingerprints if item is not None] + rest
    near = []
    for i, j in near_image_pairs(pool):
        one, other = pool[i].pixels, pool[j].pixels
        if one in by_pixels and other in positions:  # both orders cannot be: the first set leads the pool
            near += [(by_pixels[one], position) for position in positions[other]]
    return equal, sorted(near)


def shared_origins(first: CaptionSet, second: CaptionSet) -> list[tuple[int, int]]:
    """Return (i, j) where image j of the second was cut from what image i of the first was; each j once.

    Sets that lie in different folders share nothing: their sources may have equal names, as DOTA's splits have.
    """
    if first.root != second.root:
        return []
    known: dict[str, int] = {}
    for position, sample in enumerate(first.samples):
        if sample.origin is not None:
            known.setdefault(sample.origin, position)
    found = ((known.get(sample.origin or ""), position) for position, sample in enumerate(second.samples))
    return [(i, j) for i, j in found if i is not None]


def is_long(text: str) -> bool:
    """Return whether a normalised caption has eight words or more.

    Example:
        >>> is_long("many green trees are in a forest")
        False
    """
    return len(text.split()) >= LONG_CAPTION


def _image_examples(first: Inventory, second: Inventory, pairs: Iterable[tuple[int, int]]) -> tuple[str, ...]:
    names = (first.captions.samples, second.captions.samples)
    return tuple(f"{names[0][i].image} = {names[1][j].image}" for i, j in list(pairs)[:_EXAMPLES])
