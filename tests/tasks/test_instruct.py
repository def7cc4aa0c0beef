"""Sets of conversations read from instruction files, captions and labelled images."""

import json

import pytest
from PIL import Image

from eotune.core.errors import InputError
from eotune.tasks.instruct import DESCRIBE, InstructConfig, InstructData, read_data


@pytest.fixture
def write(tmp_path):
    for number in range(4):
        (tmp_path / f"c{number % 2}").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(tmp_path / f"c{number % 2}" / f"{number}.png")

    def file(*rows):
        path = tmp_path / "set.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return file


def talk(*texts):
    return [{"from": one, "value": text} for one, text in texts]


def test_every_answered_question_is_taken_and_the_rest_told(write):
    whole = talk(
        ("system", "Be brief."), ("human", "<image>\nWhere?"), ("gpt", "Here."), ("human", "And?"), ("gpt", "No.")
    )
    file = write(
        {"id": "a", "image": "c0/0.png", "conversations": whole},
        {"id": "b", "image": "c0/missing.png", "conversations": whole},
        {"id": "c", "images": ["c0/0.png", "c1/1.png"], "conversations": whole},
        {"id": "d", "image": "c1/1.png", "conversations": talk(("human", "Unanswered?"), ("gpt", " "))},
    )
    found = InstructData(samples=file).read()
    assert [one.exchanges for one in found.samples] == [(("Where?", "Here."), ("And?", "No."))]
    assert [line.partition(":")[0] for line in found.left_out] == ["record 1", "sample c", "record 3"]
    assert (found.samples[0].question, found.samples[0].answer) == ("Where?", "Here.")


def test_captions_and_classes_are_asked_for(write):
    file = write({"image": "c0/0.png", "captions": ["a road", "a grey road"]})
    assert [one.exchanges for one in InstructData(samples=file).read().samples] == [
        ((DESCRIBE, "a road"),), ((DESCRIBE, "a grey road"),),
    ]  # fmt: skip
    file.unlink()
    classes = InstructData(labels=file.parent, prompt="One of {classes}?", limit=3).read().samples
    assert [one.exchanges[0] for one in classes] == [("One of c0, c1?", name) for name in ("c0", "c0", "c1")]


def test_a_share_of_the_images_is_held_out_with_all_their_questions(write):
    rows = [
        {"id": f"{i}-{j}", "image": f"c{i % 2}/{i}.png", "question": "?", "answer": "a"}
        for i in range(4)
        for j in (0, 1)
    ]
    data = InstructData(samples=write(*rows))
    for seed in range(3):
        found = read_data(InstructConfig(train=data, validation=0.25, test=data), seed)
        assert (len(found.train), len(found.validation), len(found.test)) == (6, 2, 8)
        assert not set(found.train.images()) & set(found.validation.images())
    with pytest.raises(InputError, match=r"task.validation: '0.01' of 4 training images is no validation set"):
        read_data(InstructConfig(train=data, validation=0.01, test=data), 0)


def test_what_cannot_be_read_is_refused(write):
    with pytest.raises(ValueError, match="name either samples or labels"):
        InstructData()
    for share in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite number"):
            InstructConfig(train={"samples": "a"}, validation=share, test={"samples": "a"})
    file = write({"id": "a", "image": "c0/none.png", "question": "?", "answer": "a"})
    with pytest.raises(InputError, match="no sample can be used; the first: record 0: "):
        InstructData(samples=file).read()
    data = {"samples": file}
    for kinds, message in (({"A b": "x"}, "is no name of small letters"), ({"a": "("}, "is no regular expression")):
        with pytest.raises(ValueError, match=message):
            InstructConfig(train=data, test=data, kinds=kinds)
