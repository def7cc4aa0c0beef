"""The order of training samples: a pure function of (seed, epoch), so that a resumed run sees the same one."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from eotune.core.seeds import derive_seed


class EpochSampler(Sampler[tuple[int, int]]):
    """Yield ``(epoch, index)`` for every index once, in an order drawn anew for each epoch.

    The epoch travels with the index, so that a data set can draw its augmentation from (seed, epoch, index) in any
    worker process.

    Args:
        size: Number of samples.
        seed: Of the run.
        first: Number of the first epoch.

    Example:
        >>> sampler = EpochSampler(4, seed=0)
        >>> first = list(sampler)
        >>> first == list(sampler), sorted(index for _, index in first)
        (True, [0, 1, 2, 3])
    """

    def __init__(self, size: int, seed: int, first: int = 0) -> None:
        self.size = size
        self.seed = seed
        self.first = first
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration follows."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.first + self.epoch
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", epoch))
        return ((epoch, index) for index in torch.randperm(self.size, generator=generator).tolist())
