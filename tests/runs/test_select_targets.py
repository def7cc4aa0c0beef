"""The set that a selection's model shall become good at is read as the set itself is."""

import json

import numpy as np
import pytest
from PIL import Image

from eotune.core.errors import InputError
from eotune.encoders.sentence import load_sentence
from eotune.runs.select import select
from eotune.runs.select_plan import plan
from eotune.selection import workers
from eotune.selection.config import SelectionConfig
from eotune.selection.stages import Stages

WORDS = ("river", "harbour", "forest", "road", "airport", "desert", "bridge", "farm")


def record(number, **more):
    return {"id": f"r{number}", "image": "0.png", "question": f"is there a {WORDS[number]}?", "answer": "yes", **more}


def write(file, records):
    file.write_text("".join(json.dumps(one) + "\n" for one in records))
    return file


@pytest.fixture
def samples(tmp_path):
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "0.png")
    return write(tmp_path / "set.jsonl", [record(number) for number in range(8)])


@pytest.fixture
def used(monkeypatch):
    """The embeddings of targets that a selection went by."""
    found, before = [], Stages.targets

    def noted(self):
        found.append(before(self))
        return found[-1]

    monkeypatch.setattr(Stages, "targets", noted)
    return found


def config(samples, targets, **settings):
    values = {"samples": samples, "targets": targets, "sentence_encoder": "tiny", "clusters": 1, "first_cut": False}
    return SelectionConfig.model_validate({**values, "strategy": {"name": "nearest"}, **settings})


def embedded(*numbers):
    return load_sentence("tiny").embed([f"is there a {WORDS[number]}?\nyes" for number in numbers])


def test_targets_whose_ids_repeat_are_numbered_or_named(samples, used, tmp_path, capsys):
    targets = write(tmp_path / "targets.jsonl", [record(number, id="same", image="none.png") for number in range(4)])
    assert select(config(samples, targets, ids="row"), tmp_path / "rows")["failed"] == 0
    np.testing.assert_allclose(used[0], embedded(0, 1, 2, 3), atol=2e-3)  # kept as float16
    found = select(config(samples, targets), tmp_path / "out")
    np.testing.assert_allclose(used[1], embedded(0), atol=2e-3)
    assert f"{targets}: 3 of 4 records are no targets" in capsys.readouterr().err
    assert (found["failed"], found["samples"], found["readable"]) == (3, 8, 8)
    assert found["failures"][0]["id"] == "target row 1, id same"
    assert "stands already in a record before" in found["failures"][0]["error"]


def test_of_several_splits_one_is_chosen(samples, used, tmp_path):
    targets = write(tmp_path / "targets.jsonl", [record(at, split=("test", "val")[at % 2]) for at in range(4)])
    with pytest.raises(InputError, match=r"targets of 2 splits \(test, val\); choose one: --set targets_split=NAME"):
        select(config(samples, targets, split="train"), tmp_path / "out")
    select(config(samples, targets, split="train", targets_split="validation"), tmp_path / "val")
    np.testing.assert_allclose(used[0], embedded(1, 3), atol=2e-3)
    select(config(samples, write(targets, [record(at, split="val") for at in range(4)])), tmp_path / "one")
    assert len(used[1]) == 4


def test_other_targets_are_noticed_and_the_same_taken_over(samples, tmp_path, monkeypatch):
    targets = write(tmp_path / "targets.jsonl", [record(0), record(5)])
    first = select(config(samples, targets), tmp_path / "out")
    (tmp_path / "out" / "summary.json").unlink()  # as an interruption at the end leaves it
    with monkeypatch.context() as patch:
        patch.setattr(workers, "load_sentence", None)
        again = select(config(samples, targets, keep=0.5), tmp_path / "again", reuse=[tmp_path / "out"])
    assert again["seconds"]["targets"] > first["seconds"]["targets"]
    write(targets, [record(0), record(6)])
    with pytest.raises(InputError, match="'target-records' was begun with other settings"):
        select(config(samples, targets), tmp_path / "out", resume=True)


def test_a_plan_counts_targets(samples, tmp_path):
    targets = write(tmp_path / "targets.jsonl", [record(n) for n in range(5)] + [record(7, answer=None)])
    steps = {step["step"]: (step["rows"], step["passes"]) for step in plan(config(samples, targets))["steps"]}
    assert list(steps) == ["targets", "images", "texts", "clusters", "choose"]
    assert (steps["targets"], steps["texts"]) == ((5, 5), (8, 8))
    mixed = write(tmp_path / "mixed.jsonl", [record(0, split="val"), record(1, split="test")])
    with pytest.raises(InputError, match="targets of 2 splits"):
        plan(config(samples, mixed))


def test_targets_that_cannot_be_read_are_told_before_anything_runs(samples, tmp_path):
    for begin in (plan, lambda one: select(one, tmp_path / "out")):
        with pytest.raises(InputError, match=r"none\.jsonl: no such file"):
            begin(config(samples, tmp_path / "none.jsonl"))
    bad = write(tmp_path / "bad.jsonl", [record(0, answer=None)])
    with pytest.raises(InputError, match=r"no record can be a target \(row 0, id r0: .*answer"):
        select(config(samples, bad), tmp_path / "out2")
