"""Which process this is, under ``accelerate launch`` or alone."""

from typing import TypeVar

import torch.distributed as dist

Value = TypeVar("Value")


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_main() -> bool:
    """Tell whether this process writes files and speaks."""
    return world_size() == 1 or dist.get_rank() == 0


def from_main(value: Value) -> Value:
    """Return the main process's value in every process, so that decisions agree to the last bit."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]
