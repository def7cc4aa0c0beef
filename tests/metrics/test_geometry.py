import math

import numpy as np
import pytest
import torch

from eotune.core.errors import InputError
from eotune.metrics.geometry import alignment, modality_gap, uniformity


def sphere(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_alignment_equals_loops() -> None:
    images, texts = sphere(30, 5), sphere(2500, 5, seed=1)
    index = torch.randint(0, 30, (2500,), generator=torch.Generator().manual_seed(0))
    expected = np.mean([float(((texts[j] - images[index[j]]) ** 2).sum()) for j in range(2500)])
    assert alignment(images, texts, index) == pytest.approx(expected, rel=1e-5)


def test_uniformity_equals_loops() -> None:
    points = sphere(20, 3)
    pairs = [math.exp(-2 * float(((points[i] - points[j]) ** 2).sum())) for i in range(20) for j in range(20) if i != j]
    assert uniformity(points) == pytest.approx(math.log(np.mean(pairs)), rel=1e-5)


def test_uniformity_of_one_place_is_0_and_of_a_large_sphere_minus_2_t() -> None:
    assert uniformity(sphere(1, 8).repeat(50, 1)) == pytest.approx(0, abs=1e-5)
    assert uniformity(sphere(1, 8)) == 0
    assert uniformity(sphere(500, 2048)) == pytest.approx(-4, abs=0.02)
    assert uniformity(sphere(500, 2048), temperature=1) == pytest.approx(-2, abs=0.02)


def test_a_sample_gives_nearly_the_same_uniformity() -> None:
    points = sphere(3000, 16) + 0.3
    points = torch.nn.functional.normalize(points, dim=1)
    assert uniformity(points) == pytest.approx(uniformity(points, limit=3000), abs=0.02)


def test_the_gap_is_the_distance_of_the_centres() -> None:
    images, texts = sphere(30, 5), sphere(40, 5, seed=1)
    expected = np.linalg.norm(images.numpy().mean(0) - texts.numpy().mean(0))
    assert modality_gap(images, texts) == pytest.approx(float(expected), rel=1e-5)


def test_alignment_without_an_index_a_text_is_refused() -> None:
    with pytest.raises(InputError, match="got 2 for 3 texts"):
        alignment(torch.eye(3), torch.eye(3), torch.tensor([0, 1]))
    with pytest.raises(InputError, match="got 0 for 0 texts"):
        alignment(torch.eye(3), torch.eye(3)[:0], torch.tensor([], dtype=torch.int64))
