from collections import Counter

import numpy as np
import pytest

from eotune.selection.result import Columns
from eotune.selection.strategies import by_name


def chosen(images, total, *, seed=0, available=None, **settings):
    images = np.array(images)
    available = np.ones(len(images), bool) if available is None else np.array(available)
    columns = Columns(np.arange(len(images)), available, images=images, clusters=np.zeros(len(images), np.int64))
    return by_name.create({"name": "image_balanced", **settings}).choose(columns, total, seed).kept


@pytest.mark.parametrize("quota", ["global", "proportional"])
@pytest.mark.parametrize("total", [1, 4, 5, 9, 11])
def test_no_image_is_ahead_of_another_that_has_samples_left(total, quota):
    images = [0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 3, 3]
    kept = Counter(np.array(images)[chosen(images, total, quota=quota)].tolist())
    size = Counter(images)
    assert sum(kept.values()) == total
    for first in size:
        for second in size:
            assert kept[first] <= kept[second] + 1 or kept[second] == size[second]


def test_which_sample_of_an_image_is_drawn_by_the_seed():
    first = [int(np.flatnonzero(chosen([0, 0, 0, 0], 1, seed=seed))[0]) for seed in range(40)]
    assert set(first) == {0, 1, 2, 3}


def test_which_image_has_a_second_sample_is_drawn_too():
    extra = [Counter(np.array([0, 0, 1, 1])[chosen([0, 0, 1, 1], 3, seed=seed)].tolist())[0] for seed in range(40)]
    assert set(extra) == {1, 2}


def test_samples_without_an_image_have_no_second_turn():
    kept = chosen([-1, -1, -1, 0, 0, 0, 0], 4)
    assert kept[:3].all()
    assert kept.sum() == 4


def test_what_is_not_available_takes_no_turn():
    kept = chosen([0, 0, 1, 1], 2, available=[False, True, True, True])
    assert kept.tolist()[1] is True
    assert kept[2:].sum() == 1
