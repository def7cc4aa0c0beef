"""Parts of a run's report that every task has."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from eotune.runs.figures import duration
from eotune.runs.page import Page
from eotune.runs.run_files import RunFiles

Card = tuple[str, str, str]


def cost_cards(summary: Mapping[str, Any]) -> list[Card]:
    """Return the cards of what training took: parameters, time, memory."""
    trainable, total = summary["trainable_parameters"], summary["total_parameters"]
    step = summary.get("step_seconds")
    time = duration(summary.get("training_seconds", summary["seconds"]))
    memory = f"peak memory {summary['peak_memory_mb']:,.0f} MiB"
    return [
        ("Parameters trained", f"{trainable:,}", f"{100 * trainable / total:.2f} % of {total:,}"),
        ("Training", time, (f"{step * 1000:.0f} ms a step · " if step else "") + memory),
    ]


def leak_cautions(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield what data.json tells of test images that were trained on."""
    leak = data["leaks"].get("train and test", {})
    if leak.get("shared_images"):
        yield (
            f"{leak['shared_images']:,} of {leak['images']:,} test images also stand in training, pixel for pixel: "
            "the test figures are too good by that."
        )
    if leak.get("shared_origins"):
        yield (
            f"{leak['shared_origins']:,} of {leak['images']:,} test images are cut from the same sources as training "
            "images: the test figures are too good by that."
        )
    if leak.get("near_images"):
        yield f"{leak['near_images']:,} of {leak['images']:,} test images look the same as a training image."


def gain_cautions(gain: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield what a gain's interval says against the adapted model; nothing where there is no gain, or no interval."""
    if gain is None or gain["low"] is None:
        return
    if gain["high"] < 0:
        yield "The adapted model is worse than the pretrained one on the test split."
    elif gain["low"] <= 0:
        yield "The interval of the gain holds 0: this test split does not establish one."


def shared_between_splits(page: Page, data: Mapping[str, Any], kinds: Mapping[str, str], *, note: str) -> None:
    """Add what the splits share, and the files that they were read from.

    Args:
        page: The report.
        data: data.json.
        kinds: Which of the leak report's counts, and their names.
        note: What is counted.
    """
    page.heading("What the splits share")
    page.text(note)
    page.table(
        ["", *kinds.values()],
        [[pair, *(f"{found.get(key, 0):,}" for key in kinds)] for pair, found in data["leaks"].items()],
    )
    examples = [
        f"{pair}, {kind.replace('_', ' ')}\n" + "\n".join(f"  {one}" for one in listed)
        for pair, found in data["leaks"].items()
        for kind, listed in found.get("examples", {}).items()
        if listed
    ]
    if examples:
        page.code("\n\n".join(examples), summary="a few of each")
    if data["files"]:
        listed = "\n".join(f"{digest}  {name}" for name, digest in data["files"].items())
        page.code(listed, summary="files and SHA-256")


def make_it_again(page: Page, files: RunFiles) -> None:
    """Add the recipe and what it was run with."""
    run, environment = files.path.name, files.environment
    page.section("Make it again")
    page.code(f"eotune run {run}/recipe.yaml --out {run}-again")
    page.code(files.recipe_text, summary="recipe.yaml, every default written out")
    made = [
        ("command", shlex.join(environment["command"])), ("commit", str(environment["commit"])),
        ("python", environment["python"]), ("platform", environment["platform"]),
        ("processor", f"{environment['processor']}, {environment['threads']} threads"),
        ("devices", ", ".join(environment["devices"])),
        *((name, str(version)) for name, version in environment["packages"].items()),
    ]  # fmt: skip
    page.table(["", ""], made, wrap=True)
