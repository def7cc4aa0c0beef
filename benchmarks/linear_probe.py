"""The linear probe's whole grid of strengths against scikit-learn's LogisticRegression over the same grid.

    python benchmarks/linear_probe.py [--samples 4000] [--dim 192] [--classes 30] [--rounds 3]

One process, the same data and number of threads; the two take turns, and seconds are those of the processor, so that a
busy machine does not count. scikit-learn starts each strength from the solution of the last one, too. Speed without
accuracy says nothing: the last lines compare the objectives that the two end at. Target: within 2 seconds.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from eotune.metrics.linear_probe import L2_GRID, Probe, probe_path


def long_tailed(n: int, dim: int, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian classes, counts falling exponentially by a factor of 50, features correlated as an encoder's are."""
    random = np.random.default_rng(0)
    shares = 50.0 ** (-np.arange(n_classes) / max(n_classes - 1, 1))
    labels = np.repeat(np.arange(n_classes), np.maximum(shares / shares.sum() * n, 1).astype(int))
    mixing = np.exp(-np.arange(dim) / (dim / 5))[:, None] * random.normal(size=(dim, dim)) / np.sqrt(dim)
    centres = 0.15 * random.normal(size=(n_classes, dim))
    features = centres[labels] + random.normal(size=(len(labels), dim)) @ mixing
    return ((features - features.mean(axis=0)) / features.std(axis=0)).astype(np.float32), labels


def peer_path(features: np.ndarray, labels: np.ndarray, tolerance: float) -> list[LogisticRegression]:
    fitted = []
    model = LogisticRegression(tol=tolerance, max_iter=5000, warm_start=True)
    for l2 in sorted(L2_GRID, reverse=True):
        model.set_params(C=1 / (len(labels) * l2))
        model.fit(features, labels)
        kept = LogisticRegression()
        kept.coef_, kept.intercept_ = model.coef_.copy(), model.intercept_.copy()
        fitted.append(kept)
    return fitted


def objective(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray, l2: float) -> float:
    wide, matrix = torch.from_numpy(features).double(), torch.from_numpy(weight).double()
    logits = wide @ matrix.T + torch.from_numpy(bias)
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
    return float(loss + l2 / 2 * matrix.square().sum())


def timed(work: Callable[[], object]) -> tuple[float, object]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("samples", 4000), ("dim", 192), ("classes", 30), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    features, labels = long_tailed(options.samples, options.dim, options.classes)

    work: dict[str, Callable[[], object]] = {
        "probe_path": lambda: probe_path(features, labels, options.classes),
        "scikit-learn, tol 1e-4 (default)": lambda: peer_path(features, labels, 1e-4),
        "scikit-learn, tol 1e-6": lambda: peer_path(features, labels, 1e-6),
    }
    for task in work.values():  # what the first call loads is no part of the work
        task()
    seconds: dict[str, list[float]] = {name: [] for name in work}
    results: dict[str, object] = {}
    for _ in range(options.rounds):
        for name, task in work.items():
            elapsed, results[name] = timed(task)
            seconds[name].append(elapsed)

    ours = statistics.median(seconds["probe_path"])
    print(
        f"{len(labels)} samples, d={options.dim}, {options.classes} classes, {len(L2_GRID)} strengths, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}; medians of {options.rounds}"
    )
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:<34}{median:>9.2f} s{median / ours:>9.1f} x probe_path")

    print(f"{'objective at l2':<12}" + "".join(f"{name:>34}" for name in work))
    for i, l2 in enumerate(sorted(L2_GRID, reverse=True)):
        ends = []
        for path in results.values():
            model = path[i]  # type: ignore[index]
            known = (model.weight, model.bias) if isinstance(model, Probe) else (model.coef_, model.intercept_)
            ends.append(objective(features, labels, *known, l2))
        print(f"{l2:<15g}" + "".join(f"{value:>34.8f}" for value in ends))


if __name__ == "__main__":
    main()
