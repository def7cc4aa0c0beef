"""Figures of the adapted and the pretrained model on a split, the gain between them, and examples."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eotune.core.files import replaced, write_json
from eotune.encoders.base import DualEncoder
from eotune.metrics.intervals import percentile_interval
from eotune.metrics.retrieval import RetrievalResult, recall_samples
from eotune.runs.recipe import Recipe
from eotune.tasks.retrieval import EvaluationSet

FIGURES = ("mR", "i2t_R@1", "i2t_R@5", "i2t_R@10", "t2i_R@1", "t2i_R@5", "t2i_R@10")
MODELS = ("zero-shot", "adapted")

# Not the recipe's seed: all runs over one test split share their resamples, and so their differences are paired.
BOOTSTRAP_SEED = 0
_RESAMPLES = 1000


@dataclass(frozen=True)
class Measured:
    """A model on a split.

    Attributes:
        images: ``(n, d)`` embeddings.
        texts: ``(m, d)`` embeddings.
        result: Measured on these.
    """

    images: np.ndarray
    texts: np.ndarray
    result: RetrievalResult


def measure(ready: EvaluationSet, encoder: DualEncoder, *, precision: str) -> Measured:
    """Embed and measure a split, with bootstrap intervals.

    Args:
        ready: The split.
        encoder: The model.
        precision: ``fp32``, ``bf16`` or ``fp16``.
    """
    images, texts = ready.embed(encoder, batch_size=128, precision=precision)
    return Measured(images, texts, ready.measure(images, texts, bootstrap=_RESAMPLES, seed=BOOTSTRAP_SEED))


def split_rows(
    measured: Mapping[str, Measured], ready: EvaluationSet, recipe: Recipe, split: str
) -> list[dict[str, Any]]:
    """Return the rows of metrics.json for a split: of each model of :data:`MODELS`, and of the gain between them."""
    dataset = ready.captions.source.stem
    results = {label: one.result for label, one in measured.items()}
    rows = [row for label, one in results.items() for row in metric_rows(one, recipe, dataset, split, label)]
    return rows + gain_rows(results, ready.image_index, recipe, dataset, split)


def write_test_files(folder: Path, ready: EvaluationSet, measured: Mapping[str, Measured]) -> None:
    """Write embeddings.npz and queries.json: embeddings, ranks and example queries of the test split."""
    _write_embeddings(folder / "embeddings.npz", measured, ready.image_index)
    after = measured["adapted"]
    write_json(folder / "queries.json", query_examples(ready, after.images, after.texts, after.result))


def metric_rows(result: RetrievalResult, recipe: Recipe, dataset: str, split: str, label: str) -> list[dict[str, Any]]:
    """Return the rows of metrics.json for one evaluation; ``primary`` marks the adapted model's test mR."""

    def row(metric: str, value: float, interval: tuple[float, float] | None = None) -> dict[str, Any]:
        primary = metric == "mR" and split == "test" and label == "adapted"
        return _row(recipe, (dataset, split, label, metric), value, interval, result.n_images, primary=primary)

    rows = [row(name, result.values[name], result.intervals.get(name)) for name in FIGURES]
    rows.append(row("mR_ties_in_favour", result.optimistic["mR"]))
    if result.any_caption:
        rows.append(row("mR_any_image_with_the_caption", result.any_caption["mR"]))
        rows.append(row("shared_queries", float(result.shared_queries)))
    return rows + [row(name, value) for name, value in result.geometry.items()]


def gain_rows(
    results: Mapping[str, RetrievalResult], image_index: np.ndarray, recipe: Recipe, dataset: str, split: str
) -> list[dict[str, Any]]:
    """Return what the adapted model gains over the pretrained one, with the paired bootstrap's intervals."""
    before, after = (results[label] for label in MODELS)
    samples = [
        recall_samples(result.ranks, image_index, resamples=_RESAMPLES, seed=BOOTSTRAP_SEED)
        for result in (before, after)
    ]
    return [
        _row(
            recipe,
            (dataset, split, "gain", name),
            after.values[name] - before.values[name],
            percentile_interval(samples[1][name] - samples[0][name]),
            after.n_images,
        )
        for name in FIGURES
    ]


def _row(
    recipe: Recipe,
    what: tuple[str, str, str, str],
    value: float,
    interval: tuple[float, float] | None,
    n: int,
    *,
    primary: bool = False,
) -> dict[str, Any]:
    dataset, split, model, metric = what
    low, high = interval or (None, None)
    return {
        "task": recipe.task.name, "dataset": dataset, "split": split, "model": model, "metric": metric, "value": value,
        "low": low, "high": high, "n": n, "seed": recipe.seed, "primary": primary,
    }  # fmt: skip


def query_examples(
    ready: EvaluationSet, images: np.ndarray, texts: np.ndarray, result: RetrievalResult, *, each: int = 4, top: int = 5
) -> list[dict[str, Any]]:
    """Return the best and worst text queries with their first results, each image's first caption considered.

    Args:
        ready: The test split.
        images: ``(n, d)`` embeddings.
        texts: ``(m, d)`` embeddings.
        result: Measured on these.
        each: Queries of each kind.
        top: Results a query.
    """
    first = np.unique(ready.image_index, return_index=True)[1]
    first = first[np.sort(np.unique([ready.texts[i] for i in first], return_index=True)[1])]  # no text twice
    ranks = result.ranks.text_to_image[first]
    order = first[np.argsort(ranks, kind="stable")]
    worst = order[::-1][: min(each, len(order) // 2)]  # of few queries none is both
    best = order[: min(each, len(order) - len(worst))]
    paths = [str(path.absolute()) for path in ready.captions.paths()]
    examples = []
    for kind, query in [*(("best", i) for i in best), *(("worst", i) for i in worst)]:
        scores = images @ texts[query]
        own = int(ready.image_index[query])
        found = np.argsort(-scores, kind="stable")[:top].tolist()
        results = [{"image": paths[i], "score": float(scores[i]), "correct": i == own} for i in found]
        rank = int(result.ranks.text_to_image[query])
        examples.append(
            {"query": ready.texts[query], "image": paths[own], "kind": kind, "rank": rank, "results": results}
        )
    return examples


def _write_embeddings(path: Path, measured: Mapping[str, Measured], image_index: np.ndarray) -> None:
    """Write embeddings (float16, for looking at) and ranks (exact, for comparing runs)."""
    arrays: dict[str, Any] = {"image_index": image_index}
    for label, one in measured.items():
        name, ranks = label.replace("-", "_"), one.result.ranks
        arrays[f"{name}_image"], arrays[f"{name}_text"] = one.images.astype(np.float16), one.texts.astype(np.float16)
        arrays[f"{name}_image_ranks"], arrays[f"{name}_text_ranks"] = ranks.image_to_text, ranks.text_to_image
    with replaced(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)
