"""report.html of a long-tail run, made from the files of its directory alone."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from eotune.core.files import write_text
from eotune.runs.charts import Bar, before_and_after, interval_bars
from eotune.runs.figures import cell
from eotune.runs.heat_map import MOST, heat_map
from eotune.runs.learning import learning_curves, learning_section
from eotune.runs.long_tail_files import (
    CLASSIFIER_NAMES,
    GROUP_METRICS,
    ClassFigures,
    LongTailFiles,
    before_row,
    f1_cell,
)
from eotune.runs.long_tail_rows import MODELS
from eotune.runs.long_tail_space import space_section, targets_section
from eotune.runs.page import Cell, Page
from eotune.runs.report_sections import Card, cost_cards, leak_cautions, make_it_again, shared_between_splits
from eotune.runs.run_files import REPORT

_LEAKS = {
    "shared_images": "equal images",
    "near_images": "near-equal images",
    "shared_origins": "cut from the same",
}
_CONFUSIONS = 12
_OTHER_FIGURES = {"accuracy": "accuracy", "ece": "calibration error (ECE)"}


def write_report(run: Path) -> None:
    """Write report.html: figures by group and class, mistakes, feature space, data, how to load it and repeat it."""
    files = LongTailFiles.read(run)
    recipe = files.run.recipe
    page = Page(
        recipe["name"],
        f"{recipe['encoder']['name']} adapted by {recipe['method']['name']} to {len(files.classes)} long-tailed "
        f"classes. The best epoch and the probes' strength were chosen on validation; the "
        f"{files.run.primary['n']:,} test images were read once.",
        eyebrow="eotune · run",
    )
    page.cards(_headline(files))
    for caution in cautions(files):
        page.text(caution, warning=True)
    _groups(page, files)
    _classes(page, files)
    _mistakes(page, files)
    curves = learning_curves(files.run.log, "macro_f1")
    learning_section(page, curves, "macro F1", note=_what_validation_measures(files))
    space_section(page, files)
    targets_section(page, files)
    _data(page, files)
    _use(page, files)
    make_it_again(page, files.run)
    write_text(run / REPORT, page.render())


def cautions(files: LongTailFiles) -> Iterator[str]:
    """Yield what a reader should know before quoting the figures."""
    run = files.run
    yield from leak_cautions(run.data)
    for group, _ in files.groups():
        without = [one.name for one in files.classes if one.group == group and not one.test_images]
        if any(one.test_images for one in files.classes if one.group == group):
            if without:
                yield f"The {group} is measured without {', '.join(without)}: no test image is of that class."
        else:
            yield f"No {group} class has a test image: nothing here measures the {group}."
    own, probe = (run.row(f"{name}_macro_f1") for name in ("own", "probe"))
    if own and probe and own["value"] < probe["value"]:
        yield (
            f"The model's own head is worse than a linear probe on its features: test macro F1 {own['value']:.2f} and "
            f"{probe['value']:.2f}."
        )
    if not run.summary["trainable_parameters"]:
        return
    gain, tail = (run.row(f"probe_macro_f1{part}", model="gain") for part in ("", "_tail"))
    if gain and gain["high"] < 0:
        yield "The adapted model is worse than the pretrained one on the test split."
    if tail and tail["low"] <= 0 <= tail["high"]:
        yield "The interval of the tail's gain holds 0: this test split does not establish one."


def _headline(files: LongTailFiles) -> list[Card]:
    run, cards = files.run, []
    shown = [
        ("Test macro F1, linear probe", run.primary, ""),
        ("Before, frozen", run.row("probe_macro_f1", model="frozen"), ""),
        ("Gain", run.row("probe_macro_f1", model="gain"), ", paired"),
        ("Tail F1", run.row("probe_macro_f1_tail"), ""),
    ]
    for what, row, how in shown:
        if row is None or (what == "Gain" and not run.summary["trainable_parameters"]):
            continue
        value, interval = cell(row)
        cards.append((what, value + ("" if what == "Gain" else " %"), f"95 % interval {interval}{how}"))
    if files.best and (row := run.row(f"{files.best[0]}_macro_f1")):
        value, interval = cell(row)
        name = CLASSIFIER_NAMES[files.best[0]].lower()
        cards.append(("Best classifier on validation", f"{value} %", f"{name}; test, {interval}"))
    return cards + cost_cards(run.summary)


def _groups(page: Page, files: LongTailFiles) -> None:
    run = files.run
    page.section(
        "Head, middle and tail",
        "Macro F1: the mean over classes of each one's F1, from the whole confusion matrix. Brackets and whiskers are "
        f"95 % bootstrap intervals over {run.primary['n']:,} test images, drawn within each class; those of the gain "
        "are paired. The linear probe is fitted to the long-tailed training features as they are, the class-balanced "
        "probe allows for the classes' frequencies; the own head was trained with the model.",
    )
    rows = [run.row(f"{c}_{metric}", model=m) for c in files.classifiers for metric in GROUP_METRICS for m in MODELS]
    top = max(row["high"] for row in rows if row)
    charts = []
    for classifier in files.classifiers:
        groups = []
        for metric, classes in GROUP_METRICS.items():
            found = (before_row(run, classifier, metric), run.row(f"{classifier}_{metric}"))
            bars = [Bar(r["value"], r["low"], r["high"], r["model"] == "adapted") for r in found if r]
            if bars:
                groups.append((classes, bars))
        title = f"macro F1 by group in per cent, test, {CLASSIFIER_NAMES[classifier].lower()}"
        charts.append((f"{CLASSIFIER_NAMES[classifier]}, F1 %", interval_bars(groups, title=title, maximum=top)))
    page.charts(charts, legend=MODELS)
    if "own" in files.classifiers:
        page.text("The frozen model has no head of its own: its linear probe stands beside the own head.")
    for classifier in files.classifiers:
        page.heading(CLASSIFIER_NAMES[classifier])
        _figures(page, files, classifier)
    if files.best:
        name, value = files.best
        page.text(
            f"Best on validation: {CLASSIFIER_NAMES[name].lower()}, macro F1 {value:.2f} %. Calibration error is that "
            "of probabilities whose temperature was fitted on validation."
        )


def _figures(page: Page, files: LongTailFiles, classifier: str) -> None:
    run = files.run
    body: list[list[Cell]] = []
    names = {metric: f"F1, {classes}" for metric, classes in GROUP_METRICS.items()} | _OTHER_FIGURES
    for metric, shown in names.items():
        key = f"{classifier}_{metric}"
        rows = (
            before_row(run, classifier, metric),
            run.row(key),
            run.row(key, model="gain"),
            run.row(key, split="validation"),
        )
        if rows[1]:
            body.append([shown, *map(cell, rows)])
    page.table(["test, %", *MODELS, "gain", "adapted, validation"], body, strong=0)


def _classes(page: Page, files: LongTailFiles) -> None:
    page.section(
        "Classes",
        "F1 of the linear probe on the test, per cent. A line of the chart is a class; train and test are its images.",
    )
    points = [
        (one.name, float(one.train_images), one.f1["frozen"][0], one.f1["adapted"][0])
        for one in files.classes
        if one.test_images
    ]
    drawing = before_and_after(points, title="F1 of each class over its training images", x_label="training images")
    page.charts([("F1 % by class size", drawing)], legend=MODELS)
    page.table(
        ["class", "group", "train", "test", *MODELS, "change"],
        [
            [
                one.name,
                one.group,
                f"{one.train_images:,}",
                f"{one.test_images:,}",
                *(f1_cell(one, model) for model in MODELS),
                _change(one),
            ]
            for one in files.classes
        ],
    )


def _change(one: ClassFigures) -> str:
    before, after = (one.f1[model][0] for model in MODELS)
    return f"{after - before:+.1f}" if one.test_images else "–"


def _mistakes(page: Page, files: LongTailFiles) -> None:
    page.section(
        "Mistakes",
        "The adapted model's linear probe on the test. Rows are true classes, columns predicted ones, both by training "
        "images within their group; the colour is the share of the row.",
    )
    names, counts = [one.name for one in files.classes], files.confusion["adapted"]
    if len(names) <= MOST:
        drawing = heat_map(
            counts, rows=names, columns=names, title="confusion matrix", groups=files.groups(), diagonal=True
        )
        page.wide_chart("Confusion", drawing)
    else:
        page.text(f"The matrix of {len(names)} classes is in plots/confusion.csv.")
    pairs = files.confusions()[:_CONFUSIONS]
    if not pairs:
        page.text("Nothing was confused.")
        return
    page.heading("Most frequent confusions")
    body: list[list[Cell]] = []
    for pair in pairs:
        true, predicted = (files.classes[number] for number in pair)
        share = f"{100 * counts[pair] / true.test_images:.0f} %"
        before = f"{files.confusion['frozen'][pair]:,}"
        body.append([true.name, predicted.name, f"{true.group}, {predicted.group}", f"{counts[pair]:,}", share, before])
    page.table(["true", "predicted", "groups", "test images", "of the class", "frozen model"], body)


def _what_validation_measures(files: LongTailFiles) -> str:
    """Say by what a phase that has targets, and trains no head, is judged."""
    if _head_went_on(files):
        return ""
    return "A phase towards targets trains no head: its validation figure is that of the nearest centre of the targets."


def _head_went_on(files: LongTailFiles) -> bool:
    """Tell whether the head was trained to the end: a phase with targets may leave the labels out."""
    recipe = files.run.recipe
    weight = recipe["task"].get("objective", {}).get("task_weight", recipe["method"].get("task_weight", 0))
    return not files.targets or bool(weight)


def _data(page: Page, files: LongTailFiles) -> None:
    data = files.run.data
    page.section("Data")
    rows: list[list[Cell]] = []
    for name, split in data["splits"].items():
        counts = np.array(list(split["classes"].values()))
        ratio = f"{counts.max() / counts.min():.1f}" if counts.all() else "–"
        rows.append([name, f"{split['images']:,}", f"{counts.max():,}", f"{counts.min():,}", ratio])
    page.table(["split", "images", "largest class", "smallest class", "imbalance ratio"], rows)
    page.table(
        ["", ""], [[f"{name} ({len(members)})", ", ".join(members)] for name, members in data["groups"].items()],
        wrap=True,
    )  # fmt: skip
    note = "Images of the second split that stand in the first one."
    shared_between_splits(page, data, _LEAKS, note=note)


def _use(page: Page, files: LongTailFiles) -> None:
    run = files.run.path.name
    page.section("Use it", "By the classifier that was best on validation, with calibrated probabilities.")
    page.code(f"eotune predict {run} images/ --out classes.csv")
    page.code(
        "from eotune.methods.adapted import load_image_model\n\n"
        f'encoder = load_image_model("run:{run}")\n'
        "encoder.embed_images(images)  # uint8 (h, w, channels) each; a feature a row"
    )
    page.text("README.md says more, and how peft alone loads the adapter where it can.")
