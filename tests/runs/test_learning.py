import csv

from eotune.runs.learning import learning_curves, learning_section, write_learning_curve
from eotune.runs.page import Page


def step(number, loss):
    return {"event": "step", "step": number, "epoch": number / 2, "loss": loss}


def evaluation(number, **metrics):
    return {"event": "evaluation", "step": number, "epoch": number / 2, "metrics": metrics}


TWO_PHASES = [
    {"event": "start"},
    {"event": "phase", "name": "lora"}, step(1, 3.0), step(2, 2.0), evaluation(2, macro_f1=40.0), step(3, 9.0),
    {"event": "start", "resumed": True},
    {"event": "phase", "name": "lora"}, step(3, 1.5), step(4, 1.0), evaluation(4, macro_f1=60.0),
    {"event": "phase", "name": "debias"}, step(1, 0.2), evaluation(1, macro_f1=70.0),
    {"event": "end"},
]  # fmt: skip


def test_phases_have_curves_of_their_own_and_what_was_done_again_counts_once():
    first, second = learning_curves(TWO_PHASES, "macro_f1")
    assert (first.phase, second.phase) == ("lora", "debias")
    assert first.losses == {1: (0.5, 3.0), 2: (1.0, 2.0), 3: (1.5, 1.5), 4: (2.0, 1.0)}
    assert first.scores == {2: (1.0, 40.0), 4: (2.0, 60.0)}
    assert second.losses == {1: (0.5, 0.2)}


def test_the_curves_are_drawn_and_written(tmp_path):
    write_learning_curve(tmp_path, learning_curves(TWO_PHASES, "macro_f1"), "macro_f1")
    assert (tmp_path / "learning_curve.png").stat().st_size > 1000
    lines = list(csv.DictReader((tmp_path / "learning_curve.csv").read_text().splitlines()))
    assert [line["value"] for line in lines if line["kind"] == "validation_macro_f1"] == ["40.0", "60.0", "70.0"]
    assert {line["phase"] for line in lines} == {"lora", "debias"}
    page = Page("t")
    learning_section(page, learning_curves(TWO_PHASES, "macro_f1"), "macro F1", note="A note.")
    shown = page.render()
    assert "Validation macro F1, %, phase debias" in shown
    assert "best 60.00" in shown


def test_a_run_that_trained_nothing_has_no_curve(tmp_path):
    page = Page("t")
    learning_section(page, [], "mR")
    write_learning_curve(tmp_path, [], "mR")
    assert "Learning" not in page.render()
    assert not any(tmp_path.iterdir())
