"""report.html of a run of visual questions, made from the files of its directory alone."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from eotune.core.files import write_text
from eotune.runs.charts import Bar, interval_bars
from eotune.runs.figures import cell
from eotune.runs.instruct_rows import GAINS, MODELS, PREDICTIONS, read_predictions
from eotune.runs.learning import learning_curves, learning_section
from eotune.runs.page import Cell, Page, Picture
from eotune.runs.report_sections import (
    Card,
    cost_cards,
    gain_cautions,
    leak_cautions,
    make_it_again,
    shared_between_splits,
)
from eotune.runs.run_files import REPORT, RunFiles
from eotune.tasks.instruct_training import LIKELIHOOD

MODEL_NAMES = {"zero-shot": "before", "adapted": "adapted", "blind": "adapted, blind", "prior": "training's answers"}
_LEAKS = {"shared_images": "equal images", "near_images": "near-equal images"}
_EXAMPLES = 4


def write_report(run: Path) -> None:
    """Write report.html: accuracy by kind beside the blind baselines, examples, data, how to load it and repeat it."""
    files = RunFiles.read(run)
    recipe = files.recipe
    page = Page(
        recipe["name"],
        f"{recipe['encoder']['name']} adapted by {recipe['method']['name']} to questions about images. The best epoch "
        f"was chosen on validation; the questions about the {files.primary['n']:,} test images were asked once.",
        eyebrow="eotune · run",
    )
    page.cards(_headline(files))
    for caution in cautions(files):
        page.text(caution, warning=True)
    _accuracy(page, files)
    _examples(page, files)
    learning_section(
        page,
        learning_curves(files.log, LIKELIHOOD),
        "answer likelihood",
        note="The figure is the geometric mean of the probabilities of the answers' tokens.",
    )
    _data(page, files)
    _use(page, files)
    make_it_again(page, files)
    write_text(run / REPORT, page.render())


def cautions(files: RunFiles) -> Iterator[str]:
    """Yield what a reader should know before quoting the figures."""
    yield from leak_cautions(files.data)
    for split, lines in files.data.get("left_out", {}).items():
        count = files.data["splits"][split]["left_out"]
        yield f"{count:,} records of {split} could not be used and were left out; the first: {lines[0]}"
    for split, found in files.data["splits"].items():
        if found.get("cut"):
            yield f"{found['cut']:,} conversations of {split} are longer than max_tokens: ends of answers were cut."
    if files.summary["trainable_parameters"]:
        yield from gain_cautions(files.row("accuracy", model="gain"))
    baselines = {"gain_over_blind": "the model asked without the image", "gain_over_prior": "training's answers alone"}
    for model, what in baselines.items():
        row = files.row("accuracy", model=model)
        if row and row["low"] is not None and row["low"] <= 0:
            yield f"Accuracy does not lie above {what} by more than chance: it need not come from looking."


def kinds_of(files: RunFiles) -> list[str]:
    """Return the kinds of question of the test split."""
    return [kind for kind in files.data["splits"]["test"]["kinds"] if files.row(f"accuracy_{kind}")]


def figures_table(files: RunFiles) -> tuple[list[str], list[list[Cell]]]:
    """Return header and rows of the table of accuracies."""
    counts = files.data["splits"]["test"]["kinds"]
    names = {"accuracy": "all but open questions", "mean_accuracy": "mean over their kinds"}
    names |= {f"accuracy_{kind}": f"{kind.replace('_', ' ')} ({counts[kind]:,})" for kind in kinds_of(files)}
    models = (*MODELS, *GAINS)
    rows: list[list[Cell]] = [
        [shown, *(cell(files.row(metric, model=model)) for model in models)] for metric, shown in names.items()
    ]
    gains = ("gain over before", "over blind", "over training's answers")
    return ["test, %", *MODEL_NAMES.values(), *gains], rows


def _headline(files: RunFiles) -> list[Card]:
    cards = []
    shown = (
        ("Test accuracy", "adapted"),
        ("Before, zero-shot", "zero-shot"),
        ("Gain", "gain"),
        ("Asked without the image", "blind"),
    )
    for what, model in shown:
        row = files.row("accuracy", model=model)
        if row is None or (model == "gain" and not files.summary["trainable_parameters"]):
            continue
        value, interval = cell(row)
        unit, how = ("", ", paired") if model == "gain" else (" %", "")
        cards.append((what, value + unit, f"95 % interval {interval}{how}" if interval else ""))
    return cards + cost_cards(files.summary)


def _accuracy(page: Page, files: RunFiles) -> None:
    page.section(
        "Accuracy by kind of question",
        "Per cent of questions whose answer is the reference, up to case, punctuation and articles; of yes-no "
        "questions the first word counts. Open questions have references of more than four words, which hardly any "
        "answer meets: they are left out of the first two rows. Brackets and whiskers are 95 % bootstrap intervals "
        f"over {files.primary['n']:,} test images, each with all its questions; those of gains are paired. Two "
        "baselines see no image: the adapted model asked without it, and the answer that training gives most often to "
        "the same question, or else to its kind.",
    )
    groups = []
    for kind in kinds_of(files):
        found = (files.row(f"accuracy_{kind}", model=model) for model in MODELS)
        bars = [Bar(row["value"], row["low"], row["high"], row["model"] == "adapted") for row in found if row]
        groups.append((kind.replace("_", " "), bars))
    drawing = interval_bars(groups, title="accuracy by kind of question in per cent, test", maximum=100)
    legend = ("before; blind; training's answers (in this order)", "adapted")
    page.charts([("Accuracy, %", drawing)], legend=legend)
    header, rows = figures_table(files)
    page.table(header, rows, strong=0)


def _examples(page: Page, files: RunFiles) -> None:
    lines = read_predictions(files.path)
    page.section("Examples", "Of each kind the first questions that the adapted model gets right, and wrong.")
    for kind in dict.fromkeys(line["kind"] for line in lines):
        for correct, words in ((True, "right"), (False, "wrong")):
            chosen = [one for one in lines if (one["kind"], one["adapted"]["correct"]) == (kind, correct)][:_EXAMPLES]
            if chosen:
                page.heading(f"{kind.replace('_', ' ')}, {words}")
                _questions(page, chosen)


def _questions(page: Page, chosen: Sequence[Mapping[str, Any]]) -> None:
    for one in chosen:
        answers = "; ".join(f"{name}: {one[model]['answer'] or '(nothing)'}" for model, name in MODEL_NAMES.items())
        picture = Picture(Path(one["image"]), one["id"], one["adapted"]["correct"])
        page.query(one["question"], f"reference: {one['answer']}; {answers}", [picture])


def _data(page: Page, files: RunFiles) -> None:
    page.section("Data")
    kinds = sorted({kind for split in files.data["splits"].values() for kind in split["kinds"]})
    page.table(
        ["split", "images", "conversations", "exchanges", *(kind.replace("_", " ") for kind in kinds), "left out"],
        [
            [
                name,
                *(f"{split[key]:,}" for key in ("images", "conversations", "exchanges")),
                *(f"{split['kinds'].get(kind, 0):,}" for kind in kinds),
                f"{split['left_out']:,}",
            ]
            for name, split in files.data["splits"].items()
        ],
    )
    note = "Images of the second split that stand in the first one."
    shared_between_splits(page, files.data, _LEAKS, note=note)


def _use(page: Page, files: RunFiles) -> None:
    page.section("Use it", "Merged into the weights, transformers alone loads it, and lmms-eval measures it.")
    page.code(f"eotune export {files.path.name} --format hf --out {files.path.name}-merged")
    page.code(load_snippet(files.path.name))
    page.text(f"All answers to the test's questions are in {PREDICTIONS}.")


def load_snippet(run: str) -> str:
    """Return Python that loads a run and asks it."""
    return (
        "from pathlib import Path\n\n"
        "from eotune.data.images import read_image\n"
        "from eotune.methods.adapted import load_adapted\n\n"
        f'model = load_adapted(Path("{run}"))\n'
        'model.generate([read_image(Path("scene.png"))], ["How many ships are there?"])'
    )
