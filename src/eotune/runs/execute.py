"""Run a recipe: data, encoder, method, phases, the test split once, and everything that is left behind."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from eotune.core.errors import InputError
from eotune.core.files import sha256, write_json, write_text
from eotune.core.progress import say
from eotune.core.seeds import derive_seed, seed_everything
from eotune.data.inventory import take_inventory
from eotune.data.leaks import leaks
from eotune.encoders.base import DualEncoder
from eotune.methods.adapted import load_model, save_adapted
from eotune.methods.base import parameter_counts
from eotune.methods.by_name import create
from eotune.metrics.retrieval import RetrievalResult
from eotune.runs.card import write_card
from eotune.runs.directory import RunDirectory
from eotune.runs.environment import environment
from eotune.runs.plots import write_plots
from eotune.runs.recipe import Recipe
from eotune.runs.report import write_report
from eotune.tasks.retrieval import CaptionData, EvaluationSet, RetrievalData, RetrievalTraining, read_data
from eotune.training.fit import FitResult, fit, peak_memory_mb
from eotune.training.processes import is_main

FIGURES = ("mR", "i2t_R@1", "i2t_R@5", "i2t_R@10", "t2i_R@1", "t2i_R@5", "t2i_R@10")


def execute(recipe: Recipe, out: Path, *, resume: bool = False, strict: bool = False) -> list[dict[str, Any]]:
    """Run ``recipe`` into the directory ``out``.

    Args:
        recipe: Validated.
        out: The run directory; an existing one is refused unless ``resume``.
        resume: Continue an interrupted run; a finished one returns its figures.
        strict: Refuse, instead of warn, where the test split shares images or captions with training.

    Returns:
        The rows of metrics.json.

    Raises:
        InputError: The data, the model or the directory is wrong; nothing has been written then.
        InterruptedRunError: Stopped by a signal; ``resume`` continues.
    """
    RunDirectory.check(out, resume=resume)
    started = time.perf_counter()
    data = read_data(recipe.task, recipe.seed)
    description = _describe_data(recipe, data)
    _judge_leaks(description["leaks"], strict=strict)
    seed_everything(recipe.seed)
    encoder = load_model(recipe.encoder.name, image_size=recipe.encoder.image_size)
    method = create(recipe.method)
    method.apply(encoder, seed=derive_seed(recipe.seed, "method"))
    with RunDirectory.open(out, resume=resume) as run:
        if run.finished:
            say(f"{out}: already finished")
            return run.metrics()
        if is_main():
            write_text(run.path / "recipe.yaml", recipe.to_yaml())
            write_json(run.path / "environment.json", environment(seed=recipe.seed))
            write_json(run.path / "data.json", description)
        run.log("start", resumed=resume, method=recipe.method["name"], seed=recipe.seed)
        fits = _train(recipe, data, encoder, method, run, resume=resume)
        if is_main():
            save_adapted(run.path, method, encoder)
            _measure(recipe, data, encoder, fits, run, started)
        return run.metrics() if is_main() else []


def _train(
    recipe: Recipe, data: RetrievalData, encoder: DualEncoder, method: Any, run: RunDirectory, *, resume: bool
) -> list[FitResult]:
    phases = method.phases()
    if not phases:
        return []
    import torch

    training = recipe.training
    if training.device != "cpu" and torch.cuda.is_available():
        encoder.cuda()
    elif training.device == "cuda":
        raise InputError("training.device is cuda, but no GPU is visible", remedy="set training.device to auto or cpu")
    if training.gradient_checkpointing:
        encoder.enable_gradient_checkpointing()
    shared = RetrievalTraining(recipe.task, data, encoder, training, recipe.seed)
    fits = []
    for phase in phases:
        run.log("phase", name=phase.name)
        say(f"{recipe.name}: phase {phase.name}, {len(shared.pairs)} pairs an epoch")
        work = shared.work(phase.objective, frozenset(method.no_decay(encoder)))
        seed_everything(derive_seed(recipe.seed, "phase", phase.name) % 2**31)
        directory = run.path / "checkpoints" / phase.name
        fits.append(fit(encoder, work, training, directory=directory, seed=recipe.seed, log=run.log, resume=resume))
    return fits


def _measure(
    recipe: Recipe, data: RetrievalData, encoder: DualEncoder, fits: list[FitResult], run: RunDirectory, started: float
) -> None:
    """Read the test split, once: the adapted model and, beside it, the pretrained one."""
    precision = recipe.training.precision
    bands = {
        "validation": getattr(recipe.task.validation, "bands", recipe.task.train.bands),
        "test": recipe.task.test.bands,
    }
    base = load_model(recipe.encoder.name, image_size=recipe.encoder.image_size).to(encoder.device)
    rows: list[dict[str, Any]] = []
    queries: list[dict[str, Any]] = []
    embeddings = {}
    for split in ("validation", "test"):
        captions = getattr(data, split)
        ready = EvaluationSet(captions, encoder, bands=bands[split], description=f"reading {split}")
        for label, model in (("zero-shot", base), ("adapted", encoder)):
            images, texts = ready.embed(model, batch_size=128, precision=precision)
            result = ready.measure(images, texts, bootstrap=1000, seed=recipe.seed)
            rows += metric_rows(result, recipe, captions.source.stem, split, label)
            if split == "test":
                embeddings[label] = (images, texts)
                if label == "adapted":
                    queries = query_examples(ready, images, texts, result)
    with (run.path / ".embeddings.npz").open("wb") as stream:
        _write_embeddings(stream, embeddings, ready.image_index)
    (run.path / ".embeddings.npz").rename(run.path / "embeddings.npz")
    counts = parameter_counts(encoder)
    summary = {
        "trainable_parameters": counts.trainable,
        "total_parameters": counts.total,
        "seconds": time.perf_counter() - started,
        "training_seconds": sum(f.seconds for f in fits),
        "step_seconds": fits[-1].step_seconds if fits else None,
        "peak_memory_mb": max([peak_memory_mb(), *(f.peak_memory_mb for f in fits)]),
        "best_epoch": fits[-1].best_epoch if fits else None,
        "best_validation": fits[-1].best_metric if fits else None,
        "steps": sum(f.steps for f in fits),
        "phases": [asdict(f) for f in fits],
    }
    write_json(run.path / "summary.json", summary)
    write_json(run.path / "queries.json", queries)
    run.log("end", seconds=summary["seconds"], peak_memory_mb=summary["peak_memory_mb"])
    write_json(run.path / "metrics.json", rows)
    write_plots(run.path)
    write_card(run.path)
    write_report(run.path)
    run.finish(keep_checkpoints=recipe.training.keep_checkpoints)


def metric_rows(result: RetrievalResult, recipe: Recipe, dataset: str, split: str, label: str) -> list[dict[str, Any]]:
    """Return the rows of metrics.json for one evaluation; ``primary`` marks the adapted model's test mR."""

    def row(metric: str, value: float, interval: tuple[float, float] | None = None) -> dict[str, Any]:
        low, high = interval if interval else (None, None)
        primary = metric == "mR" and split == "test" and label == "adapted"
        return {
            "task": "retrieval", "dataset": dataset, "split": split, "model": label, "metric": metric, "value": value,
            "low": low, "high": high, "n": result.n_images, "seed": recipe.seed, "primary": primary,
        }  # fmt: skip

    rows = [row(name, result.values[name], result.intervals.get(name)) for name in FIGURES]
    rows.append(row("mR_ties_in_favour", result.optimistic["mR"]))
    if result.any_caption:
        rows.append(row("mR_any_image_with_the_caption", result.any_caption["mR"]))
        rows.append(row("shared_queries", float(result.shared_queries)))
    return rows + [row(name, value) for name, value in result.geometry.items()]


