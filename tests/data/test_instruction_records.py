import pytest

from eotune.data.caption_formats import RowError
from eotune.data.instruction_records import Content, Turn, contents, format_of

ASKED = {"from": "human", "value": "<image>\nWhere?"}
SAID = {"from": "gpt", "value": "Here."}
TURNS = (Turn("user", "<image>\nWhere?"), Turn("assistant", "Here."))


def conversation(**changes):
    return {"id": 7, "image": "a.png", "conversations": [ASKED, SAID], **changes}


def message(content, **changes):
    return {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": "Here."}], **changes}


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (conversation(), "conversations"),
        (message("Where?", images=["a.png"]), "messages"),
        ({"image": "a.png", "question": "Where?", "answer": "Here."}, "question_answer"),
        ({"image": "a.png", "caption": "A pond."}, "captions"),
        ({"filename": "a.png", "sentences": []}, "captions"),
        ({"image": "a.png", "question": "Where?"}, None),
        (["conversations"], None),
        (None, None),
    ],
)
def test_layouts_are_told_apart_by_their_keys(row, kind):
    assert format_of(row) == kind


def test_llava_and_geochat():
    assert contents("conversations", conversation()) == [Content("7", ("a.png",), TURNS)]


def test_several_images_and_what_the_system_says():
    row = conversation(image=["a.png", "b.png"], system="Answer briefly.")
    assert contents("conversations", row)[0].images == ("a.png", "b.png")
    assert contents("conversations", row)[0].turns == (Turn("system", "Answer briefly."), *TURNS)


def test_xcomposer_names_its_roles_as_messages_do():
    turns = [{"from": "user", "value": "<image>\nWhere?"}, {"from": "assistant", "value": "Here."}]
    assert contents("conversations", conversation(conversations=turns))[0].turns == TURNS


def test_messages():
    row = message("<image>\nWhere?", images=["a.png", {"path": "b.png", "bytes": None}])
    assert contents("messages", row) == [Content(None, ("a.png", "b.png"), TURNS)]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image", "image": "a.png"},
        {"type": "image", "path": "a.png"},
        {"type": "image_url", "image_url": {"url": "a.png"}},
    ],
)
def test_messages_of_parts(part):
    row = message([part, {"type": "text", "text": "Where?"}])
    assert contents("messages", row) == [Content(None, ("a.png",), TURNS)]


def test_images_beside_the_messages_count_where_both_are_given():
    row = message([{"type": "image"}, {"type": "text", "text": "Where?"}], images=["b.png"])
    assert contents("messages", row) == [Content(None, ("b.png",), TURNS)]


def test_questions_and_answers():
    row = {"image": "a.png", "question": "How many?", "answer": 0}
    assert contents("question_answer", row)[0].turns == (Turn("user", "How many?"), Turn("assistant", "0"))


def test_captions_are_a_sample_each():
    many = {"image": "a.png", "captions": ["one", " two "], "id": 5}
    assert contents("captions", many) == [
        Content("5#0", ("a.png",), (Turn("assistant", "one"),)),
        Content("5#1", ("a.png",), (Turn("assistant", "two"),)),
    ]
    assert contents("captions", {"image": "a.png", "caption": "one", "id": "x"})[0].id == "x"
    assert contents("captions", {"image": "a.png", "caption": "one"})[0].id is None
    sentences = [{"raw": "one", "sentid": 3}, {"raw": "two"}]
    karpathy = {"filename": "a.png", "filepath": "val", "imgid": 9, "sentences": sentences}
    assert [(one.id, one.images) for one in contents("captions", karpathy)] == [
        ("9#0", ("val/a.png",)),
        ("9#1", ("val/a.png",)),
    ]


@pytest.mark.parametrize(
    ("kind", "row", "says"),
    [
        ("conversations", None, "null where an object was expected"),
        ("conversations", RowError("line 3: broken"), "line 3: broken"),
        ("conversations", {"image": "a.png", "conversation": []}, "did you mean it where the file says 'conversation'"),
        ("conversations", conversation(conversations=[]), "'conversations' is empty"),
        ("conversations", conversation(conversations="Where?"), "'conversations' is text"),
        ("conversations", conversation(conversations=["Where?"]), "turn 1: text where an object was expected"),
        ("conversations", conversation(conversations=[ASKED, {"from": "gtp", "value": ""}]), "did you mean 'gpt'?"),
        ("conversations", conversation(conversations=[{"from": ["a"], "value": ""}]), "role ['a'] is not known"),
        ("conversations", conversation(conversations=[{"value": ""}]), "turn 1: no key 'from'"),
        ("conversations", conversation(conversations=[{"from": "gpt"}]), "turn 1: no key 'value'"),
        ("conversations", conversation(conversations=[{"from": "gpt", "value": 3}]), "turn 1: 'value' is a number"),
        ("conversations", conversation(conversations=[ASKED]), "has no answer"),
        ("conversations", conversation(conversations=[ASKED, {**SAID, "value": " "}]), "has no answer"),
        ("conversations", conversation(image=None), "has no image"),
        ("conversations", conversation(image=[]), "has no image"),
        ("conversations", conversation(image=" "), "an image is empty; it must be a path"),
        ("conversations", conversation(image=3), "an image is a number; it must be a path"),
        ("conversations", conversation(image=b"\x89PNG"), "an image lies in the file itself"),
        ("conversations", conversation(image={"bytes": b"\x89PNG", "path": "a.png"}), "lies in the file itself"),
        ("conversations", conversation(image="https://example.org/a.png"), "is an address; download it"),
        ("conversations", conversation(image="data:image/png;base64,iVBO"), "is an address; download it"),
        ("conversations", conversation(id=[1]), "'id' is a list ([1]); make it text or an integer, or number"),
        ("conversations", conversation(id=True), "'id' is a boolean"),
        ("conversations", conversation(id="\ud800"), "'id' holds a lone surrogate"),
        ("conversations", conversation(conversations=[{**SAID, "value": "\ud800"}]), "holds a lone surrogate"),
        ("messages", message([{"type": "video", "video": "a.mp4"}]), "turn 1: a part of type 'video'"),
        ("messages", message([3]), "turn 1: a part of type None"),
        ("messages", message([{"type": "text", "text": None}]), "turn 1: 'text' is null"),
        ("question_answer", {"image": "a.png", "question": "Where?", "answer": None}, "'answer' is null"),
        ("question_answer", {"image": "a.png", "question": "Where?", "answer": ""}, "has no answer"),
        ("captions", {"image": "a.png", "captions": ["one", ""]}, "caption 2 is empty"),
        ("captions", {"image": None, "captions": ["one"]}, "'image' is null"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_record(kind, row, says):
    with pytest.raises(RowError) as raised:
        contents(kind, row)
    assert says in str(raised.value)


@pytest.mark.parametrize("bad", [{"imgid": "\ud800"}, {"filename": "\ud800.png"}])
def test_a_caption_record_whose_name_cannot_be_written_is_refused(bad):
    row = {"filename": "0.png", "imgid": 3, "split": "train", "sentences": [{"raw": "a b c"}], **bad}
    with pytest.raises(RowError, match="lone surrogate"):
        contents("captions", row)
