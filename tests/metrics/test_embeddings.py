import numpy as np
import pytest
import torch

from eotune.core.errors import InputError
from eotune.metrics.embeddings import caption_ids, distinct_rows, unit_rows, without_batch_noise


def test_rows_get_unit_length_once_and_keep_it_bit_for_bit() -> None:
    rows = torch.randn(200, 33, generator=torch.Generator().manual_seed(0)) * 7
    once = unit_rows(rows, "image")
    np.testing.assert_allclose(once.double().norm(dim=1), 1, atol=1e-6)
    assert torch.equal(unit_rows(once, "image"), once)


def test_a_zero_row_stays_zero() -> None:
    assert unit_rows(np.array([[0.0, 0.0], [0.0, 2.0]]), "text").tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value) -> None:
    rows = np.ones((3, 2))
    rows[1, 0] = value
    with pytest.raises(InputError, match="1 of 3 text embeddings are not finite numbers; check the weights"):
        unit_rows(rows, "text")


@pytest.mark.parametrize("shape", [(3,), (0, 4), (4, 0), (1, 2, 3)])
def test_what_is_no_matrix_is_refused(shape) -> None:
    with pytest.raises(InputError, match="image embeddings must be a matrix"):
        unit_rows(np.zeros(shape), "image")


def test_caption_ids_number_texts_by_first_appearance() -> None:
    assert caption_ids(["b", "a", "b", "c", "a"]).tolist() == [0, 1, 0, 2, 1]


def test_only_rounding_is_taken_out_of_repeated_captions() -> None:
    texts = torch.nn.functional.normalize(torch.randn(4, 64, generator=torch.Generator().manual_seed(0)), dim=1)
    rows = torch.stack([texts[0], texts[0] + 1e-5, texts[1], texts[2], texts[3]])
    before = rows.clone()
    result = without_batch_noise(rows, np.array([0, 0, 0, 1, 2]))
    assert torch.equal(result[:2], before[[0, 0]])
    assert torch.equal(result[2:], before[2:])
    assert torch.equal(rows, before)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_distinct_rows_equal_numpy_unique(d) -> None:
    rows = np.random.default_rng(d).choice([-0.5, -0.0, 0.0, 0.5], (300, d)).astype(np.float32)
    first, inverse = distinct_rows(torch.from_numpy(rows))
    np.testing.assert_array_equal(rows[first][inverse], rows)
    assert len(first) == len(np.unique(rows, axis=0))
    assert (np.diff(first) > 0).all()
    assert all((rows[: first[k]] != rows[first[k]]).any(axis=1).all() for k in range(len(first)))
