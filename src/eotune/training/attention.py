"""Which attention kernel training uses: torch's fused one is slow going backwards on a CPU in low precision."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def unfused_attention(model: nn.Module) -> Iterator[None]:
    """Make the transformers models inside ``model`` compute attention from matrix products for a while.

    On a CPU, torch's fused attention takes two to three times as long in bfloat16, forward and backward, as matrix
    products and a softmax do (benchmarks/attention.py, torch 2.13); in float32, and on a GPU, it is as fast or faster.
    """
    from transformers import PreTrainedModel

    changed = [
        module
        for module in model.modules()
        if isinstance(module, PreTrainedModel) and module.config._attn_implementation == "sdpa"
    ]
    try:
        for module in changed:
            module.set_attn_implementation("eager")
        yield
    finally:
        for module in changed:
            module.set_attn_implementation("sdpa")
