import numpy as np
import pytest
from shapely import MultiPolygon, box

from eotune.core.errors import InputError
from eotune.data.splits import hold_out_groups, overlapping_pairs, random_split, spatial_block_split, stratified_split


def everything(parts):
    return sorted(position for part in parts for position in part)


@pytest.mark.parametrize(("n", "sizes"), [(10, [7, 2, 1]), (1, [1, 0, 0]), (0, [0, 0, 0]), (1001, [701, 200, 100])])
def test_sizes_are_exact_and_all_items_stay(n, sizes):
    parts = random_split(n, (0.7, 0.2, 0.1), seed=0)
    assert [len(part) for part in parts] == sizes
    assert everything(parts) == list(range(n))


def test_the_seed_chooses():
    assert random_split(100, (0.5, 0.5), seed=1) == random_split(100, (0.5, 0.5), seed=1)
    assert random_split(100, (0.5, 0.5), seed=1) != random_split(100, (0.5, 0.5), seed=2)


def test_ids_are_split_the_same_in_any_order():
    ids = [f"image{i}" for i in range(50)]
    held = {ids[i] for i in random_split(ids, (0.8, 0.2), seed=3)[1]}
    reverse = ids[::-1]
    assert {reverse[i] for i in random_split(reverse, (0.8, 0.2), seed=3)[1]} == held
    more = ids + [f"new{i}" for i in range(5)]
    assert len({more[i] for i in random_split(more, (0.8, 0.2), seed=3)[1]} & held) >= 9


def test_groups_stay_together():
    groups = [f"scene{i // 7}" for i in range(700)]
    parts = random_split(700, (0.8, 0.2), seed=0, groups=groups)
    assert everything(parts) == list(range(700))
    assert not {groups[i] for i in parts[0]} & {groups[i] for i in parts[1]}
    assert 550 < len(parts[0]) < 570
    assert parts != random_split(700, (0.8, 0.2), seed=1, groups=groups)


def test_classes_keep_their_shares():
    labels = ["a"] * 50 + ["b"] * 30 + [f"rare{i}" for i in range(20)]
    train, test = stratified_split(100, labels, (0.8, 0.2), seed=0)
    assert everything((train, test)) == list(range(100))
    assert (len(train), len(test)) == (80, 20)
    assert sum(i < 50 for i in test) == 10
    assert sum(50 <= i < 80 for i in test) == 6


@pytest.mark.parametrize("fractions", [(), (0.5, 0.4), (1.5, -0.5), (float("nan"), 1)])
def test_fractions_must_be_shares(fractions):
    with pytest.raises(InputError, match="are not shares of 1"):
        random_split(10, fractions, seed=0)


def test_ids_and_keys_are_checked():
    with pytest.raises(InputError, match="1 of 3 ids repeat"):
        random_split(["a", "a", "b"], (1.0,), seed=0)
    with pytest.raises(InputError, match="2 labels for 3 items"):
        stratified_split(3, ["a", "b"], (1.0,), seed=0)


def grid(n=30, step=0.01, size=0.01, west=10.0, south=50.0):
    return [
        box(west + x * step, south + y * step, west + x * step + size, south + y * step + size)
        for x in range(n) for y in range(n)
    ]  # fmt: skip


def test_blocks_separate_neighbours():
    tiles = grid()
    train, test = spatial_block_split(tiles, (0.8, 0.2), seed=0, block_size_m=5000)
    assert everything((train, test)) == list(range(900))
    assert 0.15 < len(test) / 900 < 0.25
    chosen = np.zeros((30, 30), bool)
    chosen.flat[test] = True
    # A random split would set about 32 % of neighbours apart (2 * 0.8 * 0.2); blocks of 5 tiles do so at their edges.
    assert (chosen[1:] != chosen[:-1]).mean() < 0.15


def test_no_two_parts_share_ground():
    tiles = [*grid(), box(10.045, 50.045, 10.055, 50.055)]  # one that lies across a corner
    parts = spatial_block_split(tiles, (0.6, 0.4), seed=1, block_size_deg=0.05)
    part_of = {position: number for number, part in enumerate(parts) for position in part}
    assert all(part_of[one] == part_of[other] for one, other in overlapping_pairs(tiles))
    assert everything(parts) == list(range(901))


