import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eotune.core.errors import InputError
from eotune.selection.order import id_ranks


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20, unique=True))
@settings(deadline=None)
def test_numbers_go_by_value(ids):
    expected = [sorted(ids).index(value) for value in ids]
    assert id_ranks(ids).tolist() == expected
    assert id_ranks([str(value) for value in ids]).tolist() == expected


@given(st.lists(st.text("ab7/é", max_size=5), max_size=20, unique=True))
@settings(deadline=None)
def test_texts_go_by_their_bytes_unless_all_are_numbers(ids):
    key = (lambda text: (int(text), text)) if ids and all(text.isdecimal() for text in ids) else str.encode
    assert id_ranks(ids).tolist() == [sorted(ids, key=key).index(text) for text in ids]


def test_numpy_and_arrow_arrays():
    assert id_ranks(np.array(["b", "a"])).tolist() == [1, 0]
    assert id_ranks(np.array([3, 1])).tolist() == [1, 0]
    assert id_ranks(pa.chunked_array([["b"], ["a"]])).tolist() == [1, 0]
    assert id_ranks(["007", "7", "10"]).tolist() == [0, 1, 2]


@pytest.mark.parametrize(("ids", "match"), [(["b", "a", "b"], "'b' stands twice"), (["a", 1], "all be whole numbers")])
def test_wrong_ids(ids, match):
    with pytest.raises(InputError, match=match):
        id_ranks(ids)
