import pytest
import torch

from eotune.losses.similarity import cosine_similarity_matrix


def test_it_equals_the_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(4, 3, generator=generator), torch.randn(5, 3, generator=generator)
    result = cosine_similarity_matrix(images, texts)
    for i in range(4):
        for j in range(5):
            expected = torch.nn.functional.cosine_similarity(images[i], texts[j], dim=0)
            torch.testing.assert_close(result[i, j], expected)


def test_autocast_and_half_inputs_do_not_lower_the_precision() -> None:
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(8, 64, generator=generator), torch.randn(8, 64, generator=generator)
    expected = cosine_similarity_matrix(images, texts)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = cosine_similarity_matrix(images, texts)
    assert result.dtype == torch.float32
    assert torch.equal(result, expected)
    assert cosine_similarity_matrix(images.bfloat16(), texts.half()).dtype == torch.float32


def test_a_zero_row_has_similarity_0_and_a_finite_gradient() -> None:
    images = torch.zeros(1, 3, requires_grad=True)
    result = cosine_similarity_matrix(images, torch.ones(2, 3))
    result.sum().backward()
    assert result.tolist() == [[0, 0]]
    assert images.grad is not None
    assert bool(images.grad.isfinite().all())


@pytest.mark.parametrize(("images", "texts"), [((2, 3), (2, 4)), ((3,), (2, 3)), ((2, 3), (1, 2, 3))])
def test_shapes_that_do_not_fit_are_refused(images: tuple[int, ...], texts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="equal width"):
        cosine_similarity_matrix(torch.ones(images), torch.ones(texts))
