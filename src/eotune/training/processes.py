"""Which process this is, under ``accelerate launch`` or alone, and how processes agree."""

import os
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Value = TypeVar("Value")


def join_processes(*, cpu: bool = False) -> None:
    """Join the others that ``accelerate launch`` or ``torchrun`` started, and take this process's GPU.

    transformers' Trainer would do so later, but what comes before it must know already who writes. Does nothing in a
    process that was started alone, or has joined.

    Args:
        cpu: Stay on the CPU though there is a GPU.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        from accelerate import PartialState

        PartialState(cpu=cpu)


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_main() -> bool:
    """Tell whether this process writes files and speaks."""
    return world_size() == 1 or dist.get_rank() == 0


def wait_for_all() -> None:
    """Return when every process has come here."""
    if world_size() > 1:
        dist.barrier()


def from_main(value: Value) -> Value:
    """Return the main process's value in every process, so that decisions agree to the last bit."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def mean_of_all(value: Tensor) -> Tensor:
    """Return the mean over processes of a number ``()``, in every process."""
    if world_size() == 1:
        return value
    total = value.float()
    dist.all_reduce(total)
    return total / world_size()


def in_any(flag: bool) -> bool:
    """Tell, in every process, whether ``flag`` is true in one."""
    if world_size() == 1:
        return flag
    device = "cuda" if "nccl" in dist.get_backend() else "cpu"
    flags = torch.tensor(int(flag), device=device)
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return bool(flags.item())
