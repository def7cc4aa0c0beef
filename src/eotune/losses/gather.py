"""Embeddings of all processes in one tensor, with gradients back to where each row came from."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gather_with_gradients(tensor: Tensor) -> Tensor:
    """Concatenate the rows of all processes, in the order of their ranks; the same tensor where there is one process.

    The backward pass sums the gradients of all processes and returns each its own rows. When every process computes
    the loss of the whole batch, averaging parameter gradients over the processes (as DistributedDataParallel does)
    gives exactly the gradient of that loss: the factor W from the sum and the 1/W of the average cancel. (A gather
    whose backward keeps only the local part trains with 1/W of the gradient, but leaves the logit scale's whole.)

    Args:
        tensor: ``(n, ...)``; ``n`` may differ between processes, the other sizes and the dtype may not. Every process
            must call this the same number of times, and run backward through the result.

    Returns:
        ``(sum of n, ...)``.

    Example:
        >>> gather_with_gradients(torch.ones(2, 3)).shape
        torch.Size([2, 3])
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return tensor
    gathered: Tensor = _Gather.apply(tensor)
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        counts = torch.zeros(dist.get_world_size(), dtype=torch.int64, device=tensor.device)
        counts[dist.get_rank()] = len(tensor)
        dist.all_reduce(counts)
        sizes = counts.tolist()
        ctx.start, ctx.size = sum(sizes[: dist.get_rank()]), len(tensor)
        # all_gather wants equal sizes: shorter parts are padded, and the padding is cut off again.
        padded = tensor.new_zeros((max(sizes), *tensor.shape[1:]))
        padded[: len(tensor)] = tensor
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()  # all_reduce works in place, autograd's buffer is not ours
        dist.all_reduce(total)
        return total[ctx.start : ctx.start + ctx.size]
