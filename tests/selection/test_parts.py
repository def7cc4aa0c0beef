import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from eotune.selection.parts import parts


@given(st.integers(0, 40), st.integers(1, 12), st.integers(0, 9))
@settings(deadline=None)
def test_every_row_is_in_one_part_in_the_order_given(n, size, seed):
    random = np.random.default_rng(seed)
    vectors, rows = random.standard_normal((50, 3)), random.permutation(50)[:n]
    found = list(parts(vectors, rows, size))
    assert sorted(np.concatenate([[], *found])) == sorted(rows)
    place = {row: number for number, row in enumerate(rows)}
    for part in found:
        assert 1 <= len(part) <= size
        assert [place[row] for row in part] == sorted(place[row] for row in part)


def test_parts_hold_neighbours():
    random = np.random.default_rng(0)
    vectors = np.eye(4)[np.arange(400) % 2] + 0.01 * random.standard_normal((400, 4))
    found = list(parts(vectors, random.permutation(400), 200))
    assert sorted(np.unique(part % 2).tolist() for part in found) == [[0], [1]]
