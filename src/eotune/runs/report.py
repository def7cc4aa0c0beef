"""report.html of a run, made from the files of its directory alone."""

from collections.abc import Iterator
from pathlib import Path

from eotune.core.files import write_text
from eotune.runs.charts import Bar, interval_bars
from eotune.runs.embedding_map import read_map
from eotune.runs.figures import cell
from eotune.runs.learning import learning_curves, learning_section
from eotune.runs.measure import MODELS
from eotune.runs.page import Cell, Page, Picture
from eotune.runs.peft_note import peft_folders
from eotune.runs.plots import EMBEDDING_MAP, RECALLS
from eotune.runs.report_sections import (
    Card,
    cost_cards,
    gain_cautions,
    leak_cautions,
    make_it_again,
    shared_between_splits,
)
from eotune.runs.retrieval_space import GEOMETRY, LEGEND, MAP_NOTE, map_chart
from eotune.runs.run_files import REPORT, RunFiles

_DIRECTIONS = (("i2t", "Image to text"), ("t2i", "Text to image"))
_LEAKS = {
    "shared_images": "equal images",
    "near_images": "near-equal images",
    "images_with_shared_caption": "with a shared caption",
    "images_with_shared_long_caption": "with a shared long caption",
}


def write_report(run: Path) -> None:
    """Write report.html: figures with intervals, curves, examples, data, how to load it and make it again."""
    files = RunFiles.read(run)
    recipe = files.recipe
    page = Page(
        recipe["name"],
        f"{recipe['encoder']['name']} adapted by {recipe['method']['name']} to image-text retrieval. The best epoch "
        f"was chosen on validation; the {files.primary['n']:,} test images were read once.",
        eyebrow="eotune · run",
    )
    page.cards(_headline(files))
    for caution in cautions(files):
        page.text(caution, warning=True)
    _recall(page, files)
    _retention(page, files)
    before = files.row("mR", split="validation", model="zero-shot")
    curves = learning_curves(files.log, "mR")
    learning_section(page, curves, "mR", baseline=(before["value"], "zero-shot") if before else None)
    _examples(page, files)
    _data(page, files)
    _space(page, files)
    _use(page, files)
    make_it_again(page, files)
    write_text(run / REPORT, page.render())


def cautions(files: RunFiles) -> Iterator[str]:
    """Yield what a reader should know before quoting the figures."""
    yield from leak_cautions(files.data)
    if files.summary["trainable_parameters"]:
        yield from gain_cautions(files.row("mR", model="gain"))
    after, favour = files.row("mR"), files.row("mR_ties_in_favour")
    if after and favour and favour["value"] - after["value"] > 1:
        yield (
            f"Many scores tie: test mR is {after['value']:.2f} where ties count against the model and "
            f"{favour['value']:.2f} where they count in its favour. Published figures break ties arbitrarily and lie "
            "between these."
        )


def _headline(files: RunFiles) -> list[Card]:
    summary = files.summary
    value, interval = cell(files.primary)
    cards = [("Test mR, mean of six recalls", f"{value} %", f"95 % interval {interval}" if interval else "")]
    if before := files.row("mR", model="zero-shot"):
        value, interval = cell(before)
        cards.append(("Before, zero-shot", f"{value} %", f"95 % interval {interval}" if interval else ""))
    if summary["trainable_parameters"] and (gain := files.row("mR", model="gain")):
        value, interval = cell(gain)
        cards.append(("Gain", value, f"95 % interval {interval}, paired"))
    if kept := files.row("mR", split="retention", model="gain"):
        value, interval = cell(kept)
        cards.append(("Retention, mR", value, f"95 % interval {interval}, on {kept['dataset']}"))
    return cards + cost_cards(summary)


