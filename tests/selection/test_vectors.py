import re
from pathlib import Path

import numpy as np
import pytest

from eotune.core.errors import InputError
from eotune.selection.vectors import blocks, members, read_rows, read_units, release, write_vectors


def test_a_memory_map_is_read_by_rows(tmp_path):
    values = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float16)
    values.tofile(tmp_path / "rows")
    mapped = np.memmap(tmp_path / "rows", np.float16, "r", shape=(20, 3))
    assert read_rows(mapped, np.array([1, 7])).tolist() == values[[1, 7]].tolist()
    assert np.allclose(np.linalg.norm(read_units(mapped, slice(3, 9)), axis=1), 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_row_is_named(bad):
    values = np.zeros((30, 2))
    values[[17, 20], 1] = bad
    with pytest.raises(InputError, match="2 of 20 embeddings hold NaN or infinity, the first at row 17"):
        read_rows(values, slice(10, 30))
    with pytest.raises(InputError, match="the first at row 20"):
        read_rows(values, np.array([3, 20]))


def test_huge_finite_values_pass():
    assert np.isfinite(read_rows(np.full((2, 2), 3e38), slice(None))).all()


def test_the_input_is_not_changed():
    values = np.full((2, 2), 2.0, np.float32)
    read_units(values, slice(None))
    assert (values == 2).all()


def test_zeros_stay_zeros():
    assert read_units(np.zeros((1, 2)), slice(None)).tolist() == [[0, 0]]


def test_members_of_nothing():
    assert list(members(np.array([], int))) == []
    assert list(members(np.array([-1, -1]))) == []
    kept = members(np.array([0, 0, 1]), np.array([False, True, False]))
    assert [(group, rows.tolist()) for group, rows in kept] == [(0, [1])]


def test_blocks_cover_all_rows():
    assert [index for part in blocks(10, 3) for index in range(10)[part]] == list(range(10))
    assert list(blocks(0)) == []


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads /proc")
def test_pages_of_a_map_are_given_back(tmp_path):
    def resident():
        return int(re.search(r"RssFile:\s+(\d+)", Path("/proc/self/status").read_text()).group(1)) / 1024

    np.zeros((40_000, 512), np.float16).tofile(tmp_path / "rows")  # 39 MiB
    mapped = np.memmap(tmp_path / "rows", np.float16, "r", shape=(40_000, 512))
    before = resident()
    assert mapped.sum() == 0
    assert resident() > before + 30
    release(mapped)
    assert resident() < before + 5
    assert mapped.sum() == 0
    release(np.zeros(3))  # an array has none


@pytest.mark.parametrize("n", [7, 10, 20_000])
def test_a_written_file_is_what_numpy_saves(tmp_path, n):
    values = np.random.default_rng(0).standard_normal((n, 3)).astype(np.float16)
    parts = [np.array([1, 3]), np.array([4]), np.arange(n - 1, n)]
    expected = np.full_like(values, np.nan)
    for rows in parts:
        expected[rows] = values[rows]
    assert write_vectors(tmp_path / "a.npy", ((rows, values[rows]) for rows in parts), n)
    np.save(tmp_path / "b.npy", expected)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_without_embeddings_nothing_is_written(tmp_path):
    assert not write_vectors(tmp_path / "a.npy", [], 3)
    assert not list(tmp_path.iterdir())
