import random

import numpy as np
import torch

from eotune.core.seeds import derive_seed, generator, seed_everything


def test_seeds_depend_on_every_key_and_its_kind():
    seeds = {derive_seed(*keys) for keys in [(0,), (1,), ("0",), (0, 1), ("0", "1"), ("01",), (1, 0)]}
    assert len(seeds) == 7
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(0, "sample", 3) == 2380358861411087941  # the same on every machine, forever


def test_generators_do_not_depend_on_order():
    first = [generator(0, index).random() for index in range(5)]
    assert [generator(0, index).random() for index in reversed(range(5))] == first[::-1]


def test_everything_is_seeded():
    def draw():
        seed_everything(2**40 + 3)
        return random.random(), np.random.rand(), float(torch.rand(()))  # noqa: NPY002

    assert draw() == draw()
