"""Images and captions that stand twice: equal after normalisation, or nearly so.

Near-duplicate images are found by a perceptual hash (dHash, 64 bits), compared for all pairs at once, and then verified
on small thumbnails. These must agree in their broad light and dark and, above all, in their detail: smooth scenes (two
beaches) agree broadly by chance. Recompressed, resized, brightened and slightly cropped copies are found, and pictures
of one place at two times; rotated and mirrored copies are not.

Near-duplicate captions share most of their words (Jaccard similarity of their word sets); an exact set-similarity join
with prefix filtering (Chaudhuri et al., ICDE 2006; Bayardo et al., WWW 2007) finds them all.
"""

import hashlib
import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

_WORDS = re.compile(r"\w+")
_SIDE = 32  # of the thumbnail that detail is compared on
_FLAT = 2.0  # grey levels: an image that deviates less from its mean shows nothing to correlate
_CHUNK = 2**22  # hashes compared at once: about 40 MB


@dataclass(frozen=True)
class Fingerprint:
    """What is kept of an image to compare it by: about three kilobytes.

    Attributes:
        pixels: SHA-256 of its size and pixels.
        hash: dHash: one bit for each of 8 x 8 places, whether the image gets brighter to the right there.
        broad: Its 16 x 16 grey thumbnail as a vector, mean 0 and length 1, float16.
        detail: What a blur takes away from its 32 x 32 thumbnail, likewise; zeros where ``is_flat``.
        colour: Its mean, RGB.
        is_flat: Whether it shows nothing but one colour.
        size: Its height and width.
    """

    pixels: bytes
    hash: int
    broad: np.ndarray
    detail: np.ndarray
    colour: np.ndarray
    is_flat: bool
    size: tuple[int, int]


def fingerprint(image: np.ndarray) -> Fingerprint:
    """Take the fingerprint of an RGB image, uint8 ``(h, w, 3)``.

    Example:
        >>> image = np.arange(30 * 40 * 3, dtype=np.uint8).reshape(30, 40, 3)
        >>> fingerprint(image).pixels == fingerprint(image.copy()).pixels
        True
    """
    picture = Image.fromarray(image)
    # BOX averages whole areas: noise and compression vanish.
    small = picture.resize((_SIDE, _SIDE), Image.Resampling.BOX)
    grey = small.convert("L")
    steps = np.asarray(picture.resize((9, 8), Image.Resampling.BOX).convert("L")).astype(np.int16)
    bits = np.packbits(steps[:, 1:] > steps[:, :-1])
    is_flat = bool(np.asarray(grey).std() < _FLAT)
    blurred = np.asarray(grey.filter(ImageFilter.BoxBlur(3))).astype(np.float32)
    return Fingerprint(
        pixels=pixel_digest(image),
        hash=0 if is_flat else int.from_bytes(bits.tobytes(), "big"),  # the bits of a flat image are noise
        broad=_unit(np.asarray(grey.reduce(2)).astype(np.float32), is_flat),
        detail=_unit(np.asarray(grey).astype(np.float32) - blurred, is_flat),
        colour=np.asarray(small).mean(axis=(0, 1), dtype=np.float32),
        is_flat=is_flat,
        size=(image.shape[0], image.shape[1]),
    )


def pixel_digest(image: np.ndarray) -> bytes:
    """Return the SHA-256 of an image's shape and pixels, uint8 ``(h, w, 3)``."""
    digest = hashlib.sha256(np.array(image.shape, np.int64).tobytes())
    digest.update(image.tobytes())
    return digest.digest()


def _unit(values: np.ndarray, is_flat: bool) -> np.ndarray:
    centred = (values - values.mean()).ravel()
    length = float(np.linalg.norm(centred))
    return (centred / length if length > 0 and not is_flat else np.zeros_like(centred)).astype(np.float16)


