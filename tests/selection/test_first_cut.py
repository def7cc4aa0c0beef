import numpy as np
import pytest

from eotune.core.config import parse
from eotune.core.errors import InputError
from eotune.selection.first_cut import FirstCut, first_cut
from eotune.selection.result import Reason

CLUSTERS = np.array([0, 0, 0, 0, 1, 1, -1, -1])
KEYS = ["a", "b", "a", "c", "d", "e", "a", None]
VECTORS = np.array([[1, 0], [0, 1], [1, 0], [0.01, 1], [1, 1], [1, 1.01], [np.nan, 0], [np.nan, 0]])


def test_each_reason():
    cut = first_cut(CLUSTERS, np.arange(8), FirstCut(), keys=KEYS, vectors=VECTORS)
    assert [Reason(value).label for value in cut.reason] == [
        "kept", "kept", "exact-duplicate", "near-duplicate", "small-cluster", "near-duplicate", "unreadable",
        "unreadable",
    ]  # fmt: skip
    assert cut.stand_in.tolist() == [-1, -1, 0, 1, -1, 4, -1, -1]
    assert cut.available.tolist() == [True, True] + [False] * 6


def test_the_first_id_stays():
    cut = first_cut(CLUSTERS, np.arange(8)[::-1], FirstCut(smallest_cluster=1), keys=KEYS, vectors=VECTORS)
    assert np.flatnonzero(cut.available).tolist() == [2, 3, 5]


def test_nothing_to_compare():
    cut = first_cut(CLUSTERS, np.arange(8), FirstCut())
    assert cut.counts() == {"kept": 6, "unreadable": 2}
    untouched = first_cut(CLUSTERS, np.arange(8), FirstCut(near_duplicate=None), vectors=VECTORS)
    assert untouched.counts() == cut.counts()


def test_an_unreadable_sample_is_no_duplicate_of_another():
    cut = first_cut(np.array([-1, 0, 0]), np.arange(3), FirstCut(), keys=["a", "a", "b"])
    assert cut.counts() == {"kept": 2, "unreadable": 1}


@pytest.mark.parametrize("values", [{"near_duplicate": 0}, {"near_duplicate": 1.2}, {"smallest_cluster": 0}])
def test_wrong_settings(values):
    with pytest.raises(InputError, match="first_cut"):
        parse(FirstCut, values, prefix="first_cut")
