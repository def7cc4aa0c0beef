"""The spec of retrieval's ranks in loops, and cases full of ties."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

Oracle = Callable[[np.ndarray, np.ndarray, list[str], str], tuple[list[int], list[int]]]


def slow_ranks(scores: np.ndarray, owner: np.ndarray, captions: list[str], reading: str) -> tuple[list[int], list[int]]:
    """The definition, sentence by sentence.

    i2t: 1 + captions of other images that score at least as high as the image's best own caption.
    t2i: 1 + other images that score at least as high as the caption's own image.
    ``favour`` counts strictly higher ones only; under ``any_caption`` what shares the caption's text is right too.
    """
    n, m = scores.shape
    i2t, t2i = [], []

    def ahead(score: float, right: float) -> bool:
        return score > right if reading == "favour" else score >= right

    for i in range(n):
        right = [j for j in range(m) if owner[j] == i]
        if reading == "any_caption":
            own_texts = {captions[j] for j in right}
            right = [j for j in range(m) if captions[j] in own_texts]
        best = max(scores[i, j] for j in right)
        i2t.append(1 + sum(ahead(scores[i, j], best) for j in range(m) if j not in right))
    for j in range(m):
        right = [int(owner[j])]
        if reading == "any_caption":
            right = [i for i in range(n) if any(owner[k] == i and captions[k] == captions[j] for k in range(m))]
        best = max(scores[i, j] for i in right)
        t2i.append(1 + sum(ahead(scores[i, j], best) for i in range(n) if i not in right))
    return i2t, t2i


@pytest.fixture(name="slow_ranks", scope="session")
def slow_ranks_fixture() -> Oracle:
    return slow_ranks


@dataclass(frozen=True)
class Case:
    """Embeddings whose products are exact in float32, with duplicates, ties, repeated captions, uneven counts."""

    images: np.ndarray
    texts: np.ndarray
    owner: np.ndarray
    captions: list[str]

    @property
    def scores(self) -> np.ndarray:
        return self.images @ self.texts.T


@pytest.fixture(params=range(6))
def case(request: pytest.FixtureRequest) -> Case:
    return make_case(request.param)


def make_case(seed: int, n: int = 17, d: int = 4) -> Case:
    """Rows of +-1/sqrt(d) have length 1 exactly for d a power of 4; for d = 4 there are 16 directions in all."""
    random = np.random.default_rng(seed)
    owner = random.permutation(np.repeat(np.arange(n), random.integers(1, 6, n)))
    words = random.integers(0, len(owner) // 2, len(owner))
    signs = random.choice([-1.0, 1.0], (n + words.max() + 1, d)) / np.sqrt(d)
    vectors = signs.astype(np.float32)
    return Case(vectors[:n], vectors[n:][words], owner, [f"caption {word}" for word in words])
