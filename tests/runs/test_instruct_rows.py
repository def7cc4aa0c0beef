"""Answers written and read again."""

from pathlib import Path

import numpy as np

from eotune.runs.instruct_rows import read_predictions, resampled_accuracy, write_predictions
from eotune.tasks.instruct import Conversation, InstructSet
from eotune.tasks.instruct_answers import Judged

WIDE = "one\u2028two\u2029three\x85four\x0cfive\x1csix"  # what str.splitlines takes for ends of lines


def test_characters_that_end_lines_elsewhere_stay_inside(tmp_path):
    samples = tuple(Conversation(f"{number}", tmp_path / f"{number}.png", ((WIDE, WIDE),)) for number in range(2))
    asked = InstructSet(Path("set.jsonl"), tmp_path, samples)
    judged = {"adapted": Judged(np.array([True, False]), ["short", "short"], np.array([0, 1]))}
    write_predictions(tmp_path, asked, {"adapted": [WIDE, "no"]}, judged)
    lines = read_predictions(tmp_path)
    assert [(one["question"], one["answer"], one["adapted"]["answer"]) for one in lines] == [
        (WIDE, WIDE, WIDE), (WIDE, WIDE, "no"),
    ]  # fmt: skip
    assert set(resampled_accuracy(tmp_path, "accuracy")) == {0, 50, 100}
