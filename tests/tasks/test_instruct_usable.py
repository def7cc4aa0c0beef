"""Sets without what a model cannot be asked or taught, against lessons made one by one."""

from pathlib import Path

import numpy as np
import pytest

from eotune.core.errors import InputError
from eotune.encoders.multimodal_vlm import load_vlm
from eotune.tasks.instruct import Conversation, InstructSet
from eotune.tasks.instruct_inputs import Lessons
from eotune.tasks.instruct_usable import usable

TALKS = [
    (("is it bright?", "yes"),),
    (("is it bright, or is it as dark as a river at night?", "yes"),),
    (("is it bright?", "no, it is dark as a river"),),
    (("is it bright?", "yes"), ("is it dark?", "no, it is as bright as a river")),
    (("is <image> bright?", "yes"),),
]
ASKED = InstructSet(
    Path("set.jsonl"),
    Path(),
    tuple(Conversation(str(number), Path("a.png"), talk) for number, talk in enumerate(TALKS)),
    ("record 9: no image",),
)
SIZES = {Path("a.png"): (40, 50)}


@pytest.fixture(scope="module")
def encoder(llava):
    return load_vlm(str(llava))


@pytest.mark.parametrize("most", [10, 20, 30, 38, 500])
def test_what_cannot_be_learnt_is_left_out_and_what_is_cut_is_counted(encoder, most):
    lessons, whole = Lessons(encoder, most), Lessons(encoder, 500)
    kept, cut = [], 0
    for number, talk in enumerate(TALKS):
        try:
            lesson = lessons.lesson(np.zeros((40, 50, 3), np.uint8), talk)
        except InputError:
            continue
        kept.append(str(number))
        cut += lesson["labels"].shape[1] < whole.lesson(np.zeros((40, 50, 3), np.uint8), talk)["labels"].shape[1]
    if not kept:
        with pytest.raises(
            InputError, match=r"none of 5 samples can be used; the first: sample 0: the prompt alone ta"
        ):
            usable(ASKED, SIZES, lessons, taught=True)
        return
    found = usable(ASKED, SIZES, lessons, taught=True)
    assert ([one.id for one in found.samples], found.cut) == (kept, cut)
    assert found.left_out[0] == ASKED.left_out[0]
    assert [line.partition(":")[0] for line in found.left_out[1:]] == [f"sample {n}" for n in "01234" if n not in kept]


def test_what_is_asked_alone_needs_no_room_for_answers(encoder):
    found = usable(ASKED, SIZES, Lessons(encoder, 10), taught=False)
    assert ([one.id for one in found.samples], found.cut) == (["0", "1", "2", "3"], 0)
    assert "holds '<image>', which stands for an image" in found.left_out[1]


def test_one_image_of_each_size_is_prepared(encoder, monkeypatch):
    seen = []
    prepared = encoder.prompts._processed
    monkeypatch.setattr(encoder.prompts, "_processed", lambda *given: seen.append(given) or prepared(*given))
    encoder.prompts._added.clear()
    usable(ASKED, SIZES, Lessons(encoder, 500), taught=True)
    assert len(seen) == 1
