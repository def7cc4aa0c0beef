import json

import pytest

from eotune.core.errors import InputError
from eotune.data.caption_formats import parse_captions, split_name


def write(tmp_path, value, name="captions.json"):
    path = tmp_path / name
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def karpathy(**changes):
    row = {"filename": "a.png", "imgid": 0, "split": "restval", "sentences": [{"raw": "x"}, {"raw": " y "}], "x": 0}
    return {"dataset": "rsicd", "images": [{**row, **changes}]}


def test_karpathy(tmp_path):
    parsed = parse_captions(write(tmp_path, karpathy()))
    assert (parsed.format, parsed.problems) == ("karpathy", ())
    record = parsed.records[0]
    assert (record.id, record.image, record.captions, record.split) == ("0", "a.png", ("x", "y"), "train")


def test_karpathy_with_folder_as_coco_has_it(tmp_path):
    assert parse_captions(write(tmp_path, karpathy(filepath="val2014"))).records[0].image == "val2014/a.png"


def test_list_of_training_rows_is_merged_in_order(tmp_path):
    rows = [
        {"caption": "one", "image": "train/a.tif", "image_id": 5, "label_name": "bridge", "label": 0},
        {"caption": "two", "image": "train/b.tif", "image_id": 6, "label_name": "river", "label": 1},
        {"caption": "three", "image": "train/a.tif", "image_id": 5, "label_name": "bridge", "label": 0},
        {"caption": "one", "image": "train/a.tif", "image_id": 5, "label_name": "bridge", "label": 0},
    ]
    parsed = parse_captions(write(tmp_path, rows))
    assert (parsed.format, parsed.problems) == ("list", ())
    assert [(r.image, r.captions, r.split, r.label) for r in parsed.records] == [
        ("train/a.tif", ("one", "three", "one"), None, "bridge"),
        ("train/b.tif", ("two",), None, "river"),
    ]


def test_list_of_test_rows(tmp_path):
    parsed = parse_captions(write(tmp_path, [{"image": "test/a.tif", "caption": ["one", "two"]}]))
    assert parsed.records[0].captions == ("one", "two")


def test_rows_of_one_image_must_agree_on_the_split(tmp_path):
    rows = [{"image": "a", "caption": "x", "split": "train"}, {"image": "a", "caption": "y", "split": "test"}]
    assert parse_captions(write(tmp_path, rows)).problems == (
        "row 2: image 'a' is in split 'test', but row 1 puts it in 'train'",
    )


@pytest.mark.parametrize("name", ["c.jsonl", "c.json", "c.txt"])
def test_jsonl_whatever_its_suffix(tmp_path, name):
    text = '{"image": "a.png", "captions": ["x\u2028y"], "id": 7, "split": "dev", "label": 3}\n\n' * 1
    text += '{"image": "b.png", "caption": "z", "file": "ignored"}\n'
    parsed = parse_captions(write(tmp_path, text, name))
    assert (parsed.format, parsed.problems) == ("jsonl", ())
    assert [(r.where, r.id, r.captions, r.split, r.label) for r in parsed.records] == [
        ("line 1", "7", ("x\u2028y",), "val", "3"),
        ("line 3", None, ("z",), None, None),
    ]


def test_one_object_is_jsonl_of_one_line(tmp_path):
    assert parse_captions(write(tmp_path, {"image": "a", "caption": "x"})).format == "jsonl"


def test_a_byte_order_mark_is_no_problem(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text('{"image": "a", "caption": "x"}', encoding="utf-8-sig")
    assert parse_captions(path).problems == ()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"captions": ["x"]}, "no key 'image'; found 'captions'"),
        ({}, "no key 'image'; found none"),
        ({"image": "a", "captoins": ["x"]}, "no key 'captions'; did you mean it where the file says 'captoins'?"),
        ({"image": "a", "captions": ["x"], "spilt": "test"}, "'spilt' is not a known key; did you mean 'split'?"),
        ({"image": None, "captions": ["x"]}, "'image' is null"),
        ({"image": 3, "captions": ["x"]}, "'image' is a number"),
        ({"image": " ", "captions": ["x"]}, "'image' is empty"),
        ({"image": "a", "captions": []}, "image 'a' has no captions"),
        ({"image": "a", "captions": ["x", "  "]}, "caption 2 is empty"),
        ({"image": "a", "caption": ""}, "caption 1 is empty"),
        ({"image": "a", "captions": ["x", None]}, "caption 2 is null, not text"),
        ({"image": "a", "captions": {"x": 1}}, "'captions' is an object"),
        ({"image": "a", "captions": ["\ud800"]}, "lone surrogate"),
        ({"image": "a", "captions": ["x"], "split": 3}, "'split' is a number"),
        ([1], "a list where an object was expected"),
    ],
)
def test_bad_rows_name_place_value_and_remedy(tmp_path, row, message):
    good = {"image": "good", "captions": ["x"]}
    parsed = parse_captions(write(tmp_path, json.dumps(good) + "\n" + json.dumps(row), "c.jsonl"))
    assert len(parsed.records) == 1
    assert len(parsed.problems) == 1
    assert parsed.problems[0].startswith("line 2: ")
    assert message in parsed.problems[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sentences": "x"}, "images[0]: 'sentences' is text"),
        ({"sentences": ["x"]}, "sentences[0] is text; it must be {'raw': text}"),
        ({"sentences": [{"row": "x"}]}, "sentences[0]: no key 'raw'; did you mean it where the file says 'row'?"),
        ({"sentences": []}, "image 'a.png' has no captions"),
    ],
)
def test_bad_karpathy_rows(tmp_path, changes, message):
    (problem,) = parse_captions(write(tmp_path, karpathy(**changes))).problems
    assert message in problem


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty (0 bytes)"),
        ('{"images": [', "not valid JSON at line 1"),
        ('{"image_list": []}', "no known caption layout (found 'image_list')"),
        ('{"imges": []}', "rename 'imges' to 'images'"),
        ('{"images": {}}', "'images' is an object"),
        ("3", "found a number"),
        ("[" * 100_000, "not"),
        ('{"image": ' + "9" * 5000 + "}", "not usable JSON"),
    ],
)
def test_unusable_files(tmp_path, text, message):
    with pytest.raises(InputError) as caught:
        parse_captions(write(tmp_path, text))
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_unreadable_files(tmp_path):
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    for path, message in (
        (tmp_path / "gone.json", "no such file"),
        (tmp_path, "is a directory"),
        (tmp_path / "binary.json", "not UTF-8 text"),
        (tmp_path / "a\0b", "cannot be read"),
    ):
        with pytest.raises(InputError, match=message):
            parse_captions(path)


def test_empty_lists_hold_no_image(tmp_path):
    assert parse_captions(write(tmp_path, [])).problems == ("holds no image; add at least one",)


def test_split_aliases():
    assert [split_name(name) for name in ("dev", "VALID", "validation", "val", "restval", "testing", "mine")] == [
        "val", "val", "val", "val", "train", "test", "mine",
    ]  # fmt: skip
