import json

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from eotune.core.errors import InputError
from eotune.data.chips import cut_chips
from eotune.data.scenes import write_dataset
from eotune.tasks.long_tail import LongTailConfig, read_data


@pytest.fixture
def folder(tmp_path):
    for name in ("Forest", "Beach", "Port"):
        (tmp_path / name).mkdir()
        for number in range(30):
            Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / name / f"{number:02}.png")
    return tmp_path


def config(folder, **settings):
    values = {"name": "long_tail", "train": {"path": str(folder)}, "validation": 5, "test": 10, **settings}
    return LongTailConfig.model_validate(values)


def test_splits_share_no_image_and_the_test_is_the_same_for_every_seed(folder):
    first, second = (read_data(config(folder, imbalance_ratio=5), seed) for seed in (0, 1))
    for data in (first, second):
        sets = [set(part.images) for part in (data.train, data.validation, data.test)]
        assert sum(map(len, sets)) == len(set.union(*sets))
        assert sorted(data.train.counts().tolist()) == [3, 7, 15]
        assert data.validation.counts().tolist() == [5] * 3
        assert data.test.counts().tolist() == [10] * 3
    assert first.test.images == second.test.images
    assert first.validation.images == second.validation.images
    orders = {tuple(read_data(config(folder, imbalance_ratio=5), seed).train.counts()) for seed in range(12)}
    assert len(orders) > 1  # the order of the classes is drawn anew


def test_a_share_is_held_out_of_each_class(folder):
    data = read_data(config(folder, validation=0.2), 0)
    assert data.validation.counts().tolist() == [4] * 3
    assert data.train.counts().tolist() == [16] * 3


def test_an_order_of_classes_can_be_given(folder):
    data = read_data(config(folder, imbalance_ratio=5, class_order=["Port", "Beach", "Forest"]), 3)
    assert dict(zip(data.train.classes, data.train.counts().tolist(), strict=True)) == {
        "Port": 15,
        "Beach": 7,
        "Forest": 3,
    }
    assert {name: [data.train.classes[one] for one in group] for name, group in data.groups.items()} == {
        "head": ["Port"], "middle": ["Beach"], "tail": ["Forest"],
    }  # fmt: skip


def test_more_cannot_be_held_out_than_there_is(folder):
    with pytest.raises(InputError, match=r"hold out 30 of 'Beach' \(30\), .*; hold out fewer"):
        read_data(config(folder, test=30), 0)
    with pytest.raises(InputError, match=r"does not name each class .* once; the classes are Beach, Forest, Port"):
        read_data(config(folder, imbalance_ratio=5, class_order=["Port"]), 0)
    for image in sorted((folder / "Port").iterdir())[1:]:
        image.unlink()
    with pytest.raises(InputError, match=r"hold out 1 of 'Port' \(1\); give a set of its own"):
        read_data(config(folder, validation=0.01, test={"path": str(folder)}), 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation": 1.5}, "a share between 0 and 1, got 1.5"),
        ({"test": 0}, "at least one image of each class"),
        ({"validation": True}, "images of each class, or a file with its split; got true"),
        ({"test": False}, "images of each class, or a file with its split; got false"),
        ({"largest": 3}, "largest and class_order belong to imbalance_ratio"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(folder, settings, message):
    with pytest.raises(ValidationError, match=message):
        config(folder, **settings)


def test_groups_follow_the_training_counts(folder):
    data = read_data(config(folder, imbalance_ratio=5, groups={"by": "counts", "head": 10, "tail": 5}), 0)
    counts = data.train.counts()
    assert {name: counts[group].tolist() for name, group in data.groups.items()} == {
        "head": [15], "middle": [7], "tail": [3],
    }  # fmt: skip
    assert np.concatenate(list(data.groups.values())).size == 3


def test_a_group_without_classes_is_left_out(folder):
    data = read_data(config(folder, imbalance_ratio=5, groups={"by": "counts", "head": 10, "tail": 1}), 0)
    assert list(data.groups) == ["head", "middle"]


def test_chips_of_one_image_are_held_out_together(tmp_path):
    data = write_dataset(tmp_path / "scenes", {"train": 8}, classes=("Harbour", "Parking"), size=64).parent
    chips = cut_chips(data / "images", data / "labelTxt", tmp_path / "chips").path
    sources = {row["image"]: row["source"] for row in map(json.loads, chips.read_text().splitlines())}
    splits = read_data(config(tmp_path, train={"path": str(chips)}, validation=0.2, test=2), 0)
    parts = [{sources[image] for image in part.images} for part in (splits.train, splits.validation, splits.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(set(sources.values()))
    assert all(part.counts().all() for part in (splits.train, splits.validation, splits.test))


def test_a_class_of_one_source_cannot_be_divided(folder):
    images = [f"{name}/{number:02}.png" for name in ("Forest", "Beach") for number in range(30)]
    rows = [{"image": one, "label": one.split("/")[0], "source": "P0"} for one in images]
    for number, row in enumerate(rows[:30]):
        row["source"] = f"P{number % 7}"
    file = folder / "labels.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(
        InputError, match=r"of the sources of class 'Beach' \(1\) none can be held out .*'source' out of"
    ):
        read_data(config(folder, train={"path": str(file)}), 0)
