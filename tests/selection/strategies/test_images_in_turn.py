from collections import Counter

import numpy as np
import pytest

from eotune.core.errors import InputError
from eotune.selection.result import Columns
from eotune.selection.strategies import by_name


def strategy(name="random", **settings):
    return by_name.create({"name": name, "images_in_turn": True, **settings})


def chosen(images, total, *, seed=0, available=None, **settings):
    images = np.array(images)
    available = np.ones(len(images), bool) if available is None else np.array(available)
    columns = Columns(np.arange(len(images)), available, images=images, clusters=np.zeros(len(images), np.int64))
    return strategy(**settings).choose(columns, total, seed).kept


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


def test_of_every_image_the_highest_score_goes_first():
    score = np.array([0.1, 0.9, 0.5, 0.2, 0.3, np.nan], np.float32)
    columns = Columns(np.arange(6), np.ones(6, bool), images=np.array([0, 0, 0, 1, 1, 2]), perturbation=score)
    best = strategy("perturbation", quota="global")
    assert [np.flatnonzero(best.choose(columns, n, 0).kept).tolist() for n in (1, 2, 3, 4)] == [
        [1], [1, 4], [1, 2, 4], [1, 2, 3, 4],
    ]  # fmt: skip
    np.testing.assert_array_equal(best.choose(columns, 2, 0).score, score)  # what it went by is told as it is


def test_an_image_that_its_cluster_had_no_room_for_is_shown_by_another():
    score = np.array([5, 6, 1, 4], np.float32)  # the higher of cluster 0 is of image 1, and so is that of cluster 1
    clusters, images = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    columns = Columns(np.arange(4), np.ones(4, bool), clusters=clusters, images=images, perturbation=score)
    assert strategy("perturbation").choose(columns, 2, 0).kept.tolist() == [False, True, True, False]


@pytest.mark.parametrize("seed", range(20))
def test_rounds_go_by_score_where_there_is_room(seed):
    rng = np.random.default_rng(seed)
    score, ranks = rng.integers(5, size=30).astype(np.float32), rng.permutation(30)
    clusters, images = rng.integers(3, size=30), rng.integers(-1, 6, size=30)
    columns = Columns(ranks, rng.random(30) < 0.9, clusters=clusters, images=images, perturbation=score)
    kept = strategy("perturbation").choose(columns, 12, 0).kept
    plain = by_name.create({"name": "perturbation"}).choose(columns, 12, 0).kept
    assert np.bincount(clusters[kept], minlength=3).tolist() == np.bincount(clusters[plain], minlength=3).tolist()
    left = Counter(clusters[kept].tolist())
    taken: set[int] = set()
    for _ in range(30):  # by the definition, a sample at a time
        shown = set()
        for row in np.lexsort((ranks, -score)).tolist():
            is_open = columns.available[row] and row not in taken and left[clusters[row]]
            if is_open and images[row] not in shown:
                shown |= {images[row]} - {-1}
                left[clusters[row]] -= 1
                taken.add(row)
    assert set(np.flatnonzero(kept).tolist()) == taken


@pytest.mark.parametrize("name", ["random", "stratified", "perturbation", "similarity", "perplexity", "semdedup"])
def test_every_strategy_of_scores_can(name):
    assert "images" in strategy(name).needs
    with pytest.raises(InputError, match="needs the column 'images'"):
        strategy(name).choose(Columns(np.arange(2), np.ones(2, bool), **dict.fromkeys(("clusters", "perturbation",
            "similarity", "perplexity", "text_embeddings"), np.zeros(2))), 1, 0)  # fmt: skip
