"""Retrieval metrics against the bare matrix product and per-row argsort, in one process.

    python benchmarks/retrieval_metrics.py [--images 5000] [--captions-per-image 5] [--dim 512] [--rounds 5]

Prints medians and their ratios. The measurements take turns, so that a busy machine slows all of them alike.
Targets: the whole (ranks in three readings, 1000 bootstrap resamples, geometry) within 1.25 of the bare product;
ranking alone (the ranks of both directions, less the product) at least 5 times as fast as one argsort of every row.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from eotune.metrics.intervals import bootstrap_ratios
from eotune.metrics.retrieval import retrieval_metrics, retrieval_ranks


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def embeddings(n: int, each: int, dim: int) -> tuple[Tensor, Tensor, np.ndarray]:
    generator = torch.Generator().manual_seed(0)
    index = np.repeat(np.arange(n), each)
    images = torch.randn(n, dim, generator=generator)
    texts = images[torch.from_numpy(index)] + 5 * torch.randn(len(index), dim, generator=generator)
    normalize = torch.nn.functional.normalize
    return normalize(images, dim=1), normalize(texts, dim=1), index


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("images", 5000), ("captions-per-image", 5), ("dim", 512), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    images, texts, index = embeddings(options.images, options.captions_per_image, options.dim)
    captions = [f"caption {i}" for i in range(len(texts))]
    sums = np.ones((options.images, 6))

    work: dict[str, Callable[[], object]] = {
        "bare product": lambda: images @ texts.T,
        "ranks": lambda: retrieval_ranks(images, texts, index),
        "whole": lambda: retrieval_metrics(images, texts, index, captions),
        "bootstrap, 1000 resamples": lambda: bootstrap_ratios(sums, sums),
    }
    for task in work.values():
        task()
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(options.rounds):
        for name, task in work.items():
            seconds[name].append(timed(task))
    median = {name: statistics.median(values) for name, values in seconds.items()}

    # Sorting takes long and varies little: a tenth of the rows of both directions, once.
    scores = images @ texts.T
    rows, columns = scores[::10].contiguous(), scores.T[::10].contiguous()
    name_of_sort = "argsort of every row, both directions"
    median[name_of_sort] = 10 * (timed(lambda: rows.argsort(dim=1)) + timed(lambda: columns.argsort(dim=1)))

    product = median["bare product"]
    print(
        f"{options.images} images x {len(texts)} texts, d={options.dim}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}; medians of {options.rounds}"
    )
    for name, value in median.items():
        print(f"{name:<42}{value:>9.3f} s{value / product:>9.2f} x bare product")
    ranking = max(median["ranks"] - product, 1e-3)
    faster = median[name_of_sort] / ranking
    print(f"{'ranking alone (ranks less product)':<42}{ranking:>9.3f} s{faster:>9.2f} x faster than argsort")


if __name__ == "__main__":
    main()
