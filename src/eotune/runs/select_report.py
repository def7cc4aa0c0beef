"""report.html of a selection: what was kept, what was dropped, and why."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eotune.core.files import write_text
from eotune.core.seeds import generator
from eotune.data.instructions import InstructionSample, InstructionSource
from eotune.runs.charts import Bar, cloud, histogram, interval_bars, line_chart
from eotune.runs.embedding_map import lay_out
from eotune.runs.figures import duration
from eotune.runs.page import Cell, Page, Picture
from eotune.runs.run_files import REPORT
from eotune.selection.config import SelectionConfig
from eotune.selection.pipeline import Chosen
from eotune.selection.result import Reason

_MAP = 600  # points of the map: beyond, they cover one another
_FEWEST = 5
_CLUSTERS = 40  # rows of the cluster table
_EXAMPLES = 8  # of each reason
_BY_LENGTH = 0.5  # correlation of score and length that the reader is warned of
_WORDS = {
    Reason.KEPT: "kept",
    Reason.LOW: "others came first, in its cluster or in the whole set",
    Reason.UNREADABLE: "its image cannot be read, or its text has no embedding",
    Reason.EXACT_DUPLICATE: "the same image and text stand with another id",
    Reason.NEAR_DUPLICATE: "nearly the same stands with another id",
    Reason.SMALL_CLUSTER: "duplicates left too little of its cluster",
    Reason.UNSCORED: "the model gave no score, or no word can be deleted",
    Reason.CUT: "dropped before the strategy",
}


def write_selection_report(
    out: Path, config: SelectionConfig, source: InstructionSource, chosen: Chosen, summary: Mapping[str, Any]
) -> None:
    """Write report.html into the directory of a selection."""
    page = Page(
        f"{source.path.stem}: {summary['kept']:,} of {summary['readable']:,}",
        f"Chosen by {config.strategy['name']}, keep {config.keep}, seed {config.seed}.",
        eyebrow="eotune · selection",
    )
    counts = summary["counts"]
    duplicates = counts.get(Reason.EXACT_DUPLICATE.label, 0) + counts.get(Reason.NEAR_DUPLICATE.label, 0)
    share = summary["kept"] / max(summary["readable"], 1)
    page.cards(
        [
            ("Kept", f"{summary['kept']:,}", f"{100 * share:.1f} % of the readable"),
            ("Images", f"{summary['images_kept']:,}", f"of {summary['images']:,}"),
            ("Duplicates", f"{duplicates:,}", f"{counts.get(Reason.NEAR_DUPLICATE.label, 0):,} of them nearly equal"),
            ("Cannot be read", f"{summary['failed']:,}", "listed in summary.json"),
            ("Time", duration(sum(summary["seconds"].values())), "all steps"),
        ]
    )
    for warning in chosen.warnings:
        page.text(f"{warning[0].upper()}{warning[1:]}.", warning=True)
    _reasons(page, chosen)
    _clusters(page, chosen)
    _scores(page, config, chosen)
    _rankings(page, chosen)
    _map(page, out, chosen)
    _examples(page, source, chosen)
    _time(page, summary)
    write_text(out / REPORT, page.render())


def _reasons(page: Page, chosen: Chosen) -> None:
    page.section("Why", "Of every record but bad ones; selection.parquet says it of each.")
    named = [
        (Reason(int(number)), count)
        for number, count in zip(*np.unique(chosen.result.reason, return_counts=True), strict=True)
    ]
    bars = [(one.label, [Bar(float(count), main=one is Reason.KEPT)]) for one, count in named]
    page.charts([("Records", interval_bars(bars, title="records by reason"))])
    page.table(["reason", "records", ""], [[one.label, f"{count:,}", _WORDS[one]] for one, count in named])


def _clusters(page: Page, chosen: Chosen) -> None:
    kept, reason, labels = chosen.result.kept, chosen.result.reason, chosen.clusters
    numbers, sizes = np.unique(labels[labels >= 0], return_counts=True)
    if len(numbers) < 2:
        return
    page.section("Clusters", "Texts that are alike. A cluster's share of what is kept follows from its size.")
    if len(chosen.separation) > 1:
        best = max(chosen.separation, key=lambda one: -np.inf if np.isnan(one.silhouette) else one.silhouette)
        page.text(f"K = {best.k} separates best by silhouette.")
        charts = []
        for name, pairs in (
            ("Silhouette, higher is better", [(one.k, one.silhouette) for one in chosen.separation]),
            ("Davies-Bouldin, lower is better", [(one.k, one.davies_bouldin) for one in chosen.separation]),
        ):
            known = [(float(k), value) for k, value in pairs if not np.isnan(value)]
            if known:
                charts.append((name, line_chart(known, title=f"{name}, by K", x_label="K", dots=True)))
        page.charts(charts)
    order = np.argsort(-sizes, kind="stable")
    body: list[list[Cell]] = []
    for place in order[:_CLUSTERS]:
        inside = labels == numbers[place]
        scores = chosen.result.score[inside & ~np.isnan(chosen.result.score)]
        body.append(
            [
                str(numbers[place]),
                f"{sizes[place]:,}",
                f"{int(np.isin(reason[inside], (Reason.EXACT_DUPLICATE, Reason.NEAR_DUPLICATE)).sum()):,}",
                f"{int(kept[inside].sum()):,}",
                f"{np.median(scores):.4g}" if len(scores) else "–",
            ]
        )
    page.table(["cluster", "records", "duplicates", "kept", "median score"], body)
    if len(order) > _CLUSTERS:
        page.text(f"The {_CLUSTERS} largest of {len(order):,} clusters.")


def _scores(page: Page, config: SelectionConfig, chosen: Chosen) -> None:
    score, kept = chosen.result.score, chosen.result.kept
    known = np.isfinite(score)
    if not known.any() or np.ptp(score[known]) == 0:
        return
    page.section("Scores", f"What the strategy {config.strategy['name']} went by; higher is kept first.")
    drawn = generator(0, "histogram").permutation(np.flatnonzero(known))[:20_000]
    groups = [("base", score[drawn].tolist()), ("main", score[drawn[kept[drawn]]].tolist())]
    drawing = histogram([one for one in groups if one[1]], title="distribution of scores", x_label="score")
    page.charts([("Samples by score", drawing)], legend=("scored", "kept"))
    found = chosen.length_correlation
    if found is not None and not np.isnan(found):
        page.text(
            f"Spearman's correlation of score and number of words: {found:.2f}."
            + (" The ranking goes by length rather than by what is said." if abs(found) > _BY_LENGTH else ""),
            warning=abs(found) > _BY_LENGTH,
        )


def _rankings(page: Page, chosen: Chosen) -> None:
    found = chosen.rankings
    if found is None:
        return
    page.section(
        "How far the ranking is chance",
        f"{found.n:,} samples scored again with other numbers n of words deleted, and with other seeds: Spearman's "
        "rank correlation, and below it the share of the highest scores that both name.",
    )
    body: list[list[Cell]] = [
        [
            name,
            *(
                (_figure(found.spearman[row, column]), f"{100 * found.overlap[row, column]:.0f} %")
                for column in range(len(found.names))
            ),
        ]
        for row, name in enumerate(found.names)
    ]
    page.table(["", *found.names], body)


def _figure(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}"


def _map(page: Page, out: Path, chosen: Chosen) -> None:
    path = out / "stages" / "vectors.npy"
    drawn = np.flatnonzero(chosen.clusters >= 0)
    drawn = np.sort(generator(0, "map").permutation(drawn)[:_MAP])
    if not path.is_file() or len(drawn) < _FEWEST:
        return
    plane = lay_out(np.load(path, mmap_mode="r", allow_pickle=False)[drawn].astype(np.float32))
    kept = chosen.result.kept[drawn]
    groups = [("dot base", plane[~kept].tolist()), ("dot main", plane[kept].tolist())]
    page.section("Map", "t-SNE of text embeddings: neighbours mean something, distances and directions little.")
    drawing = cloud([one for one in groups if one[1]], title="map of texts, kept and dropped")
    page.charts([("Texts", drawing)], legend=("dropped", "kept"))


def _examples(page: Page, source: InstructionSource, chosen: Chosen) -> None:
    wanted: dict[int, tuple[Reason, float, int]] = {}
    for number in np.unique(chosen.result.reason):
        of_reason = generator(0, "examples").permutation(np.flatnonzero(chosen.result.reason == number))[:_EXAMPLES]
        for place in of_reason:
            behind = int(chosen.duplicate_of[place])
            wanted[int(chosen.rows[place])] = Reason(int(number)), float(chosen.result.score[place]), behind
    found: dict[Reason, list[tuple[InstructionSample, float, int]]] = {}
    left = set(wanted)
    for sample in source.samples():
        if not left:
            break
        if sample.row in left:
            left.discard(sample.row)
            if isinstance(sample, InstructionSample):
                reason, score, behind = wanted[sample.row]
                found.setdefault(reason, []).append((sample, score, behind))
    if not found:
        return
    page.section("Examples", "Drawn at random from each reason.")
    for reason in sorted(found):
        page.heading(reason.label)
        for sample, score, behind in found[reason]:
            note = f"id {sample.id}" + ("" if np.isnan(score) else f" · score {score:.4g}")
            if behind >= 0:
                note += f" · like {chosen.ids[behind].as_py()}"
            pictures = [Picture(source.root / image, Path(image).name) for image in sample.images[:2]]
            page.query(sample.text().replace("\n", " → ")[:300], note, pictures)


def _time(page: Page, summary: Mapping[str, Any]) -> None:
    page.section("Time")
    page.table(["step", "time"], [[step, duration(value)] for step, value in summary["seconds"].items()])