def _recall(page: Page, files: RunFiles) -> None:
    page.section(
        "Recall",
        "Recall@k: per cent of queries that find a match among their first k results. Brackets and whiskers are 95 % "
        f"bootstrap intervals over {files.primary['n']:,} test images, each with its captions; those of the gain are "
        "paired. Ties count against the model.",
    )
    rows = [row for row in files.rows if (row["split"], row["model"]) in {("test", m) for m in MODELS}]
    rows = [row for row in rows if row["metric"] in RECALLS]
    top = max([row["high"] if row["high"] is not None else row["value"] for row in rows], default=0.0)
    charts = []
    for key, name in _DIRECTIONS:
        groups = []
        for k in (1, 5, 10):
            found = [(model, files.row(f"{key}_R@{k}", model=model)) for model in MODELS]
            bars = [Bar(row["value"], row["low"], row["high"], model == "adapted") for model, row in found if row]
            groups.append((f"R@{k}", bars))
        charts.append((name, interval_bars(groups, title=f"{name} recall in per cent, test", maximum=top)))
    page.charts(charts, legend=MODELS)
    body: list[list[Cell]] = []
    for metric in RECALLS:
        columns = [cell(files.row(metric, model=model)) for model in (*MODELS, "gain")]
        name = metric.replace("i2t_", "image to text ").replace("t2i_", "text to image ")
        body.append([name, *columns, cell(files.row(metric, split="validation"))])
    page.table(["test, %", "zero-shot", "adapted", "gain", "adapted, validation"], body, strong=-1)
    notes = []
    if favour := files.row("mR_ties_in_favour"):
        notes.append(f"With ties in the model's favour, test mR is {favour['value']:.2f}.")
    if lenient := files.row("mR_any_image_with_the_caption"):
        shared = files.row("shared_queries")
        some = f" ({shared['value']:,.0f} queries have a caption that several images share)" if shared else ""
        notes.append(f"Where any image with the same caption counts, it is {lenient['value']:.2f}{some}.")
    if notes:
        page.text(" ".join(notes))


def _retention(page: Page, files: RunFiles) -> None:
    after = files.row("mR", split="retention")
    if after is None:
        return
    page.section(
        "Retention",
        f"What adapting forgets: the same measurement on {after['n']:,} images of {after['dataset']}, which are of "
        "another kind than the training images.",
    )
    body: list[list[Cell]] = [
        [metric, *(cell(files.row(metric, split="retention", model=model)) for model in (*MODELS, "gain"))]
        for metric in RECALLS
    ]
    page.table(["retention, %", *MODELS, "gain"], body, strong=-1)


def _examples(page: Page, files: RunFiles) -> None:
    if not files.queries:
        return
    page.section(
        "Examples",
        "Captions of the test split as queries, with the images that score highest. Green: the caption's own image.",
    )
    words = {"best": "Found best", "worst": "Found worst", "random": "Drawn at random"}
    for kind in dict.fromkeys(query["kind"] for query in files.queries):
        page.heading(words.get(kind, kind))
        for query in (q for q in files.queries if q["kind"] == kind):
            results = [
                Picture(Path(r["image"]), f"{r['score']:.3f}" + (" · its own" if r["correct"] else ""), r["correct"])
                for r in query["results"]
            ]
            hidden = query.get("image") and not any(r["correct"] for r in query["results"])
            sought = Picture(Path(query["image"]), f"its own, rank {query['rank']:,}") if hidden else None
            page.query(query["query"], f"rank {query['rank']:,}", results, sought=sought)


def _data(page: Page, files: RunFiles) -> None:
    data = files.data
    page.section("Data")
    page.table(
        ["split", "images", "captions", "captions an image"],
        [
            [name, f"{s['images']:,}", f"{s['captions']:,}", f"{s['captions'] / max(s['images'], 1):.1f}"]
            for name, s in data["splits"].items()
        ],
    )
    note = "Images of the second split that stand, or whose captions stand, in the first one."
    shared_between_splits(page, data, _LEAKS, note=note)


def _space(page: Page, files: RunFiles) -> None:
    measured = [(name, what) for name, what in GEOMETRY.items() if files.row(name)]
    if not measured:
        return
    page.section("Embedding space", "On the test split, unit vectors.")
    body: list[list[Cell]] = [
        [(name.replace("_", " "), what), *(cell(files.row(name, model=model)) for model in MODELS)]
        for name, what in measured
    ]
    page.table(["", *MODELS], body)
    planes = read_map(files.path / "plots" / EMBEDDING_MAP)
    if planes:
        page.charts([(model, map_chart(planes, model, model)) for model in MODELS], legend=LEGEND)
        page.text(MAP_NOTE)


def _use(page: Page, files: RunFiles) -> None:
    page.section("Use it")
    page.code(load_snippet(files.path.name))
    page.code(
        f"eotune evaluate {files.path.name} --task retrieval --data captions.jsonl --split test\n"
        f"eotune embed images/ --encoder run:{files.path.name} --out embeddings.parquet"
    )
    if peft_folders(files.path):
        page.text("README.md says what peft alone loads of the adapter.")


def load_snippet(run: str) -> str:
    """Return Python that loads a run and embeds a text."""
    return (
        "from eotune.methods.adapted import load_model\n\n"
        f'encoder = load_model("run:{run}")\n'
        'encoder.embed_texts(["many planes are parked beside a terminal"])  # (1, d), unit length'
    )