def equal_groups(keys: Iterable[Hashable]) -> list[list[int]]:
    """Return the positions of keys that occur more than once, a list for each such key.

    Example:
        >>> equal_groups(["a", "b", "a", "c", "b", "a"])
        [[0, 2, 5], [1, 4]]
    """
    positions: dict[Hashable, list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        positions[key].append(position)
    return [group for group in positions.values() if len(group) > 1]


def near_image_pairs(
    fingerprints: Sequence[Fingerprint],
    *,
    max_distance: int = 12,
    min_broad: float = 0.9,
    min_detail: float = 0.75,
) -> list[tuple[int, int]]:
    """Return the positions (i < j) of images that look the same but are not equal pixel for pixel.

    Of images that are equal only the first is compared.

    The defaults were set on AID: they find every copy that was saved as JPEG of quality 30, halved, brightened by a
    quarter or cropped by 2 % (and half of those cropped by 5 %), and of 14 million pairs of different files two, both
    of one place.

    Args:
        fingerprints: Of the images.
        max_distance: Hashes that differ in more of their 64 bits are not looked at again.
        min_broad: Least correlation of the broad light and dark of a pair.
        min_detail: Least correlation of its detail. Flat images must agree within two levels of colour instead.

    Example:
        >>> image = np.random.default_rng(0).integers(0, 200, (16, 16, 3), dtype=np.uint8)
        >>> image = np.asarray(Image.fromarray(image).resize((64, 64)))
        >>> near_image_pairs([fingerprint(image), fingerprint(image[::-1]), fingerprint(image + 9)])
        [(0, 2)]
    """
    firsts: dict[bytes, int] = {}
    for position, item in enumerate(fingerprints):
        firsts.setdefault(item.pixels, position)
    positions = list(firsts.values())
    if len(positions) < 2:
        return []
    chosen = [fingerprints[position] for position in positions]
    broad, detail, colour = (np.stack([getattr(f, name) for f in chosen]) for name in ("broad", "detail", "colour"))
    is_flat = np.array([item.is_flat for item in chosen])
    pairs: list[tuple[int, int]] = []
    for first, second in _hash_pairs(np.array([item.hash for item in chosen], np.uint64), max_distance):
        alike = _correlations(broad, first, second) >= min_broad
        first, second = first[alike | is_flat[first]], second[alike | is_flat[first]]
        alike = _correlations(detail, first, second) >= min_detail
        level = np.abs(colour[first] - colour[second]).max(axis=1) <= _FLAT
        same = np.where(is_flat[first], is_flat[second] & level, alike)
        pairs += zip(first[same].tolist(), second[same].tolist(), strict=True)
    return sorted((positions[i], positions[j]) for i, j in pairs)


def _correlations(vectors: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.einsum("nd,nd->n", vectors[first].astype(np.float32), vectors[second].astype(np.float32))


def _hash_pairs(hashes: np.ndarray, max_distance: int) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Yield (i, j) with i < j of 64-bit hashes within the distance, in pieces of bounded size."""
    n = len(hashes)
    start = 0
    while start < n - 1:
        stop = min(n - 1, start + max(1, _CHUNK // (n - start)))
        distance = np.bitwise_count(hashes[start:stop, None] ^ hashes[None, start:])
        first, second = np.nonzero(distance <= max_distance)
        upper = first < second
        first, second = first[upper] + start, second[upper] + start
        for piece in range(0, len(first), 2**14):
            yield first[piece : piece + 2**14], second[piece : piece + 2**14]
        start = stop


def normalised_caption(text: str) -> str:
    """Return a caption without what does not change its meaning: case, punctuation, spacing, Unicode variants.

    Example:
        >>> normalised_caption("Two  white planes, parked .") == normalised_caption("two white planes parked")
        True
    """
    words = _WORDS.findall(unicodedata.normalize("NFKC", text).casefold())
    return " ".join(words) if words else text.strip()


def near_caption_pairs(texts: Sequence[str], *, min_similarity: float = 0.8) -> list[tuple[int, int]]:
    """Return the positions (i < j) of different texts whose sets of words are nearly the same.

    Args:
        texts: Normalised captions.
        min_similarity: Jaccard similarity: words in both over words in either. 0.8 lets one word of nine be another.

    Example:
        >>> texts = ["many green trees are around a small pond", "many green trees are around the small pond",
        ...          "two planes are parked"]
        >>> near_caption_pairs(texts, min_similarity=0.7)
        [(0, 1)]
    """
    frequency = Counter(word for text in texts for word in set(text.split()))
    rank = {word: number for number, (word, _) in enumerate(sorted(frequency.items(), key=lambda item: item[::-1]))}
    # The rarest words come first. Texts that are similar enough share a word among the first few of both.
    sets = [sorted(rank[word] for word in set(text.split())) for text in texts]
    order = sorted(range(len(texts)), key=lambda position: len(sets[position]))
    words = [frozenset(numbers) for numbers in sets]
    index: dict[int, list[int]] = defaultdict(list)
    pairs = []
    for position in order:
        numbers = sets[position]
        size = len(numbers)
        least = math.ceil(min_similarity * size - 1e-9)
        prefix = numbers[: size - least + 1]
        candidates = {other for word in prefix for other in index[word] if len(sets[other]) >= least}
        own = words[position]
        for other in candidates:
            common = len(own & words[other])
            either = size + len(words[other]) - common
            if common >= min_similarity * either - 1e-9 and texts[other] != texts[position]:
                pairs.append((min(position, other), max(position, other)))
        for word in prefix:
            index[word].append(position)
    return sorted(pairs)
