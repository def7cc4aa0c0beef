import io
import time

import numpy as np
import pytest
from PIL import Image

from eotune.data import duplicates
from eotune.data.duplicates import (
    equal_groups,
    fingerprint,
    near_caption_pairs,
    near_image_pairs,
    normalised_caption,
)


@pytest.fixture
def scene():
    """Overhead-like image, uint8 (150, 150, 3): patches with texture."""

    def build(seed):
        rng = np.random.default_rng(seed)
        patches = Image.fromarray(rng.integers(0, 220, (12, 12, 3), dtype=np.uint8))
        base = patches.resize((150, 150), Image.Resampling.NEAREST)
        fine = rng.integers(0, 30, (150, 150, 3))
        return np.clip(np.asarray(base) + fine, 0, 255).astype(np.uint8)

    return build


def jpeg(image, quality):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


CHANGES = {
    "recompressed": lambda image: jpeg(image, 30),
    "halved": lambda image: np.asarray(Image.fromarray(image).resize((75, 75), Image.Resampling.BICUBIC)),
    "enlarged": lambda image: np.asarray(Image.fromarray(image).resize((400, 400), Image.Resampling.BICUBIC)),
    "brightened": lambda image: np.clip(image * 1.2 + 10, 0, 255).astype(np.uint8),
    "cropped": lambda image: np.ascontiguousarray(image[1:-1, 1:-1]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_found_and_nothing_else(scene, change):
    images = [scene(seed) for seed in range(30)]
    copies = [CHANGES[change](image) for image in images[::3]]
    pairs = near_image_pairs([fingerprint(image) for image in images + copies])
    assert pairs == [(3 * number, 30 + number) for number in range(10)]


def test_rotated_and_mirrored_copies_are_other_images(scene):
    image = scene(0)
    others = [image, np.rot90(image), image[:, ::-1], image[::-1]]
    assert near_image_pairs([fingerprint(np.ascontiguousarray(other)) for other in others]) == []


def test_equal_images_are_not_near_and_are_compared_once(scene):
    items = [fingerprint(image) for image in (scene(0), scene(0), jpeg(scene(0), 50), jpeg(scene(0), 50))]
    assert near_image_pairs(items) == [(0, 2)]
    assert equal_groups(item.pixels for item in items) == [[0, 1], [2, 3]]
    assert near_image_pairs([]) == near_image_pairs(items[:2]) == []


def test_the_size_is_part_of_the_pixels():
    zeros = np.zeros((4, 6, 3), np.uint8)
    assert fingerprint(zeros).pixels != fingerprint(zeros.reshape(6, 4, 3)).pixels


def test_smooth_scenes_that_agree_broadly_are_told_apart():
    def beach(width, seed):
        image = np.full((150, 150, 3), 40.0)
        image[:, width:] = 200
        noise = np.random.default_rng(seed).normal(0, 6, image.shape)
        return np.clip(image + noise, 0, 255).astype(np.uint8)

    one, other = fingerprint(beach(70, 0)), fingerprint(beach(88, 1))
    assert float(one.broad.astype(float) @ other.broad.astype(float)) > 0.7
    assert near_image_pairs([one, other]) == []


def test_flat_images_are_compared_by_colour():
    def flat(colour, seed):
        noise = np.random.default_rng(seed).integers(0, 2, (40, 40, 3))
        return fingerprint((np.array(colour) + noise).astype(np.uint8))

    items = [flat((10, 60, 120), 0), flat((10, 60, 120), 1), flat((120, 60, 10), 2)]
    assert all(item.is_flat for item in items)
    assert near_image_pairs(items) == [(0, 1)]


def test_hash_pairs_equal_the_slow_comparison(monkeypatch):
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 90, dtype=np.uint64)
    hashes[40:] = hashes[:50] ^ (np.uint64(1) << rng.integers(0, 64, 50, dtype=np.uint64))
    slow = {
        (i, j) for i in range(90) for j in range(i + 1, 90)
        if bin(int(hashes[i]) ^ int(hashes[j])).count("1") <= 12
    }  # fmt: skip
    assert len(slow) >= 40
    for chunk in (64, 1000, 2**22):
        monkeypatch.setattr(duplicates, "_CHUNK", chunk)
        found = [
            pair
            for first, second in duplicates._hash_pairs(hashes, 12)
            for pair in zip(first.tolist(), second.tolist(), strict=True)
        ]
        assert len(found) == len(set(found))
        assert set(found) == slow


def test_ten_thousand_hashes_are_compared_within_seconds():
    hashes = np.random.default_rng(0).integers(0, 2**64, 10_000, dtype=np.uint64)
    started = time.process_time()
    assert sum(len(first) for first, _ in duplicates._hash_pairs(hashes, 6)) < 10
    assert time.process_time() - started < 5  # 0.3 s here


def test_what_does_not_change_a_caption():
    same = ["Two  white planes, parked .", "TWO WHITE PLANES\tPARKED!", "two ｗhite planes parked"]
    assert {normalised_caption(text) for text in same} == {"two white planes parked"}
    assert normalised_caption("三架飞机。") == "三架飞机"
    assert normalised_caption(" ... ") == "..."


@pytest.mark.parametrize("similarity", [0.6, 0.8, 1.0])
def test_near_captions_equal_the_slow_comparison(similarity):
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(25)]
    texts = sorted({" ".join(rng.choice(words, rng.integers(1, 9))) for _ in range(400)})

    def jaccard(a, b):
        a, b = set(a.split()), set(b.split())
        return len(a & b) / len(a | b)

    slow = [
        (i, j) for i in range(len(texts)) for j in range(i + 1, len(texts))
        if jaccard(texts[i], texts[j]) >= similarity - 1e-9
    ]  # fmt: skip
    assert slow
    assert near_caption_pairs(texts, min_similarity=similarity) == slow


def test_near_captions_of_nothing():
    assert near_caption_pairs([]) == near_caption_pairs(["a", "a", ""]) == []
