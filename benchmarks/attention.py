"""Forward and backward of attention by torch's fused kernel against matrix products, in float32 and bfloat16.

    python benchmarks/attention.py [--rounds 9]

The shape is an adapter's of HarMA here: 128 samples, 4 heads, 82 tokens of width 16. Medians. It is why training in low
precision on a CPU does without the fused kernel (docs/decisions.md).
"""

import argparse
import statistics
import time

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

SHAPE = (128, 4, 82, 16)


def by_products(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    scores = (query @ key.transpose(-1, -2)).float() * query.shape[-1] ** -0.5
    return scores.softmax(-1).to(value.dtype) @ value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    print(f"{SHAPE}, {torch.get_num_threads()} threads, torch {torch.__version__}; medians of {options.rounds}")
    for dtype in (torch.float32, torch.bfloat16):
        inputs = [torch.randn(SHAPE, dtype=dtype, requires_grad=True) for _ in range(3)]
        medians = []
        for attend in (scaled_dot_product_attention, by_products):
            seconds = []
            for _ in range(options.rounds + 1):
                started = time.perf_counter()
                attend(*inputs).sum().backward()
                seconds.append(time.perf_counter() - started)
            medians.append(statistics.median(seconds[1:]))
        fused, products = medians
        print(f"{dtype}: fused {1000 * fused:.0f} ms, products {1000 * products:.0f} ms, ratio {fused / products:.1f}")


if __name__ == "__main__":
    main()