def query_examples(
    ready: EvaluationSet, images: np.ndarray, texts: np.ndarray, result: RetrievalResult, *, each: int = 4, top: int = 5
) -> list[dict[str, Any]]:
    """Return the best and worst text queries with their first results, each image's first caption considered."""
    first = np.unique(ready.image_index, return_index=True)[1]
    ranks = result.ranks.text_to_image[first]
    order = np.argsort(ranks, kind="stable")
    chosen = [("best", first[i]) for i in order[:each]] + [("worst", first[i]) for i in order[::-1][:each]]
    examples = []
    for kind, query in chosen:
        scores = images @ texts[query]
        best = np.argsort(-scores, kind="stable")[:top]
        examples.append(
            {
                "query": ready.texts[query],
                "kind": kind,
                "rank": int(result.ranks.text_to_image[query]),
                "results": [
                    {
                        "image": str(ready.captions.path(ready.captions.samples[i]).absolute()),
                        "score": float(scores[i]),
                        "correct": bool(ready.image_index[query] == i),
                    }
                    for i in best
                ],
            }
        )
    return examples


def _write_embeddings(
    stream: Any, embeddings: dict[str, tuple[np.ndarray, np.ndarray]], image_index: np.ndarray
) -> None:
    arrays: dict[str, Any] = {
        f"{label}_{side}".replace("-", "_"): array.astype(np.float16)
        for label, pair in embeddings.items()
        for side, array in zip(("image", "text"), pair, strict=True)
    }
    arrays["image_index"] = image_index
    np.savez_compressed(stream, allow_pickle=False, **arrays)


def _describe_data(recipe: Recipe, data: RetrievalData) -> dict[str, Any]:
    """Return data.json: files with checksums, sizes of splits, and what they share."""
    files = {}
    for config in (recipe.task.train, recipe.task.validation, recipe.task.test):
        if isinstance(config, CaptionData):
            files[str(config.captions)] = sha256(config.captions)
    splits = {
        name: {"images": len(part), "captions": sum(len(sample.captions) for sample in part.samples)}
        for name, part in (("train", data.train), ("validation", data.validation), ("test", data.test))
    }
    train, validation, test = (take_inventory(part) for part in (data.train, data.validation, data.test))
    found = {
        "train and test": leaks(train, test).to_dict(),
        "train and validation": leaks(train, validation).to_dict(),
        "validation and test": leaks(validation, test).to_dict(),
    }
    return {"files": files, "splits": splits, "leaks": found}


def _judge_leaks(found: dict[str, dict[str, Any]], *, strict: bool) -> None:
    for pair, report in found.items():
        shared = report.get("shared_images", 0)
        if not shared:
            continue
        message = f"{pair} share {shared} images"
        if strict and pair == "train and test":
            raise InputError(message, remedy="remove them from training (eotune check lists them), or drop --strict")
        say(f"warning: {message}; figures of the test split are too good by that")
