"""Batches with several positives a row, in float64."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    images: Tensor
    texts: Tensor
    positives: Tensor

    @property
    def similarities(self) -> np.ndarray:
        """Cosines by NumPy, (n, n)."""
        images, texts = self.images.detach().numpy(), self.texts.detach().numpy()
        images = images / np.linalg.norm(images, axis=1, keepdims=True)
        texts = texts / np.linalg.norm(texts, axis=1, keepdims=True)
        return images @ texts.T


@pytest.fixture(params=[0, 1, 2])
def batch(request: pytest.FixtureRequest) -> Batch:
    random = np.random.default_rng(request.param)
    n, d = 7, 5
    image_ids, text_ids = random.integers(0, 4, n), random.integers(0, 5, n)
    positives = (image_ids[:, None] == image_ids) | (text_ids[:, None] == text_ids)
    positives[6], positives[:, 6] = False, False
    positives[6, 6] = True
    images = torch.tensor(random.normal(size=(n, d)), requires_grad=True)
    texts = torch.tensor(random.normal(size=(n, d)), requires_grad=True)
    return Batch(images, texts, torch.tensor(positives))
