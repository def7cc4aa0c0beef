import json
from dataclasses import replace

import pytest
from PIL import Image

from eotune.data.captions import read_captions
from eotune.data.inventory import take_inventory
from eotune.data.leaks import leaks

LONG = "many green trees are around a small pond number {} near the road"


@pytest.fixture
def two_sets(jsonl, tmp_path):
    """A set to train on, and one of 40 test images: 17 with a long caption of it, 6 more with a short one only."""
    train = jsonl(
        [{"image": f"{i}.png", "captions": [LONG.format(i), "a pond ."], "split": "train"} for i in range(30)],
        folder=tmp_path / "a", seed=1,
    )  # fmt: skip
    rows = []
    for i in range(40):
        captions = [f"an image of nothing but water {i}"] * 2
        if i < 17:
            captions.append(LONG.format(i % 12).upper().replace(" ", "  ") + " .")
        elif i < 23:
            captions.append("A pond")
        rows.append({"image": f"{i}.png", "captions": captions, "split": "test"})
    test = jsonl(rows, folder=tmp_path / "b", seed=2)
    return read_captions(train), read_captions(test)


def test_long_captions_of_one_set_in_another(two_sets):
    report = leaks(*two_sets)
    assert report.images == 40
    assert report.images_with_shared_long_caption == 17
    assert report.shared_long_captions == 12
    assert report.images_with_shared_caption == 23
    assert report.shared_captions == 13
    assert report.shared_images == report.near_images == 0
    assert report.examples["shared_long_captions"][0] == LONG.format(0)


def test_images_of_one_set_in_another(two_sets):
    train, test = two_sets
    for i in range(3):
        test.path(i).write_bytes(train.path(5).read_bytes())
    image = Image.open(train.path(6))
    image.resize((100, 100), Image.Resampling.BICUBIC).save(test.path(9))
    report = leaks(train, test)
    assert (report.shared_images, report.near_images) == (3, 1)
    assert report.examples["shared_images"] == ("5.png = 0.png", "5.png = 1.png", "5.png = 2.png")
    assert report.examples["near_images"] == ("6.png = 9.png",)
    assert leaks(take_inventory(train), take_inventory(test)) == report
    assert json.loads(json.dumps(report.to_dict()))["shared_images"] == 3


def test_images_cut_from_the_same_source(two_sets):
    train, test = two_sets
    cut = [replace(sample, origin=f"scene {i // 2}") for i, sample in enumerate(train.samples)]
    first = replace(train, samples=tuple(cut[:5]))  # scenes 0, 0, 1, 1, 2
    second = replace(train, samples=tuple(cut[5:9]))  # 2, 3, 3, 4
    report = leaks(first, second)
    assert report.shared_origins == 1
    assert report.examples["shared_origins"] == ("4.png = 5.png",)
    elsewhere = replace(test, samples=tuple(replace(sample, origin="scene 2") for sample in test.samples))
    assert leaks(first, elsewhere).shared_origins == 0  # another folder's scene 2 is another scene
    assert leaks(train, test).shared_origins == 0  # nothing says what it was cut from


def test_copies_of_a_near_image_all_count(two_sets):
    train, test = two_sets
    for i in (1, 2):
        Image.open(train.path(6)).resize((100, 100), Image.Resampling.BICUBIC).save(test.path(i))
    assert leaks(train, test).near_images == 2


def test_unreadable_images_are_left_out(two_sets):
    train, test = two_sets
    train.path(0).write_bytes(b"")
    test.path(0).unlink()
    assert leaks(train, test).shared_images == 0
