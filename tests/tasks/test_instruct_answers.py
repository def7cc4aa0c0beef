"""Answers judged, against loops; and the file's own examples of how questions are told apart."""

from pathlib import Path

import numpy as np
import pytest

from eotune.tasks.instruct import Conversation
from eotune.tasks.instruct_answers import Judged, interval, kind_of_question, matches, prior_answers
from eotune.tasks.instruct_evaluation import judge

KINDS = ["yes_no", "short", "yes_no", "open", "short", "yes_no", "class", "open"]
CORRECT = np.array([1, 0, 0, 1, 1, 1, 0, 0], bool)
GROUPS = np.array([0, 0, 1, 1, 2, 2, 3, 3])


def slow(numbers):
    """Figures over questions at these positions, by loops."""
    closed = [i for i in numbers if KINDS[i] != "open"]
    each = {
        kind: np.mean([CORRECT[i] for i in numbers if KINDS[i] == kind])
        if kind in {KINDS[i] for i in numbers}
        else None
        for kind in set(KINDS)
    }
    present = [each[kind] for kind in each if kind != "open" and each[kind] is not None]
    return {
        "accuracy": np.mean(CORRECT[closed]),
        "mean_accuracy": np.mean(present),
        **{f"accuracy_{kind}": value for kind, value in each.items()},
    }


def test_figures_are_those_of_loops():
    judged = Judged(CORRECT, KINDS, GROUPS)
    assert judged.values() == pytest.approx(slow(range(8)))
    assert judged.names()[-1] == "accuracy_open"


def test_resamples_draw_images_with_all_their_questions():
    judged = Judged(CORRECT, KINDS, GROUPS)
    samples = judged.samples(resamples=200, seed=3)
    from eotune.core.seeds import generator

    drawn = generator(3, "bootstrap", 4).integers(4, size=(64, 4))  # the first that are drawn at once
    for row, images in enumerate(drawn):
        numbers = [i for image in images for i in range(8) if GROUPS[i] == image]
        for name, value in slow(numbers).items():
            found = samples[name][row]
            assert np.isnan(found) if value is None else found == pytest.approx(value)
    low, high = interval(samples["accuracy"])
    assert low <= judged.values()["accuracy"] <= high
    assert interval(np.full(10, np.nan)) is None


def test_open_questions_count_where_there_are_no_others():
    assert Judged(np.array([True, False]), ["open", "open"], np.array([0, 1])).values()["accuracy"] == 0.5


@pytest.mark.parametrize(
    ("question", "answer", "kind"),
    [
        ("Is it a rural or an urban area?", "rural", "short"),
        ("Is there a road?", "No", "yes_no"),
        ("Is there a road?", "No road crosses the wide field", "open"),
        ("Pick one:\nforest\nport\nriver", "River", "class"),
        ("Is it red, green or blue?", "many different colours of paint", "open"),
        ("What is it: ship, plane?", "plane", "short"),
        ("What is it? Answer with one of: ship, plane.", "ship", "short"),
        ("Classes: ship, plane. Answer in one word or a short phrase.", "plane", "short"),
        ("Classes: ship, plane, car. Answer in one word or a short phrase.", "car", "class"),
        ("Which of: forest, port or river?", "Port", "class"),
        ("forest; port; Cropland and pasture: which is it?", "cropland and pasture", "class"),
        ("Which is it?\nA. forest\nB. port", "B", "class"),
        ("Which is it?\n- forest\n- port\n- river\n", "forest", "class"),
    ],
)
def test_kinds(question, answer, kind):
    assert kind_of_question(question, answer) == kind


@pytest.mark.parametrize(
    ("answer", "reference", "kind", "right"),
    [
        ("No.", "no", "yes_no", True),
        ("Not sure", "no", "yes_no", False),
        ("", "no", "yes_no", False),
        ("dense-residential", "Dense Residential", "class", True),
        ("The harbour.", "harbour", "short", True),
        ("10", "1", "short", False),
        ("", "A", "short", False),
        ("The", "A", "short", False),
        ("a.", "A", "short", True),
        ("A", "The A", "short", False),
        ("an apron", "the apron", "short", True),
    ],
)
def test_matches(answer, reference, kind, right):
    assert matches(answer, reference, kind) == right


def test_a_kinds_name_changes_no_judgement():
    samples = [
        Conversation("0", Path("a.png"), (("Is there a road?", "yes"),)),
        Conversation("1", Path("a.png"), (("Which of: forest, port, dense houses?", "dense houses"),)),
        Conversation("2", Path("a.png"), (("How many?", "two"),)),
    ]
    given = ["Yes, there is.", "dense-houses", "two ships"]
    plain, named = judge(samples, given, {}), judge(samples, given, {"presence": "is there", "scene": "which|how"})
    assert (plain.kinds, named.kinds) == (["yes_no", "class", "short"], ["presence", "scene", "scene"])
    assert plain.correct.tolist() == named.correct.tolist() == [True, True, False]


def test_a_prior_knows_nothing_of_the_image():
    seen = [("Is it?", "no"), ("Is it?", "no"), ("is it", "yes"), ("How many?", "3")]
    assert prior_answers([("Is it?", "yes"), ("Is there?", "yes"), ("What?", "3"), ("?", "a b c d e f")], seen) == [
        "no", "no", "3", "",
    ]  # fmt: skip