def test_windows_that_overlap_everywhere():
    tiles = grid(step=0.01, size=0.015)
    with pytest.raises(InputError, match="straddling='drop'"):
        spatial_block_split(tiles, (0.8, 0.2), seed=0, block_size_deg=0.1)
    train, test = spatial_block_split(tiles, (0.8, 0.2), seed=0, block_size_deg=0.1, straddling="drop")
    assert len(test) > 90
    assert 700 < len(train) + len(test) < 900
    pairs = set(overlapping_pairs([tiles[i] for i in (*train, *test)]))
    assert all((one < len(train)) == (other < len(train)) for one, other in pairs)


def test_blocks_at_the_antimeridian_and_at_a_pole():
    across = MultiPolygon([box(179.9, 0, 180, 0.1), box(-180, 0, -179.95, 0.1)])
    tiles = [across, box(179.8, 0, 179.9, 0.1), box(20, 0, 20.1, 0.1), box(-180, 89.9, 180, 90)]
    parts = spatial_block_split(tiles, (0.5, 0.5), seed=0, block_size_deg=1)
    assert everything(parts) == [0, 1, 2, 3]
    assert {0, 1} <= set(parts[0]) or {0, 1} <= set(parts[1])


def test_spatial_splits_need_footprints_and_one_size():
    with pytest.raises(InputError, match="1 of 2 images have no footprint"):
        spatial_block_split([box(0, 0, 1, 1), None], (0.5, 0.5), seed=0, block_size_deg=1)
    with pytest.raises(InputError, match="no block size, or two"):
        spatial_block_split([box(0, 0, 1, 1)], (1.0,), seed=0)
    with pytest.raises(InputError, match="block size 0"):
        spatial_block_split([box(0, 0, 1, 1)], (1.0,), seed=0, block_size_m=0)


def test_overlaps_equal_the_slow_comparison():
    rng = np.random.default_rng(0)
    polygons = [box(x, y, x + w, y + h) for x, y, w, h in rng.uniform(0.1, 3, (60, 4))]
    slow = [
        (i, j) for i in range(60) for j in range(i + 1, 60)
        if polygons[i].intersection(polygons[j]).area > 1e-6 * min(polygons[i].area, polygons[j].area)
    ]  # fmt: skip
    assert list(overlapping_pairs(polygons)) == slow


def objects(n_groups=300, seed=0):
    """Classes and sources of objects in large images: some hold hundreds of one class, the rare ones stand beside."""
    rng = np.random.default_rng(seed)
    labels, groups = [], []
    for group in range(n_groups):
        for label, often in enumerate((0.6, 0.3, 0.1, 0.03)):
            if rng.random() < often:
                number = int(rng.integers(1, (200, 30, 5, 3)[label]))
                labels += [label] * number
                groups += [f"P{group}"] * number
    return np.array(labels), groups


def test_whole_groups_are_held_out_near_the_wanted_numbers():
    labels, groups = objects()
    counts = np.bincount(labels)
    wanted = np.maximum(1, np.rint(0.1 * counts)).astype(int)
    held = hold_out_groups(labels, groups, wanted, seed=0)
    assert not {groups[i] for i in np.flatnonzero(held)} & {groups[i] for i in np.flatnonzero(~held)}
    found = np.bincount(labels[held], minlength=4)
    assert (np.abs(found - wanted) / wanted).max() <= 0.35
    np.testing.assert_array_equal(held, hold_out_groups(labels, groups, wanted, seed=0))
    assert not np.array_equal(held, hold_out_groups(labels, groups, wanted, seed=1))


def test_groups_of_one_item_meet_the_numbers_exactly():
    labels = np.repeat([0, 1, 2], [50, 20, 3])
    held = hold_out_groups(labels, list(range(73)), np.array([5, 2, 1]), seed=4)
    assert np.bincount(labels[held]).tolist() == [5, 2, 1]


def test_every_class_is_in_both_parts_where_groups_allow():
    labels = np.array([0] * 40 + [1, 1] + [0] * 40 + [1])
    groups = ["a"] * 42 + ["b"] * 41
    for seed in range(5):
        held = hold_out_groups(labels, groups, np.array([8, 1]), seed)
        assert {int(one) for one in labels[held]} == {int(one) for one in labels[~held]} == {0, 1}
    assert not hold_out_groups(labels, ["a"] * 83, np.array([8, 1]), 0).any()
