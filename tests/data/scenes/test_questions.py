import re
from collections import Counter

import numpy as np
import pytest

from eotune.data.scenes import CLASSES, questions, render
from eotune.data.scenes.materials import NAMES
from eotune.data.scenes.questions import KINDS

SCENES = [(label, seed) for label in CLASSES for seed in range(6)]
BOXES = {
    "planes": "plane", "ships": "ship", "storage tanks": "storage-tank", "cars": "small-vehicle",
    "tennis courts": "tennis-court", "basketball courts": "basketball-court", "bridges": "bridge",
    "football fields": "soccer-ball-field",
}  # fmt: skip
GROUND = {"water": "water", "sand": "sand", "trees": "forest", "buildings": "roof"}


def of_kind(kind, scene):
    return [question for question in questions(scene) if question.kind == kind]


def boxes_of(scene, noun):
    return [box for box in scene.boxes if box.label == BOXES[noun]]


def pixels_of(scene, noun):
    return int((scene.fine_materials == NAMES.index(GROUND[noun])).sum())


@pytest.mark.parametrize(("label", "seed"), SCENES)
def test_questions_are_whole_distinct_and_have_wrong_answers(label, seed):
    found = questions(render(label, seed, size=32))
    assert len({(question.kind, question.subject) for question in found}) == len(found)
    for question in found:
        assert question.kind in KINDS
        assert len(set(question.wordings)) == len(question.wordings) >= 3
        assert question.answers
        assert question.wrong
        assert not set(question.answers) & set(question.wrong)
        for text in (*question.wordings, *question.answers, *question.wrong):
            assert re.fullmatch(r"[A-Za-z0-9][^{}\[\]|]*[.?]", text), text
            assert not re.search(r"\b(1|one) (?!grass)\w+s\b|  ", text), text


@pytest.mark.parametrize(("label", "seed"), SCENES)
def test_presence_is_that_of_boxes_or_pixels(label, seed):
    scene = render(label, seed, size=48)
    for question in of_kind("presence", scene):
        noun = question.subject
        present = bool(boxes_of(scene, noun)) if noun in BOXES else pixels_of(scene, noun) > 0
        assert all(answer.startswith("Yes" if present else "No") for answer in question.answers)
        assert all(answer.startswith("No" if present else "Yes") for answer in question.wrong)


@pytest.mark.parametrize(("label", "seed"), SCENES)
def test_counts_and_comparisons_are_those_of_boxes(label, seed):
    scene = render(label, seed, size=32)
    for question in of_kind("count", scene):
        number = len(boxes_of(scene, question.subject))
        assert [int(re.search(r"\d+", answer)[0]) for answer in question.answers] == [number] * 2
        assert number not in {int(answer[:-1]) for answer in question.wrong}
    for question in of_kind("comparison", scene):
        first, second = re.fullmatch(r"Are there more (.+) than (.+)\?", question.wordings[0]).groups()
        assert question.subject == f"{first} and {second}"
        is_more = len(boxes_of(scene, first)) > len(boxes_of(scene, second))
        assert all(answer.startswith("Yes" if is_more else "No") for answer in question.answers)


def test_yes_is_no_safe_guess_in_comparisons():
    answers = [q.answers[0] for label, seed in SCENES for q in of_kind("comparison", render(label, seed, size=8))]
    assert 0.25 < answers.count("Yes.") / len(answers) < 0.75


@pytest.mark.parametrize(("label", "seed"), SCENES)
def test_positions_are_those_of_boxes_or_of_ground(label, seed):
    scene = render(label, seed, size=48)
    seen = {"water": "water", "quay": "concrete", "row of trees": "forest"}
    for question in of_kind("position", scene):
        if question.subject in seen:
            where = np.argwhere(scene.materials() == NAMES.index(seen[question.subject]))
        else:
            (box,) = boxes_of(scene, question.subject + "s")
            where = box.corners[:, ::-1]
        down, right = where.mean(0) / scene.size - 0.5
        side = "left" if right < 0 else "right"
        across, along = ("upper" if down < 0 else "lower"), ("top" if down < 0 else "bottom")
        expected = {f"In the {across} {side}.", f"At the {along}.", f"On the {side}."}
        assert question.answers[0] in expected
        assert len(question.wrong) == 3


PAINTS = {"White": (232, 232, 228), "Red": (172, 58, 46), "Blue": (58, 92, 152), "Grey": (136, 138, 140),
          "Brown": (124, 88, 62)}  # fmt: skip


@pytest.mark.parametrize("label", ["Airport", "Harbour", "Runway", "StorageTanks"])
@pytest.mark.parametrize("seed", range(6))
def test_a_coloured_thing_has_the_colour_told(label, seed):
    """Of all paints, that one covers most of the boxes."""
    scene = render(label, seed, size=192)
    (question,) = of_kind("colour", scene)
    covered = Counter()
    for box in scene.boxes:
        (left, top), (right, bottom) = box.corners.min(0).astype(int), box.corners.max(0).astype(int)
        pixels = scene.image[top:bottom, left:right].astype(int)
        covered.update({name: int((np.abs(pixels - paint).sum(-1) < 20).sum()) for name, paint in PAINTS.items()})
    assert question.answers[0] == f"{covered.most_common(1)[0][0]}."


def test_a_class_is_named_and_no_other_class_is_taken_for_it():
    named = {}
    for label in CLASSES:
        (question,) = of_kind("class", render(label, 0, size=8))
        assert len(question.wrong) == len(CLASSES) - 1
        named[label] = question.answers[0]
    assert len(set(named.values())) == len(CLASSES)


@pytest.mark.parametrize("label", CLASSES)
def test_a_caption_asked_for_is_one_of_the_scenes(label):
    scene = render(label, 4, size=8)
    (question,) = of_kind("caption", scene)
    assert set(question.answers) <= set(scene.captions)
    assert not set(question.wrong) & set(scene.captions)
