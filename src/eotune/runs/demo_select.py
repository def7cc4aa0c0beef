"""A chapter of the demo: a set of questions about scenes in which it is known what is worth keeping."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from eotune.core.files import write_json, write_text
from eotune.core.progress import say
from eotune.data.scenes import write_instructions
from eotune.runs.figures import duration
from eotune.runs.page import Cell, Page
from eotune.runs.run_files import REPORT
from eotune.runs.select import TABLE, select
from eotune.selection.config import SelectionConfig

# What is counted of the records kept, and what it means.
COUNTS = {
    "questions": "different questions, however often each is asked",
    "repeats": "further records that ask one of these again, in the same words or in others",
    "wrong": "records whose answer is wrong",
    "rare": "records of a kind that is seldom asked",
}
_STRATEGIES: dict[str, dict[str, Any]] = {
    "all": {"strategy": {"name": "random"}, "first_cut": False, "keep": 1.0},
    "random": {"strategy": {"name": "random"}, "first_cut": False},
    "random after the first cut": {"strategy": {"name": "random"}},
    "perturbation": {"strategy": {"name": "perturbation"}},
    "perturbation, equal quotas": {"strategy": {"name": "perturbation", "quota": "equal"}},
    "k-center": {"strategy": {"name": "k_center"}},
}


def selection_chapter(out: Path, *, seed: int = 0, records: int = 600) -> list[dict[str, Any]]:
    """Choose a third of the set in several ways and count what each way kept.

    Args:
        out: Directory; one below it a choice.
        seed: Of the set and of every choice.
        records: Size of the set.

    Returns:
        A row a way: ``way``, ``run`` (sub-directory), ``kept``, ``seconds``, and what :data:`COUNTS` names.
    """
    say("asking questions about scenes")
    samples = write_instructions(out / "data", records, seed=seed, size=64)
    lines = (out / "data" / "truth.jsonl").read_text(encoding="utf-8").splitlines()
    truth = [json.loads(line) for line in lines]
    rows = []
    for way, settings in _STRATEGIES.items():
        run = way.replace(",", "").replace(" ", "-")
        common = {"samples": samples, "encoder": "tiny", "sentence_encoder": "tiny", "seed": seed, "clusters": 12}
        summary = select(SelectionConfig.model_validate(common | settings), out / run)
        table = pq.read_table(out / run / TABLE, columns=["row", "kept"]).to_pylist()
        kept = [truth[row["row"]] for row in table if row["kept"]]
        seconds = sum(summary["seconds"].values())
        rows.append({"way": way, "run": run, "kept": len(kept), "seconds": seconds} | _counts(kept))
    write_json(out / "metrics.json", rows)
    _write_report(out, rows)
    return rows


def _counts(kept: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    questions = {record["duplicate_of"] or record["id"] for record in kept}
    return {
        "questions": len(questions),
        "repeats": len(kept) - len(questions),
        "wrong": sum(record["noisy"] for record in kept),
        "rare": sum(record["rare"] for record in kept),
    }


def _write_report(out: Path, rows: list[dict[str, Any]]) -> None:
    page = Page(
        "Which third to train on",
        "Questions about synthetic scenes, of which it is known what repeats, what is wrong, and what is rare; each "
        "way to choose is asked for a third of them.",
        eyebrow="eotune · selection",
    )
    page.section("What was kept", "The first line is the whole set.")
    body: list[list[Cell]] = [
        [row["way"], *(f"{row[name]:,}" for name in COUNTS), f"{row['kept']:,}", duration(row["seconds"])]
        for row in rows
    ]
    page.table(["", *COUNTS, "all", "time"], body)
    page.table(["", ""], [[name, words] for name, words in COUNTS.items()], wrap=True)
    page.text(
        "Model and scenes are synthetic and small. Whether a choice is good is told by training on it: a recipe's "
        "selection section chooses before it trains.",
        warning=True,
    )
    page.section("Each choice")
    for row in rows:
        page.link(f"{row['run']}/{REPORT}", f"{row['way']}: why each record was kept or dropped")
    write_text(out / REPORT, page.render())
