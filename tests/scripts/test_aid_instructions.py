"""The instruction set of captioned, classed images: what is asked, how often, and that answers are true."""

import importlib.util
import json
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml

from eotune.data.instructions import open_instructions
from eotune.tasks.instruct_answers import kind_of_question

SCRIPT = Path(__file__).parents[2] / "scripts" / "aid_instructions.py"
RECIPE = SCRIPT.parents[1] / "recipes" / "instruct-aid-small.yaml"
CAPTIONS = {
    "DenseResidential": "many buildings and trees near a river .",
    "Port": "several boats are near a bridge .",
    "Desert": "it is a piece of yellow sand .",
    "Airport": "planes and cars near buildings .",
    "Pond": "a pond is beside some trees .",
}


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        spec = importlib.util.spec_from_file_location("aid_instructions", SCRIPT)
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, "aid_instructions", module)  # dataclasses look themselves up
        spec.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    rows = [
        {"image": f"{label}_{split}_{number}.jpg", "label": label, "split": split, "captions": [text]}
        for split in ("train", "val", "test")
        for label, text in CAPTIONS.items()
        for number in range(40)
    ]
    path = tmp_path_factory.mktemp("captions") / "captions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def made(script, captions):
    images = script.read_images(captions)
    absent = script.absent_objects(images["train"])
    return {split: script.records(images[split], split, absent) for split in images}


def test_objects_are_found_as_words_and_not_inside_others(script):
    assert script.named_objects(("Two ships and a boathouse .", "cartons")) == {"boats"}
    assert script.named_objects(("oil tanks near the sea",)) == {"storage tanks", "sea water"}


def test_an_object_is_absent_where_hardly_an_image_of_the_class_has_it(script):
    seen = [script.Image("a", "port", (), frozenset({"boats"}))] + [script.Image("b", "port", (), frozenset())] * 60
    assert "boats" in script.absent_objects(seen)["port"]
    assert "boats" not in script.absent_objects(seen[:40])["port"]


def test_there_are_as_many_as_asked_for_and_the_same_every_time(script, captions, made):
    for split, sizes in script.SIZES.items():
        assert len(made[split]) == sum(sizes.values()) + script.REPEATS.get(split, 0)
    images = script.read_images(captions)
    assert made["val"] == script.records(images["val"], "val", script.absent_objects(images["train"]))
    assert Counter(record.kind for record in made["test"]) == script.SIZES["test"]


def test_answers_are_true_and_yes_is_right_half_of_the_time(made):
    for record in made["test"]:
        label = record.image.partition("_")[0]
        name = "dense residential" if label == "DenseResidential" else label.lower()
        text = CAPTIONS[label]
        if record.kind in ("class", "choice"):
            assert record.answer == name
            assert record.kind == "class" or name in re.split(", | or |: |\\?", record.question)
        elif record.kind == "is_class":
            assert (record.answer == "yes") == (record.asked == name)
        elif record.asked in ("boats", "planes", "trees", "bridges", "sand"):
            assert (record.answer == "yes") == (record.asked.removesuffix("s") in text)
    for kind in ("is_class", "presence"):
        answers = Counter((one.asked, one.answer) for one in made["test"] if one.kind == kind)
        for asked in {asked for asked, _ in answers}:
            assert abs(answers[asked, "yes"] - answers[asked, "no"]) <= 1


def test_some_is_said_again_half_of_it_word_for_word(script, captions, made, monkeypatch):
    monkeypatch.setattr(script, "REPEATS", {})
    images = script.read_images(captions)
    plain = Counter(script.records(images["train"], "train", script.absent_objects(images["train"])))
    again = Counter(made["train"]) - plain
    assert again.total() == 600
    assert sum(count for record, count in again.items() if record in plain) >= 300  # the others are asked otherwise
    meant = {(one.image, one.kind, one.asked, one.answer) for one in plain}
    assert all((one.image, one.kind, one.asked, one.answer) in meant for one in again)


def test_the_recipe_tells_the_kinds_apart_and_the_file_is_read(script, made, tmp_path):
    kinds = yaml.safe_load(RECIPE.read_text())["task"]["kinds"]
    names = {"presence": "yes_no", "caption": "open"}
    for record in made["train"]:
        assert kind_of_question(record.question, record.answer, kinds) == names.get(record.kind, record.kind)
    path = tmp_path / "some.json"
    path.write_text(json.dumps([script.conversation(*one) for one in enumerate(made["val"][:5])]))
    found = list(open_instructions(path, images=tmp_path, check_files=False).samples())
    assert [(one.question, one.answer) for one in found] == [(one.question, one.answer) for one in made["val"][:5]]
    assert len(np.unique([one.id for one in found])) == 5
